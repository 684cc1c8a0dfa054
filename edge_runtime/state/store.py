"""The store: everything that the device keeps, below one directory that a person can name.

``lock`` (held by the one writer), ``trust/`` (whose signatures count), ``models/NAME/`` (see
``edge_runtime.state.model``) and ``incoming/`` (where a package becomes whole before it is
installed; whatever a broken run leaves there is removed by the next writer).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edge_runtime.contract.bundle.manifest import is_name
from edge_runtime.contract.errors import (
    NoSpace,
    NotInstalled,
    RefAmbiguous,
    StoreBusy,
    StoreNewer,
    StoreUnreadable,
    StoreUnwritable,
)
from edge_runtime.state import disk, record
from edge_runtime.state.lock import exclusive
from edge_runtime.state.model import ModelStore
from edge_runtime.state.trust import TrustStore
from edge_runtime.state.writer import StoreWriter

__all__ = ["SYSTEM_ROOT", "Store", "StoreWriter", "locate_store"]

SYSTEM_ROOT = Path("/var/lib/edge-runtime")


class Store:
    """The store for reading. It need not exist: then nothing is installed and no key trusted.

    Attributes:
        root: its directory.
        origin: why it is this one, for errors and ``status``.
        trust: the trusted keys.
    """

    def __init__(self, root: Path, origin: str) -> None:
        self.root = root
        self.origin = origin
        self.trust = TrustStore(root / "trust")

    @property
    def incoming(self) -> Path:
        """Where a package becomes whole before it is installed."""
        return self.root / "incoming"

    def models(self) -> tuple[str, ...]:
        """Return the names of all models, sorted.

        Raises:
            StoreUnreadable: when the store may not be read.
        """
        with disk.reading(self.root):
            paths = disk.entries(self.root / "models")
            return tuple(
                path.name for path in paths if is_name(path.name) and _holds_model(path)
            )

    def model(self, name: str) -> ModelStore:
        """Return one model's part.

        Raises:
            NotInstalled: when there is no such model.
            StoreUnreadable: when the store may not be read.
        """
        names = self.models()
        if name not in names:
            raise self._not_installed(name, names)
        return ModelStore(self.root / "models" / name)

    def resolve(self, ref: str | None) -> tuple[ModelStore, tuple[str, ...]]:
        """Return the model that a reference means, and the digests to try in this order.

        Args:
            ref: ``NAME`` for what is active, ``NAME@VERSION``, or None for the only model.

        Raises:
            NotInstalled: when there is no such model or version.
            RefAmbiguous: when there are several models and none was named.
        """
        name, _, version = (self.only() if ref is None else ref).partition("@")
        model = self.model(name)
        return model, model.choices(version or None)

    def only(self) -> str:
        """Return the name of the only model.

        Raises:
            NotInstalled: when there is none.
            RefAmbiguous: when there are several.
        """
        names = self.models()
        if not names:
            raise self._not_installed("a model", names)
        if len(names) > 1:
            raise RefAmbiguous(
                f"one model was meant, {len(names)} are installed: {', '.join(names)}",
                hint="Name one of them.",
                expected=1,
                found=list(names),
            )
        return names[0]

    def _not_installed(self, wanted: str, names: tuple[str, ...]) -> NotInstalled:
        return NotInstalled(
            f"{wanted} was asked for, the store {self.root} ({self.origin}) holds "
            f"{', '.join(names) or 'no model'}",
            hint="Install it first: edge-runtime install BUNDLE, or name another --store.",
            store=str(self.root),
            expected=wanted,
            found=list(names),
        )

    @contextmanager
    def writing(self) -> Iterator[StoreWriter]:
        """Become the one writer, making the store where there is none.

        Raises:
            StoreBusy: when another process is writing.
            StoreUnwritable: when this user may not write there.
            NoSpace: when the disk is full.
        """
        with ExitStack() as stack:
            with disk.writing(self.root):
                if not self.root.is_dir():
                    disk.make_directory(self.root)
                stack.enter_context(exclusive(self.root / "lock"))
                disk.remove_tree(self.incoming)
            yield StoreWriter(self)

    def keep(self, write: Callable[[StoreWriter], object]) -> str:
        """Write what is worth keeping, but no reason to fail; return why it was not kept."""
        try:
            with self.writing() as writer:
                write(writer)
        except (StoreBusy, StoreUnwritable, NoSpace) as error:
            return error.message
        return ""


def _holds_model(path: Path) -> bool:
    """Tell a model from what an installation cut short leaves: no version, none active.

    One whose only version is gone, as when its repair was cut short, is still one that has to
    serve.
    """
    if disk.entries(path / "versions"):
        return True
    try:
        return record.read(path).state.active is not None
    except StoreNewer:
        return True


def locate_store(
    explicit: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] = os.environ,
    system: Path = SYSTEM_ROOT,
) -> Store:
    """Find the store: what was named, else the machine's, else the user's own.

    Args:
        explicit: what ``--store`` or an argument named.
        environ: the environment, for ``EDGE_STORE``, ``XDG_STATE_HOME`` and ``HOME``.
        system: the machine's store, taken where it exists.

    Raises:
        StoreUnreadable: when nothing was named and the user has no home.
    """
    if explicit is not None:
        return Store(Path(explicit), "named by --store")
    if environ.get("EDGE_STORE"):
        return Store(Path(environ["EDGE_STORE"]), "named by $EDGE_STORE")
    if system.is_dir():
        return Store(system, f"{system} exists")
    state = Path(environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():
        home = Path(environ.get("HOME", ""))
        if not home.is_absolute():
            raise StoreUnreadable(
                f"no store was named, {system} does not exist, and $HOME is "
                f"{environ.get('HOME')!r}",
                hint="Name the store: --store DIR",
                expected=str(system),
                found=environ.get("HOME"),
            )
        state = home / ".local" / "state"
    return Store(state / "edge-runtime", f"the user's own, because {system} does not exist")
