"""Libraries that only some models need."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from packager.errors import HostExtraMissing


def need(module: str, extra: str) -> ModuleType:
    """Import an optional library.

    Args:
        module: what is imported.
        extra: the extra of edgepack that brings it.

    Raises:
        HostExtraMissing: when it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        raise HostExtraMissing(
            f"this model needs {missing}, which is not installed",
            hint=f"Install it: pip install 'edgepack[host,{extra}]'",
            expected=missing,
            found=None,
        ) from None
