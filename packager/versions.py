"""Which libraries made a bundle: their versions decide its bytes."""

from __future__ import annotations

import platform
import zlib
from collections.abc import Mapping
from importlib import metadata

from packager import __version__

_LIBRARIES = ("numpy", "onnx", "onnxconverter-common", "onnxruntime", "protobuf")


def library_versions(source: Mapping[str, str]) -> dict[str, str]:
    """Return the versions of all that takes part in a build.

    Args:
        source: the libraries that opened and converted the source model.
    """
    found = {
        **source,
        "edgepack": __version__,
        "python": platform.python_version(),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
    }
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # another distribution of the engine serves instead
    return dict(sorted(found.items()))
