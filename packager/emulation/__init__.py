"""Processors that a target promises, run on this machine: which ones, and what they answer."""
