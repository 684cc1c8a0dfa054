"""The public keys that this device believes: one file a key, named by what it holds."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.contract.errors import KeyInvalid, NoTrustedKey, StoreCorrupt
from edge_runtime.state import disk

if TYPE_CHECKING:
    # Importing it takes longer than all of ``status``; only those who use keys pay for that.
    from edge_runtime.contract.bundle.signature import PublicKey

_NAME = re.compile(r"(?P<fingerprint>[0-9a-f]{64})\.pem")


class TrustStore:
    """The trusted keys below one directory; whatever does not read there means refusal."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def fingerprints(self) -> tuple[str, ...]:
        """Return the fingerprints of the trusted keys, sorted; none where nothing was added.

        Raises:
            StoreCorrupt: when the directory holds anything that ``add`` did not put there.
            StoreUnreadable: when it may not be read.
        """
        return tuple(sorted(self._entries()))

    def digest(self) -> str:
        """Return one text for the whole set: it changes whenever a key comes or goes."""
        return hashlib.sha256("\n".join(self.fingerprints()).encode()).hexdigest()

    def keys(self) -> tuple[PublicKey, ...]:
        """Return the trusted keys.

        Raises:
            NoTrustedKey: when there is none.
            StoreCorrupt: when the directory holds anything that ``add`` did not put there.
            StoreUnreadable: when it may not be read.
        """
        entries = self._entries()
        if not entries:
            raise NoTrustedKey(
                f"a bundle is believed by its signature, and {self._directory} holds no key",
                hint="Trust the release key first: edge-runtime trust add release.pub",
                expected="at least one trusted key",
                found=0,
            )
        from edge_runtime.contract.bundle.signature import PublicKey

        return tuple(PublicKey.load(entries[name]) for name in sorted(entries))

    def add(self, pem: bytes) -> tuple[PublicKey, bool]:
        """Trust a key from now on. The caller holds the store's lock.

        Returns:
            The key, and whether it was not trusted before.

        Raises:
            KeyInvalid: when the bytes are no public key that bundles are signed with.
        """
        from edge_runtime.contract.bundle.signature import PublicKey

        key = PublicKey.load(pem)
        if key.fingerprint in self._entries():
            return key, False
        with disk.writing(self._directory):
            disk.make_directory(self._directory)
            disk.write_file(self._directory / f"{key.fingerprint}.pem", key.pem)
        return key, True

    def remove(self, prefix: str) -> str:
        """Trust a key no longer. The caller holds the store's lock.

        Args:
            prefix: the fingerprint, or so much of its start that it means one key.

        Returns:
            The fingerprint of the key that went.

        Raises:
            KeyInvalid: when it means no trusted key, or several.
        """
        known = self.fingerprints()
        meant = [fingerprint for fingerprint in known if fingerprint.startswith(prefix)]
        if len(meant) != 1:
            raise KeyInvalid(
                f"{prefix!r} must mean one trusted key, it means {len(meant)} of {len(known)}",
                hint="Give the whole fingerprint: edge-runtime trust list",
                expected=1,
                found=meant,
                trusted=list(known),
            )
        with disk.writing(self._directory):
            (self._directory / f"{meant[0]}.pem").unlink()
            disk.sync_directory(self._directory)
        return meant[0]

    def _entries(self) -> dict[str, bytes]:
        """Return the keys' bytes by fingerprint."""
        found: dict[str, bytes] = {}
        with disk.reading(self._directory):
            for path in disk.entries(self._directory):
                # What an interrupted ``add`` leaves was never acknowledged.
                if disk.is_temporary(path):
                    continue
                named = _NAME.fullmatch(path.name)
                data = path.read_bytes() if named and path.is_file() else b""
                if named is None or hashlib.sha256(data).hexdigest() != named["fingerprint"]:
                    raise _foreign(path)
                found[named["fingerprint"]] = data
        return found


def _foreign(path: Path) -> StoreCorrupt:
    return StoreCorrupt(
        f"{path.parent} must hold only keys named by their fingerprint, found {path.name!r}, "
        "which is none or was changed",
        hint=f"Remove {path} and add the key again: edge-runtime trust add release.pub",
        expected="FINGERPRINT.pem",
        found=str(path),
    )
