"""The root key that was pinned, and the newest list that it or a root after it signed.

``root.pem`` is what a person pinned, ``trust.json`` one file for all that changes together:
keys, their names, what was withdrawn, and the way from the pinned root to the present one.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.contract.bundle.keyring import pem_fingerprint
from edge_runtime.contract.bundle.trust_file import (
    MAX_TRUST_BYTES,
    TRUST_NAME,
    TrustDocument,
    VerifiedTrust,
    parse_document,
    read_trust_file,
    verify_trust,
)
from edge_runtime.contract.errors import KeyInvalid, StoreCorrupt, TrustInvalid, TrustTooOld
from edge_runtime.state import disk
from edge_runtime.state.key_files import foreign

if TYPE_CHECKING:
    from edge_runtime.contract.bundle.signature import PublicKey

ROOT_NAME = "root.pem"


class TrustList:
    """Root key and list below one directory; whatever does not read there means refusal."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def document(self) -> TrustDocument | None:
        """Return what the ``trust.json`` in force says; None where there is none.

        Its signature was verified when it was put there, and is whenever keys are used.

        Raises:
            StoreCorrupt: when it is not what was put there.
            StoreUnreadable: when it may not be read.
        """
        data = self._read(TRUST_NAME)
        if data is None:
            return None
        if self.pinned() is None:
            raise foreign(self.directory / TRUST_NAME, f"it belongs to a {ROOT_NAME}")
        try:
            return parse_document(read_trust_file(data).envelope.payload)
        except TrustInvalid as error:
            raise self._damaged(error) from None

    def root(self) -> str | None:
        """Return the fingerprint of the root key in force; None where none is pinned.

        Raises:
            StoreCorrupt: when anything there is not what was put there.
            StoreUnreadable: when it may not be read.
        """
        data = self._read(TRUST_NAME)
        if data is None:
            return self.pinned()
        try:
            return read_trust_file(data).envelope.signer
        except TrustInvalid as error:
            raise self._damaged(error) from None

    def pinned(self) -> str | None:
        """Return the fingerprint of the root key that was pinned by hand; None where none was.

        Raises:
            StoreCorrupt: when the file holds none.
            StoreUnreadable: when it may not be read.
        """
        pem = self._read(ROOT_NAME)
        if pem is None:
            return None
        found = pem_fingerprint(pem.decode("ascii", "replace"))
        if found is None:
            raise foreign(self.directory / ROOT_NAME, "it holds no public key")
        return found

    def digest_lines(self) -> list[str]:
        """Return a line for each of the two files, which changes whenever the file does.

        Raises:
            StoreUnreadable: when one may not be read.
        """
        found = {name: self._read(name) for name in (ROOT_NAME, TRUST_NAME)}
        return [
            f"{name} {hashlib.sha256(d).hexdigest()}"
            for name, d in found.items()
            if d is not None
        ]

    def in_force(self) -> VerifiedTrust | None:
        """Return the list in force, verified from the root that was pinned.

        Raises:
            StoreCorrupt: when anything there is not what was put there.
            StoreUnreadable: when it may not be read.
        """
        data = self._read(TRUST_NAME)
        if data is None or self.document() is None:
            return None
        try:
            return verify_trust(data, self._root_key())
        except TrustInvalid as error:
            raise self._damaged(error) from None

    def pin(self, pem: bytes) -> tuple[PublicKey, bool]:
        """Believe what this root key signs from now on, and what the roots after it do.

        Returns:
            The key, and whether none was pinned before.

        Raises:
            KeyInvalid: when the bytes are no public key, or another root is pinned.
        """
        from edge_runtime.contract.bundle.signature import PublicKey

        key, pinned = PublicKey.load(pem), self.pinned()
        if pinned is not None and key.fingerprint in (pinned, self.root()):
            return key, False
        if pinned is not None:
            raise KeyInvalid(
                f"one root key is pinned, {pinned[:16]}…; {key.fingerprint[:16]}… is another",
                hint="Let the old root hand over: packager trust rotate; or remove it first: "
                "edge-runtime trust remove FINGERPRINT",
                expected=pinned,
                found=key.fingerprint,
            )
        self._write(ROOT_NAME, key.pem)
        return key, True

    def update(self, data: bytes) -> tuple[TrustDocument, bool]:
        """Put a ``trust.json`` in force, if it is newer than the one that is.

        A list by a later root is newer; under one root the higher serial is.

        Returns:
            What it says, and whether it was not in force before.

        Raises:
            TrustInvalid: when it is malformed, no root is pinned, or another root signed it.
            TrustTooOld: when it is older, or other content under the same serial.
        """
        try:
            force = self.in_force()
        except StoreCorrupt:
            force = None  # it is damaged, and this is how it is mended
        new, changed = self._weighed(data, force)
        if changed:
            self._write(TRUST_NAME, data)
        return new, changed

    def is_news(self, data: bytes) -> bool:
        """Tell whether ``update`` would put this ``trust.json`` in force.

        Raises:
            TrustInvalid: when it is malformed, no root is pinned, or another root signed it.
            TrustTooOld: when it is older, or other content under the same serial.
            StoreCorrupt: when the one in force is damaged.
        """
        return self._weighed(data, self.in_force())[1]

    def _weighed(self, data: bytes, force: VerifiedTrust | None) -> tuple[TrustDocument, bool]:
        """Verify a list; return what it says, and whether it is newer than the one in force."""
        pinned = self._root_key()
        new = verify_trust(data, force.root if force else pinned)
        if force is None:
            return new.document, True
        # From the pinned root it is verified whenever keys are used: it has to hold there too.
        verify_trust(data, pinned)
        return new.document, bool(new.steps) or _is_newer(new.document, force.document)

    def unpin(self) -> None:
        """Forget the root key, and the list with it."""
        with disk.writing(self.directory):
            # In this order: a list without its root would be refused as foreign.
            (self.directory / TRUST_NAME).unlink(missing_ok=True)
            disk.sync_directory(self.directory)
            (self.directory / ROOT_NAME).unlink()
            disk.sync_directory(self.directory)

    def _root_key(self) -> PublicKey:
        from edge_runtime.contract.bundle.signature import PublicKey

        pem = self._read(ROOT_NAME)
        if pem is None:
            raise TrustInvalid(
                f"{TRUST_NAME} is believed by the root key that signed it, and "
                f"{self.directory} holds no {ROOT_NAME}",
                hint="Pin the root key first: edge-runtime trust add --root root.pub",
                expected=ROOT_NAME,
                found=None,
            )
        try:
            return PublicKey.load(pem)
        except KeyInvalid as error:
            raise foreign(self.directory / ROOT_NAME, error.message) from None

    def _write(self, name: str, data: bytes) -> None:
        with disk.writing(self.directory):
            disk.make_directory(self.directory)
            disk.write_file(self.directory / name, data)

    def _read(self, name: str) -> bytes | None:
        """Return a file's bytes, one more than allowed at most; None where there is none."""
        path = self.directory / name
        with disk.reading(path):
            try:
                with path.open("rb") as stream:
                    return stream.read(MAX_TRUST_BYTES + 1)
            except FileNotFoundError:
                return None

    def _damaged(self, error: TrustInvalid) -> StoreCorrupt:
        path = self.directory / TRUST_NAME
        return StoreCorrupt(
            f"{path} must be as its root signed it: {error.message}",
            hint="Put the newest one in its place: edge-runtime trust update trust.json",
            path=str(path),
            reason=error.message,
        )


def _is_newer(new: TrustDocument, force: TrustDocument) -> bool:
    """Tell whether a list replaces another of the same root; False where it is the same."""
    if new == force:
        return False
    if new.serial > force.serial:
        return True
    what = "other content under that serial" if new.serial == force.serial else "it"
    raise TrustTooOld(
        f"{TRUST_NAME} must have a serial above {force.serial}, which is in force here; "
        f"found {what} with {new.serial}",
        hint="Carry the newest one: packager trust show tells its serial.",
        expected=force.serial + 1,
        found=new.serial,
    )
