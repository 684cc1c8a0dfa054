"""Open a source model, whatever its framework, so that it can become a graph."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from edge_runtime.contract.bundle.digests import sha256_file
from packager.errors import PickleRefused, SourceUnreadable, SourceUnsupported
from packager.sources.child_source import Saved
from packager.sources.confine import Limits
from packager.sources.environments.helper_env import Say
from packager.sources.environments.helper_libraries import is_keras_2
from packager.sources.mlflow import MARKER, MlflowModel, read_mlflow
from packager.sources.mlflow_source import Inner, MlflowSource
from packager.sources.onnx_source import OnnxSource
from packager.sources.options import SourceOptions
from packager.sources.sandbox import Sandbox
from packager.sources.saved import open_with_its_libraries
from packager.sources.source import Source

T = TypeVar("T")

# How a file is opened, by the end of its name.
FORMS = {
    ".skops": "skops",
    ".joblib": "pickle",
    ".pkl": "pickle",
    ".pickle": "pickle",
    ".onnx": "onnx",
    ".json": "xgboost",
    ".ubj": "xgboost",
    ".txt": "lightgbm",
    ".cbm": "catboost",
    ".pt2": "torch",
    ".keras": "keras",
    ".h5": "keras",
    ".hdf5": "keras",
}
_FACTORY = ".py"
_SAVED_MODEL = "saved_model.pb"
_WHOLE_MODULES = frozenset({".pt", ".pth"})


@dataclass(frozen=True)
class _Opened:
    """Which file is opened how."""

    path: Path
    form: str
    factory: str = ""
    mlflow: MlflowModel | None = None


def _silent(_name: str, _text: str) -> None:
    """Say nothing."""


@contextmanager
def open_source(
    path: Path,
    options: SourceOptions | None = None,
    *,
    say: Say = _silent,
    limits: Limits | None = None,
) -> Iterator[Source]:
    """Open a model for as long as the context lasts.

    Args:
        path: its file or directory, or ``module.py:function``.
        options: how it opens.
        say: told what takes time before it opens.
        limits: what the child that opens it may use; decided by this machine when None.

    Raises:
        SourceUnsupported: when the name says no known form, or the file holds no model.
        PickleRefused: when it is a pickle and nobody vouched for it.
        SourceUnreadable: when it is missing, damaged, or points outside its directory.
        SourceUntrustedType: when a skops file names a type outside the allow-list.
        SourceVersionSkew: when another version of its library wrote it, too old a one.
        HelperEnvFailed: when another version wrote it, and cannot be had.
        HostExtraMissing: when its library is not installed.
        SourceFailed: when the child died, took too long or broke the protocol.
        ConversionFailed: when an ONNX file is too large or not made of tensors.

    A directory of MLflow opens as the model in it, and errors then name that.
    """
    options = options or SourceOptions()
    opened = _opened(path)
    if opened.form == "keras" and not options.allow_version_skew and is_keras_2(opened.path):
        opened = replace(opened, form="tensorflow")
    if opened.form == "pickle" and not options.trust_pickle:
        raise _pickle(opened.path)
    if opened.form == "onnx":
        yield _signed(_readable(opened.path, OnnxSource), opened)
        return
    saved = Saved(
        name=path.name,
        path=opened.path,
        form=opened.form,
        sha256=_readable(opened.path, lambda _: _digest(opened.path, options)),
        options=_told(opened, options),
    )

    def start(python: Path | None) -> Sandbox:
        readable = _needed(opened, options)
        return Sandbox(path.name, limits, readable=readable, python=python)

    with ExitStack() as stack:
        yield _signed(open_with_its_libraries(stack, saved, start, say), opened)


def _signed(source: Inner, opened: _Opened) -> Source:
    """Hold a model out of a directory of MLflow to its signature."""
    return source if opened.mlflow is None else MlflowSource(source, opened.mlflow)


def _opened(path: Path) -> _Opened:
    """Tell a model's form by its name, or by what its directory holds."""
    suffix, _, factory = path.suffix.partition(":")
    if suffix == _FACTORY and factory:
        return _Opened(path.with_suffix(_FACTORY), "factory", factory)
    form = FORMS.get(suffix.lower())
    if form is not None and not factory:
        return _Opened(path, form)
    if (path / MARKER).is_file():
        model = _readable(path, read_mlflow)
        return _Opened(model.path, model.form, mlflow=model)
    if (path / _SAVED_MODEL).is_file():
        return _Opened(path, "tensorflow")
    hint = "Save the model in one of these forms."
    if suffix.lower() in _WHOLE_MODULES:
        hint = (
            "Save it with torch.export.save(torch.export.export(model, …), 'model.pt2'), "
            "or name what makes it: module.py:function --weights FILE"
        )
    elif suffix == _FACTORY:
        hint = "Name the function that makes the model: module.py:function"
    raise SourceUnsupported(
        f"a model's name must end with {', '.join(FORMS)}; this is {path.name!r}",
        hint=hint,
        expected=sorted(FORMS),
        found=path.suffix,
    )


def _pickle(path: Path) -> PickleRefused:
    return PickleRefused(
        f"a model must open without running code, {path.name} is a pickle",
        hint="Save it with skops.io.dump(model, "
        f"'{path.stem}.skops') and build from that, or pass --trust-pickle "
        "if you know who wrote it.",
        expected=".skops or .onnx",
        found=path.suffix,
    )


def _needed(opened: _Opened, options: SourceOptions) -> Sequence[Path]:
    weights = [options.weights] if options.weights else []
    return [opened.path, *options.modules, *options.converters, *weights]


def _told(opened: _Opened, options: SourceOptions) -> dict[str, Any]:
    """Return what the loader is told, as JSON can hold it."""
    return {
        "modules": [str(path.resolve()) for path in options.modules],
        "converters": [str(path.resolve()) for path in options.converters],
        "from_step": options.from_step,
        "allow_skew": options.allow_version_skew,
        "factory": opened.factory,
        "weights": str(options.weights.resolve()) if options.weights else None,
        "inputs": list(options.inputs),
    }


def _digest(path: Path, options: SourceOptions) -> str:
    """Return the digest of a model: of its one file, or of all that make it and their names."""
    files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else []
    for modules in options.modules:
        files += sorted(item for item in modules.rglob("*.py") if item.is_file())
    files += [*options.converters, *([options.weights] if options.weights else [])]
    if not files:
        return sha256_file(path)
    digest = hashlib.sha256()
    for file in files if path.is_dir() else [path, *files]:
        name = file.relative_to(path) if file.is_relative_to(path) else Path(file.name)
        digest.update(f"{sha256_file(file)}  {name.as_posix()}\n".encode())
    return digest.hexdigest()


def _readable(path: Path, read: Callable[[Path], T]) -> T:
    try:
        return read(path)
    except OSError as error:
        raise SourceUnreadable(
            f"{path} must be a readable file: {error.strerror}",
            hint="Check the path and its permissions.",
            expected="a readable file",
            found=error.strerror,
        ) from None
