"""Golden vectors: which rows, how far answers may differ, and how far they do."""
