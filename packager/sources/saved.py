"""A saved model opened in a child, whatever its framework."""

from __future__ import annotations

from edge_runtime.contract.strictjson import Fields
from packager.errors import SourceFailed, SourceUnreadable
from packager.sources.child_source import ChildSource, Saved
from packager.sources.column_source import ColumnSource
from packager.sources.sandbox import CrashError, Sandbox
from packager.sources.tensor_source import TensorSource


def open_saved(sandbox: Sandbox, saved: Saved) -> ChildSource:
    """Open a saved model in a started child.

    Raises:
        SourceUnreadable: when the file cannot be opened, whatever the reason.
        SourceUntrustedType: when a skops file names a type outside the allow-list.
        SourceVersionSkew: when another version of its library wrote it.
        SourceUnsupported: when it holds no model that can answer.
        HostExtraMissing: when its library is not installed.
        SourceFailed: when the child died or broke the protocol.
    """
    request = {"do": "load", "form": saved.form, "path": str(saved.path.resolve())}
    try:
        answer = sandbox.ask({**request, "options": dict(saved.options)})
    except CrashError as crash:
        raise _unreadable(saved.name, crash) from None
    told = Fields(answer.head, "the description", SourceFailed)
    kind = TensorSource if told.has("inputs") else ColumnSource
    return kind(sandbox, saved, told)


def _unreadable(name: str, crash: CrashError) -> SourceUnreadable:
    hint = "Save the model again with the library versions that are installed here."
    if crash.kind in {"ModuleNotFoundError", "ImportError", "AttributeError"}:
        hint = "Install the library that the model was made with beside the packager."
    return SourceUnreadable(
        f"{name} cannot be opened as a model: {crash}",
        hint=hint,
        expected="a saved model",
        found=str(crash),
    )
