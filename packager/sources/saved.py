"""A saved model opened in a child, whatever its framework."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from edge_runtime.contract.strictjson import Fields
from packager.errors import SourceFailed, SourceUnreadable, SourceVersionSkew
from packager.sources.child_source import ChildSource, Saved
from packager.sources.column_source import ColumnSource
from packager.sources.environments.helper_env import Say, environment
from packager.sources.environments.helper_libraries import libraries_for, with_scikit_learn
from packager.sources.environments.versions_inside import modules_inside
from packager.sources.sandbox import CrashError, Sandbox
from packager.sources.tensor_source import TensorSource


def open_with_its_libraries(
    stack: ExitStack, saved: Saved, start: Callable[[Path | None], Sandbox], say: Say
) -> ChildSource:
    """Open a saved model with libraries of the versions that wrote it.

    Those are ours, or else those of an environment that is made for it and kept. Only what the
    file hides from us is found by opening it with ours.

    Args:
        stack: closes the child.
        saved: the model.
        start: starts a child with a Python, with ours for None.
        say: told what takes time.

    Raises:
        HelperEnvFailed: when there is no such environment and none can be made.
        EdgepackError: what ``open_saved`` raises.
    """

    def opened(libraries: Sequence[str]) -> ChildSource:
        python = environment(libraries, say) if libraries else None
        return open_saved(stack.enter_context(start(python)), saved)

    libraries = libraries_for(saved)
    try:
        return opened(libraries)
    except SourceVersionSkew as skew:
        found = with_scikit_learn(str(skew.values.get("expected")), modules_inside(saved.path))
        if libraries or not found:
            raise
        stack.close()
        return opened(found)


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
        hint = (
            "Name the directory of your own modules with --path, or install the library that "
            "the model was made with beside the packager."
        )
    return SourceUnreadable(
        f"{name} cannot be opened as a model: {crash}",
        hint=hint,
        expected="a saved model",
        found=str(crash),
    )
