"""Which libraries made a bundle: their versions decide its bytes."""

from __future__ import annotations

import platform
from importlib import metadata

from packager import __version__

_LIBRARIES = ("numpy", "onnx", "onnxconverter-common", "onnxruntime", "protobuf")


def library_versions() -> dict[str, str]:
    """Return the versions of everything that takes part in every build."""
    found = {"edgepack": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # another distribution of the engine serves instead
    return found
