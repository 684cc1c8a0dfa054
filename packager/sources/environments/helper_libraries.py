"""Which libraries open a file that others wrote than stand here, as requirements for pip."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packager.sources.child_source import Saved
from packager.sources.environments.helper_env import NO_DEPS
from packager.sources.environments.versions_inside import modules_inside, versions_inside

# The wheel without CUDA exists for one architecture; the others hold none.
_CPU = "-cpu" if platform.machine() in {"x86_64", "AMD64"} else ""
_TENSORFLOW = (
    f"tensorflow{_CPU}==2.21.0",
    "tf2onnx==1.17.0",
    f"tf-keras==2.21.0{NO_DEPS}",  # Keras 2, as it is called now; it asks for CUDA's wheel
)
OLDEST_SCIKIT_LEARN = (1, 2)

# What stands beside every scikit-learn, and beside those before a version.
_BESIDE = ("joblib>=1.4,<2", "numpy<3", "pandas>=2.2,<4", "skops>=0.11,<1")
_BEFORE = {(1, 4, 2): ("numpy<2", "scipy<1.13"), (1, 8): ("pandas<3", "scipy<1.17")}
# These make the graph. They are the ones that stand here, for the answers to be the same.
_CONVERTERS = ("onnx", "protobuf", "skl2onnx")
_WITHOUT_CUDA = {"xgboost": "xgboost-cpu"}
_KNOWN = frozenset(
    {"joblib", "numpy", "pandas", "scikit-learn", "scipy", "skops", *_CONVERTERS}
)

# Nothing else becomes part of a requirement: the text comes out of a stranger's file.
_NUMBER = r"(?:0|[1-9][0-9]{0,3})"
_RELEASE = re.compile(
    rf"({_NUMBER}(?:\.{_NUMBER}){{1,3}})(?:(?:a|b|rc|\.dev|\.post){_NUMBER})?"
)


def libraries_for(saved: Saved) -> tuple[str, ...]:
    """Return what the environment must hold that opens a model; () where ours opens it."""
    if saved.form == "tensorflow":
        return (*_TENSORFLOW, f"onnx=={installed('onnx')}")
    if saved.options.get("allow_skew"):
        return ()
    version = versions_inside(saved.path, saved.form).get("scikit-learn")
    if version is None or version == installed("scikit-learn"):
        return ()
    return with_scikit_learn(version, modules_inside(saved.path))


def with_scikit_learn(version: str, modules: Iterable[str]) -> tuple[str, ...]:
    """Return what opens a model of this scikit-learn; () where we convert none of its models.

    Args:
        version: as the file says it.
        modules: what opening it imports.
    """
    release = _RELEASE.fullmatch(version)
    numbers = tuple(map(int, release.group(1).split("."))) if release else ()
    if numbers < OLDEST_SCIKIT_LEARN:
        return ()
    before = [more for limit, more in _BEFORE.items() if numbers < limit]
    return (
        f"scikit-learn=={version}",
        *_BESIDE,
        *(item for more in before for item in more),
        *(f"{name}=={installed(name)}" for name in _CONVERTERS),
        *_others(modules),
    )


def _others(modules: Iterable[str]) -> Iterator[str]:
    """Yield what else the file imports of what stands here, no newer than it stands here."""
    tops = {module.partition(".")[0] for module in modules} - sys.stdlib_module_names
    named = metadata.packages_distributions()
    for name in {name for top in tops for name in set(named.get(top, ()))} - _KNOWN:
        release = (installed(name) or "").partition("+")[0]
        yield f"{_WITHOUT_CUDA.get(name, name)}<={release}"


def is_keras_2(path: Path) -> bool:
    """Return whether a file of Keras says that Keras 2 or an older one wrote it."""
    version = versions_inside(path, "keras").get("keras", "")
    return version.partition(".")[0] in {"1", "2"}


def installed(distribution: str) -> str | None:
    """Return the version of a distribution that stands here, None where it does not."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
