"""The search for the best variants of one target."""
