"""The two doors of the device: install a bundle, load a model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeGuard

from edge_runtime.contract.errors import UsageError
from edge_runtime.engine.watchdog import checked_timeout
from edge_runtime.following import Following
from edge_runtime.installing import Installation, install
from edge_runtime.keys import KeyFiles, read_keys
from edge_runtime.loading import How, serve_bundle, serve_installed
from edge_runtime.model import Model
from edge_runtime.state.store import Store, locate_store

__all__ = ["Installation", "install", "load"]


def load(  # noqa: PLR0913 - each is a choice of its own and has a name
    ref: str | os.PathLike[str] | None = None,
    *,
    store: str | os.PathLike[str] | Store | None = None,
    trust: KeyFiles | None = None,
    variant: str | None = None,
    follow: bool = False,
    timeout_ms: float | None = None,
    isolate: bool = False,
) -> Model:
    """Load what is installed, or a bundle file directly; verified either way.

    Args:
        ref: NAME or NAME@VERSION of an installed model; the path of a bundle (a ``Path``, or
            text that has a slash or ends in ``.tar``); None when one model is installed.
        store: the store or its directory; by default found as the command line finds it.
        trust: public key files to believe instead of the store's keys.
        variant: serve this variant instead of the one that the trial chose.
        follow: go on with whatever version becomes active, swapped between two predictions.
        timeout_ms: how long a prediction may take, in milliseconds; None for ever.
        isolate: let a process of its own compute, so that whatever a graph does ends at the
            deadline; for what is installed.

    Returns:
        The model, to be used as a context manager.

    Raises:
        BundleError: when anything cannot be believed.
        DeviceError: when it is not installed, does not fit, or does not answer as proven.
        UsageError: when a single version is to be followed, or the timeout is no time.
    """
    if follow:
        _require_name_alone(ref)
    limit = None if timeout_ms is None else checked_timeout(timeout_ms)
    how = How(trust, variant, isolate)
    if ref is None or _is_name(ref):
        where = _located(store)
        model = Model(serve_installed(where, ref, how), limit)
        if follow:
            model.follow(Following(model, where, how))
        return model
    keys = _located(store).trust.keys() if trust is None else read_keys(trust)
    return Model(serve_bundle(Path(ref), keys, how), limit)


def _require_name_alone(ref: str | os.PathLike[str] | None) -> None:
    if ref is not None and (not _is_name(ref) or "@" in ref):
        raise UsageError(
            f"what can be followed is a model's active version, not {os.fspath(ref)!r}",
            hint="Load it by its name alone, or without follow=True.",
            expected="NAME",
            found=os.fspath(ref),
        )


def _is_name(ref: str | os.PathLike[str]) -> TypeGuard[str]:
    return isinstance(ref, str) and os.sep not in ref and not ref.endswith(".tar")


def _located(store: str | os.PathLike[str] | Store | None) -> Store:
    return store if isinstance(store, Store) else locate_store(store, os.environ)
