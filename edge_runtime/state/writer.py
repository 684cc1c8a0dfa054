"""What only the holder of the store's lock may do."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.contract import units
from edge_runtime.contract.bundle.keyring import EVERY_NAME
from edge_runtime.contract.bundle.manifest import Manifest
from edge_runtime.contract.errors import NoSpace
from edge_runtime.state import disk, garbage, record
from edge_runtime.state.loads import failure
from edge_runtime.state.model import ModelStore
from edge_runtime.state.record import (
    State,
    Version,
    activated,
    proven_good,
    removed,
    rolled_back,
    staged,
)
from edge_runtime.state.settings import FILE, Settings, render

if TYPE_CHECKING:
    from edge_runtime.contract.bundle.signature import PublicKey, Trusted
    from edge_runtime.contract.bundle.trust_file import TrustDocument
    from edge_runtime.state.store import Store

# What a version takes beside its files: directories, signature, record, verdicts.
_BESIDE = 256 << 10
# Members of the store's group may add files, and those keep the group.
_SHARED_MODE = 0o2775


class StoreWriter:
    """Changes a store; ``Store.writing`` makes it once it holds the lock."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def model(self, name: str) -> ModelStore:
        """Return one model's part, which need not be there yet."""
        return ModelStore(self._store.root / "models" / name)

    def add_key(
        self, pem: bytes, patterns: tuple[str, ...] = EVERY_NAME
    ) -> tuple[Trusted, bool]:
        """Trust a key from now on; return it, and whether it was not trusted so before.

        Args:
            pem: the key, or the certificate of an authority.
            patterns: the model names that it may sign for.

        Raises:
            KeyInvalid: when the bytes are neither, or a pattern is none.
            SignerRevoked: when it was withdrawn.
        """
        return self._store.trust.add(pem, patterns)

    def pin_root(self, pem: bytes) -> tuple[PublicKey, bool]:
        """Believe the lists that a root key signs; return it, and whether none was pinned.

        Raises:
            KeyInvalid: when the bytes are no public key, or another root is pinned.
        """
        return self._store.trust.list.pin(pem)

    def update_trust(self, data: bytes) -> tuple[TrustDocument, bool]:
        """Put a ``trust.json`` in force; return what it says, and whether it was not before.

        Raises:
            TrustInvalid: when no root that is believed here signed it.
            TrustTooOld: when a newer one is in force.
        """
        return self._store.trust.list.update(data)

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
        # What was found of an earlier probation of the same version no longer counts.
        model = self.model(manifest.name)
        with disk.writing(model.path):
            model.loads.forget(digest)
        return self.update(manifest.name, lambda state: activated(state, version, detail))

    def note_staged(self, manifest: Manifest, digest: str) -> State:
        """Record that a version waits to be activated; it stays installed until then.

        Raises:
            StoreUnwritable: when it cannot be written.
        """
        version = Version(digest, manifest.version, manifest.release, "")
        return self.update(manifest.name, lambda state: staged(state, version))

    def settle(self, name: str) -> State:
        """Take into the record how loads on probation ended: proven, or rolled back.

        Raises:
            StoreUnwritable: when it cannot be written.
        """
        model = self.model(name)
        state = model.read().state
        if state.candidate is None:
            return state
        marks = model.loads.marks(state.candidate.digest)
        given_up = failure(state, marks)
        if marks.good:
            settled = proven_good(state, "its first predictions held")
        elif given_up and state.previous_good:
            settled = rolled_back(state, given_up)
        else:
            return state
        return self._decide(name, settled)

    def mark_good(self, name: str, detail: str) -> State:
        """Record that the active version is proven.

        Raises:
            StoreUnwritable: when it cannot be written.
        """
        return self._decide(name, proven_good(self.model(name).read().state, detail))

    def roll_back(self, name: str, detail: str) -> State:
        """Record that the previous good version serves again.

        Raises:
            StoreUnwritable: when it cannot be written.
        """
        return self._decide(name, rolled_back(self.model(name).read().state, detail))

    def _decide(self, name: str, decided: State) -> State:
        """Record the end of a probation, and then forget what led to it."""
        model = self.model(name)
        candidate = model.read().state.candidate
        state = self.update(name, lambda _: decided)
        if candidate is not None:
            with disk.writing(model.path):
                model.loads.forget(candidate.digest)
        return state

    def remove(self, name: str, version: Version) -> bool:
        """Remove a version, unless a process has just begun to load it.

        Raises:
            StoreUnwritable: when it cannot be removed.
        """
        model = self.model(name)
        with disk.writing(model.path):
            if not garbage.discard(model, version.digest, self._store.incoming):
                return False
        self.update(name, lambda state: removed(state, version))
        return True

    def collect_garbage(self, name: str) -> tuple[str, ...]:
        """Remove what nothing needs any more; return the digests of the versions that went."""
        return garbage.collect(self.model(name), self._store.incoming)

    def write_settings(self, name: str, settings: Settings) -> None:
        """Keep what the operator set for a model on this device.

        Raises:
            StoreUnwritable: when it cannot be written.
        """
        directory = self.model(name).path
        with disk.writing(directory):
            disk.write_file(directory / FILE, render(settings))

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
        model = self.model(name)
        directory = model.local(digest, identity)
        with disk.writing(directory):
            garbage.bound_local(model, digest, directory)
            disk.make_directory(directory)
            disk.write_file(directory / file, data)

    def _publish(self, model: ModelStore, staged: Path) -> None:
        disk.make_directory(model.versions)
        reading = model.read()
        if not reading.state.generation and not reading.lost:
            # Before the first version, so that a lost record can be told from a new model.
            record.write(model.path, State())
        for shared in (model.metrics, model.loads.directory):
            disk.make_directory(shared, _SHARED_MODE, self._store.root.stat().st_gid)
        target = model.version(staged.name)
        if target.is_dir():
            disk.move(target, self._store.incoming / f"{staged.name}.damaged")
        disk.move(staged, target)

    def _require_space(self, needed: int) -> None:
        """Refuse early what cannot fit: all that is installed stays beside the new version."""
        facts = os.statvfs(self._store.root)
        free = facts.f_bavail * facts.f_frsize
        if needed and needed + _BESIDE > free:
            stays = self._installed_bytes()
            raise NoSpace(
                f"the package needs {units.size(needed + _BESIDE)} beside the "
                f"{units.size(stays)} of versions that stay, {self._store.root} has "
                f"{units.size(free)} free",
                hint="Free space on the store's disk and run the same command again.",
                path=str(self._store.root),
                expected=needed + _BESIDE,
                found=free,
                stays=stays,
            )

    def _installed_bytes(self) -> int:
        models = [self._store.model(name) for name in self._store.models()]
        found = [item.manifest for model in models for item in model.installed()]
        return sum(entry.size for manifest in found if manifest for entry in manifest.files)
