"""Which libraries wrote a file, and environments that have them."""
