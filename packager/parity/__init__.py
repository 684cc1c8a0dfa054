"""Source and graph compared, row by row."""
