"""What the commands of ``edge-runtime`` share."""

from __future__ import annotations

import argparse
import os

from edge_runtime.state.store import Store, locate_store


def store_of(options: argparse.Namespace) -> Store:
    """Return the store that ``--store`` or the environment names."""
    return locate_store(getattr(options, "store", None), os.environ)


def name_of(store: Store, options: argparse.Namespace) -> str:
    """Return the one model that a command is about: the named one, or the only one.

    Raises:
        RefAmbiguous: when there are several and none was named.
        NotInstalled: when there is none.
    """
    return str(options.name) if options.name is not None else store.only()


def names_of(store: Store, options: argparse.Namespace) -> tuple[str, ...]:
    """Return the models that a command is about: the named one, or all."""
    return store.models() if options.name is None else (options.name,)
