"""The store: everything that the device keeps, below one directory that a person can name.

``lock`` (held by the one writer), ``trust/keys/`` (public keys), ``models/NAME/`` (see
``edge_runtime.state.model``) and ``incoming/`` (where a package becomes whole before it is
installed; whatever a broken run leaves there is removed by the next writer).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.contract.bundle.manifest import Manifest, is_name
from edge_runtime.contract.errors import (
    NoSpace,
    NotInstalled,
    RefAmbiguous,
    StoreBusy,
    StoreUnreadable,
    StoreUnwritable,
)
from edge_runtime.state import disk, record
from edge_runtime.state.lock import exclusive
from edge_runtime.state.model import ModelStore
from edge_runtime.state.record import State, Version, activated
from edge_runtime.state.trust import TrustStore

if TYPE_CHECKING:
    from edge_runtime.contract.bundle.signature import PublicKey

SYSTEM_ROOT = Path("/var/lib/edge-runtime")

# Members of the store's group may add files, and those keep the group.
_METRICS_MODE = 0o2775


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
        self.trust = TrustStore(root / "trust" / "keys")

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
                path.name
                for path in paths
                # An install that was cut short leaves a directory without a version.
                if is_name(path.name) and disk.entries(path / "versions")
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
        if ref is None:
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
            ref = names[0]
        name, _, version = ref.partition("@")
        model = self.model(name)
        return model, model.choices(version or None)

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


class StoreWriter:
    """What only the holder of the lock may do; ``Store.writing`` makes it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def model(self, name: str) -> ModelStore:
        """Return one model's part, which need not be there yet."""
        return ModelStore(self._store.root / "models" / name)

    def add_key(self, pem: bytes) -> tuple[PublicKey, bool]:
        """Trust a key from now on; return it, and whether it was not trusted before.

        Raises:
            KeyInvalid: when the bytes are no public key that bundles are signed with.
        """
        return self._store.trust.add(pem)

    def remove_key(self, prefix: str) -> str:
        """Trust a key no longer, named by the start of its fingerprint; return that whole.

        Raises:
            KeyInvalid: when it means no trusted key, or several.
        """
        return self._store.trust.remove(prefix)

    def stage(
        self,
        name: str,
        digest: str,
        fill: Callable[[Path], None],
        *,
        size: int = 0,
        mend: bool = False,
    ) -> Path:
        """Install a package beside what serves; nothing serves it yet.

        The package becomes whole and durable in ``incoming`` and appears under its digest in
        one step. If ``fill`` raises, the store is as it was.

        Args:
            name: the model's name.
            digest: sha256 of the package's manifest in hex.
            fill: writes the verified files into an empty directory, and may prove them there.
            size: how many bytes ``fill`` will write, to refuse early.
            mend: replace the version where it is installed already, because it is damaged.

        Returns:
            The directory of the version.

        Raises:
            NoSpace: when it does not fit.
            StoreUnwritable: when it cannot be written.
        """
        model = self.model(name)
        target = model.version(digest)
        if target.is_dir() and not mend:
            return target
        staged = self._store.incoming / digest
        with disk.writing(self._store.root):
            try:
                self._require_space(size)
                disk.make_directory(staged)
                fill(staged)
                disk.seal(staged)
                disk.sync_directory(self._store.incoming)
                self._publish(model, staged)
            finally:
                # What cannot be removed now, the next writer removes.
                with suppress(OSError):
                    disk.remove_tree(self._store.incoming)
        return target

    def activate(self, manifest: Manifest, digest: str, detail: str = "") -> State:
        """Let a staged version serve from now on; what served before can be returned to.

        Its signature counts as verified under the keys that are trusted now.

        Raises:
            StoreUnwritable: when it cannot be written; then what served before still does.
        """
        trust = self._store.trust.digest()
        version = Version(digest, manifest.version, manifest.release, trust)
        return self.update(manifest.name, lambda state: activated(state, version, detail))

    def update(self, name: str, change: Callable[[State], State]) -> State:
        """Replace a model's record by what ``change`` makes of it.

        Raises:
            StoreUnwritable: when it cannot be written; then the old one counts.
        """
        model = self.model(name)
        reading = model.read()
        with disk.writing(model.path):
            state = record.write(model.path, change(reading.state))
            if reading.degraded:
                # The other copy is bad too or missing: a second write mends it.
                state = record.write(model.path, state)
        return state

    def write_local(
        self, name: str, digest: str, identity: str, file: str, data: bytes
    ) -> None:
        """Keep a file that this device made for a version, under one engine and CPU.

        Raises:
            StoreUnwritable: when it cannot be written.
        """
        directory = self.model(name).local(digest, identity)
        with disk.writing(directory):
            disk.make_directory(directory)
            disk.write_file(directory / file, data)

    def _publish(self, model: ModelStore, staged: Path) -> None:
        disk.make_directory(model.versions)
        reading = model.read()
        if not reading.state.generation and not reading.lost:
            # Before the first version, so that a lost record can be told from a new model.
            record.write(model.path, State())
        disk.make_directory(model.metrics, _METRICS_MODE, self._store.root.stat().st_gid)
        target = model.version(staged.name)
        if target.is_dir():
            disk.move(target, self._store.incoming / f"{staged.name}.damaged")
        disk.move(staged, target)

    def _require_space(self, size: int) -> None:
        facts = os.statvfs(self._store.root)
        free = facts.f_bavail * facts.f_frsize
        if size > free:
            raise NoSpace(
                f"the package needs {size} bytes, {self._store.root} has {free} free",
                hint="Free space on the store's disk and run the same command again.",
                path=str(self._store.root),
                expected=size,
                found=free,
            )
