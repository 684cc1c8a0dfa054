"""What running a model costs: memory, time, and work."""
