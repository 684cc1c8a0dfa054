"""The host: turns a trained model into one signed bundle per release."""

from edge_runtime import __version__

__all__ = ["__version__"]
