"""The device: verifies a bundle, proves it on this chip, predicts, and keeps its own record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Model", "__version__", "load"]

if TYPE_CHECKING:
    from edge_runtime.model import Model
    from edge_runtime.runtime import load


def __getattr__(name: str) -> Any:
    """Import the engine's side only when asked, so that the contract stays light on any OS."""
    if name == "load":
        from edge_runtime.runtime import load

        return load
    if name == "Model":
        from edge_runtime.model import Model

        return Model
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
