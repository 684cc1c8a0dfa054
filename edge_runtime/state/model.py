"""One model in the store, for reading: which versions are there and which of them serves.

``models/NAME/`` holds ``state-a.json`` and ``state-b.json`` (the record), ``settings.json``
(what the operator set, where anything was), ``versions/DIGEST/`` (packages as they were
signed), ``local/DIGEST-IDENTITY/`` (what this device made for a version under one engine and
CPU), and where unprivileged processes write: ``metrics/`` and ``loads/``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from edge_runtime.contract.bundle.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    Manifest,
    is_digest,
)
from edge_runtime.contract.bundle.manifest_json import parse_manifest
from edge_runtime.contract.errors import BundleError, NotInstalled
from edge_runtime.state import disk, record, settings
from edge_runtime.state.loads import Loads, Standing, standing
from edge_runtime.state.record import Reading
from edge_runtime.state.settings import Settings


@dataclass(frozen=True)
class Installed:
    """One installed version. Only its manifest was checked, not its payload.

    Attributes:
        digest: sha256 of the manifest in hex, which is also the directory's name.
        directory: where the package lies.
        manifest: None when it is damaged or of a form unknown here.
        problem: why ``manifest`` is None; empty otherwise.
    """

    digest: str
    directory: Path
    manifest: Manifest | None
    problem: str

    @property
    def release(self) -> int:
        """Its release; -1 when the manifest does not read."""
        return self.manifest.release if self.manifest else -1


class ModelStore:
    """One model's part of the store, for reading: it needs no lock and no right to write.

    Attributes:
        name: the model's name.
        path: its directory.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.path = path

    @property
    def metrics(self) -> Path:
        """The directory of this model's metrics; members of the store's group write there."""
        return self.path / "metrics"

    @property
    def loads(self) -> Loads:
        """Who has loaded which version; members of the store's group write there."""
        return Loads(self.path / "loads")

    def settings(self) -> tuple[Settings, str]:
        """Return what was set for this model here, and why that does not count, if it does not.

        Raises:
            StoreUnreadable: when it may not be read.
        """
        with disk.reading(self.path):
            return settings.read(self.path)

    def standing(self) -> Standing:
        """Return which version the next load takes; needs no right to write.

        Raises:
            StoreNewer: when a newer runtime wrote the record.
            StoreUnreadable: when it may not be read.
        """
        return standing(self.read().state, self.loads)

    @property
    def versions(self) -> Path:
        """The directory that holds a directory for each installed version."""
        return self.path / "versions"

    def version(self, digest: str) -> Path:
        """Return the directory of one version, which need not be there."""
        return self.versions / digest

    def local(self, digest: str, identity: str) -> Path:
        """Return the directory of what this device made for a version, which need not be there.

        Args:
            digest: the version.
            identity: the engine and CPU it holds for: ``DeviceFacts.identity``.
        """
        return self.path / "local" / f"{digest}-{identity}"

    def read_local(self, digest: str, identity: str, name: str) -> bytes | None:
        """Return a file that this device made for a version; None when there is none.

        Raises:
            StoreUnreadable: when it may not be read.
        """
        path = self.local(digest, identity) / name
        with disk.reading(path):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                return None

    def read(self) -> Reading:
        """Return the record.

        When both copies are lost the model is no fresh one: nothing is active, but the floor
        is the highest release installed, so that losing the record never opens the way back.

        Raises:
            StoreNewer: when a newer runtime wrote it.
            StoreUnreadable: when it may not be read.
        """
        with disk.reading(self.path):
            reading = record.read(self.path)
        if reading.state.generation:
            return reading
        # The first record is written before the first version, so versions alone mean loss.
        installed = self.installed()
        if not reading.lost and not installed:
            return reading
        floor = max(0, *(item.release for item in installed)) if installed else 0
        degraded = reading.degraded or f"both copies of the record are missing in {self.path}"
        return Reading(replace(reading.state, floor=floor), degraded, lost=True)

    def installed(self) -> list[Installed]:
        """Return every installed version, the newest release first, damaged ones last.

        Raises:
            StoreUnreadable: when a directory may not be read.
        """
        with disk.reading(self.versions):
            found = [
                _installed(path) for path in disk.entries(self.versions) if is_digest(path.name)
            ]
        return sorted(found, key=lambda item: -item.release)

    def choices(self, version: str | None = None) -> tuple[str, ...]:
        """Return the digests that may serve, in the order in which to try them.

        It is one digest, unless the record is lost: then the newest that verifies has to serve,
        and the caller says that it is degraded. A version that is installed for two targets
        has two as well, the active one first.

        Args:
            version: ask for this version instead of the active one.

        Raises:
            NotInstalled: when there is none.
        """
        reading = self.read()
        taken = standing(reading.state, self.loads).version
        active = taken.digest if taken else None
        if version is None and active:
            return (active,)
        versions = [
            item.digest
            for item in self.installed()
            if (item.manifest and item.manifest.version == version)
            or (version is None and reading.lost)
        ]
        if not versions:
            raise self._not_installed(version)
        return tuple(sorted(versions, key=lambda digest: digest != active))

    def _not_installed(self, version: str | None) -> NotInstalled:
        there = [item.manifest.version for item in self.installed() if item.manifest]
        wanted = f"version {version}" if version else "an active version"
        return NotInstalled(
            f"{wanted} of {self.name} was asked for, installed: {', '.join(there) or 'none'}",
            hint="Install it first: edge-runtime install BUNDLE",
            model=self.name,
            expected=version,
            found=there,
        )


def _installed(directory: Path) -> Installed:
    digest = directory.name
    try:
        with (directory / MANIFEST_NAME).open("rb") as stream:
            data = stream.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        return Installed(digest, directory, None, f"{MANIFEST_NAME}: {error.strerror}")
    if hashlib.sha256(data).hexdigest() != digest:
        return Installed(digest, directory, None, f"{MANIFEST_NAME} was changed")
    try:
        return Installed(digest, directory, parse_manifest(data), "")
    except BundleError as error:
        return Installed(digest, directory, None, error.message)
