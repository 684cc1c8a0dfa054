"""Open a source model, whatever its framework, so that it can become a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from edge_runtime.contract.tensors import Array, Arrays
from packager.errors import PickleRefused, SourceUnreadable, SourceUnsupported
from packager.graph import Description, Graph, MissingProbe
from packager.sources.confine import Limits
from packager.sources.onnx_source import OnnxSource
from packager.sources.sandbox import Sandbox
from packager.sources.sklearn_source import SklearnSource

T = TypeVar("T")

# How a file is opened, by the end of its name.
FORMS = {
    ".skops": "skops",
    ".joblib": "pickle",
    ".pkl": "pickle",
    ".pickle": "pickle",
    ".onnx": "onnx",
}


class Source(Protocol):
    """A model before it is a graph; each framework has its own.

    ``describe`` comes first when there are data: they decide how columns enter the graph.
    """

    def describe(self, kinds: Mapping[str, str] | None = None) -> Description:
        """Say what it is, and plan its columns for data of these columns and kinds."""

    def graph(self, opset: Mapping[str, int]) -> Graph:
        """Convert it for these operator sets, by domain."""

    def reference(self, columns: Mapping[str, Array]) -> Arrays | None:
        """Return its own answers by output name, for raw rows by column name.

        None where the graph is the source itself, so that nothing can be compared.
        """

    def missing_probe(self, columns: Mapping[str, Array]) -> tuple[MissingProbe, ...]:
        """Say what it answers when a column is missing, for some of these rows."""


@contextmanager
def open_source(
    path: Path, *, trust_pickle: bool = False, limits: Limits | None = None
) -> Iterator[Source]:
    """Open a model file for as long as the context lasts.

    Args:
        path: a ``.skops``, ``.joblib``, ``.pkl`` or ``.onnx`` file.
        trust_pickle: open a pickle although it runs code, in a child that is shut in.
        limits: what that child may use; decided by this machine when None.

    Raises:
        SourceUnsupported: when the name says no known form, or the file holds no model.
        PickleRefused: when it is a pickle and nobody vouched for it.
        SourceUnreadable: when it is missing, damaged, or points outside its directory.
        SourceUntrustedType: when a skops file names a type outside the allow-list.
        SourceVersionSkew: when another version of scikit-learn wrote it.
        SourceFailed: when the child died, took too long or broke the protocol.
        ConversionFailed: when an ONNX file is too large or not made of tensors.
    """
    form = FORMS.get(path.suffix.lower())
    if form is None:
        raise SourceUnsupported(
            f"a model's name must end with {', '.join(FORMS)}; this is {path.name!r}",
            hint="Save the model in one of these forms.",
            expected=sorted(FORMS),
            found=path.suffix,
        )
    if form == "pickle" and not trust_pickle:
        raise PickleRefused(
            f"a model must open without running code, {path.name} is a pickle",
            hint="Save it with skops.io.dump(model, "
            f"'{path.stem}.skops') and build from that, or pass --trust-pickle "
            "if you know who wrote it.",
            expected=".skops or .onnx",
            found=path.suffix,
        )
    if form == "onnx":
        yield _readable(path, OnnxSource)
        return
    data = _readable(path, Path.read_bytes)
    with Sandbox(path.name, limits) as sandbox:
        yield SklearnSource(sandbox, path.name, data, form)


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
