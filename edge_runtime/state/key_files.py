"""The keys that were trusted by hand: one file a key, named by what it holds."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.contract.bundle.keyring import EVERY_NAME, pem_fingerprint
from edge_runtime.contract.bundle.trust_file import Grant
from edge_runtime.contract.errors import StoreCorrupt
from edge_runtime.state import disk

if TYPE_CHECKING:
    from edge_runtime.contract.bundle.signature import Trusted

_NAME = re.compile(r"(?P<fingerprint>[0-9a-f]{64})\.pem")
# A key for some names only: two lines before it, the second of which sums up all the others.
_NARROWED = re.compile(
    r"for: (?P<patterns>[^\n]+)\nsum: (?P<sum>[0-9a-f]{64})\n(?P<pem>-----BEGIN .*)", re.DOTALL
)
_MAX_BYTES = 64 << 10


class KeyDirectory:
    """The keys below one directory; whatever does not read there means refusal."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def grants(self) -> tuple[Grant, ...]:
        """Return the keys in the order of their names.

        Raises:
            StoreCorrupt: when the directory holds anything that ``write`` did not put there.
            StoreUnreadable: when it may not be read.
        """
        found: list[Grant] = []
        with disk.reading(self.path):
            for path in disk.entries(self.path):
                # What an interrupted ``write`` leaves was never acknowledged.
                if disk.is_temporary(path):
                    continue
                named = _NAME.fullmatch(path.name)
                grant = _parse(_read(path)) if named and path.is_file() else None
                if named is None or grant is None or grant.fingerprint != named["fingerprint"]:
                    raise foreign(path, "it is none or was changed")
                found.append(grant)
        return tuple(found)

    def write(self, key: Trusted) -> None:
        """Put a key in place, or another list of names in the place of its old one."""
        with disk.writing(self.path):
            disk.make_directory(self.path)
            disk.write_file(self.path / f"{key.fingerprint}.pem", _written(key))

    def remove(self, fingerprint: str) -> None:
        """Remove a key."""
        with disk.writing(self.path):
            (self.path / f"{fingerprint}.pem").unlink()
            disk.sync_directory(self.path)


def foreign(path: Path, reason: str) -> StoreCorrupt:
    """Return the error for what nobody added."""
    return StoreCorrupt(
        f"{path.parent} must hold only keys as they were added, found {path.name!r}: {reason}",
        hint=f"Remove {path} and add the key again: edge-runtime trust add release.pub",
        expected="FINGERPRINT.pem",
        found=str(path),
    )


def _read(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_MAX_BYTES)


def _written(key: Trusted) -> bytes:
    """Return the file of a key; one for every name is its PEM text and nothing else."""
    if key.patterns == EVERY_NAME:
        return key.pem
    patterns = " ".join(key.patterns).encode()
    checksum = hashlib.sha256(patterns + b"\n" + key.pem).hexdigest().encode()
    return b"for: %s\nsum: %s\n%s" % (patterns, checksum, key.pem)


def _parse(data: bytes) -> Grant | None:
    """Return the key that a file holds; None where it is no such file, to the letter."""
    text, patterns = data.decode("ascii", "replace"), EVERY_NAME
    narrowed = _NARROWED.fullmatch(text)
    if narrowed is not None:
        text = narrowed["pem"]
        summed = hashlib.sha256(f"{narrowed['patterns']}\n{text}".encode()).hexdigest()
        patterns = tuple(narrowed["patterns"].split(" "))
        if summed != narrowed["sum"]:
            return None
    fingerprint = pem_fingerprint(text)
    return None if fingerprint is None else Grant(text, fingerprint, patterns)
