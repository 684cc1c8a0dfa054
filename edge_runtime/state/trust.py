"""Whose signatures this device believes: keys by hand, a root key, and what that root signed.

``keys/`` holds the keys that were trusted by hand, ``root.pem`` the root key that was pinned,
``trust.json`` the newest list that it, or a root it handed over to, signed. Whatever does not
read there means refusal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.contract.bundle.keyring import (
    EVERY_NAME,
    Keyring,
    Revocations,
    check_patterns,
    claimed_signers,
)
from edge_runtime.contract.bundle.manifest import MAX_SIGNATURE_BYTES, SIGNATURE_NAME
from edge_runtime.contract.bundle.trust_file import TRUST_NAME, Grant
from edge_runtime.contract.errors import KeyInvalid, NoTrustedKey
from edge_runtime.state.key_files import KeyDirectory
from edge_runtime.state.model import Installed
from edge_runtime.state.trust_list import TrustList

if TYPE_CHECKING:
    # Importing it takes longer than all of ``status``; only those who use keys pay for that.
    from edge_runtime.contract.bundle.signature import Trusted

BY_HAND = "by hand"


@dataclass(frozen=True)
class Counted:
    """A key or certificate that counts, as it is listed.

    Attributes:
        fingerprint: its name.
        patterns: of the model names that it may sign for.
        origin: ``by hand``, ``trust.json``, or both.
    """

    fingerprint: str
    patterns: tuple[str, ...]
    origin: str


class TrustStore:
    """What is trusted, below one directory.

    Attributes:
        directory: where it stands.
        list: the pinned root key, and what it signed.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.list = TrustList(directory)
        self._by_hand = KeyDirectory(directory / "keys")

    # --- asking, without cryptography ------------------------------------------------------

    def counted(self) -> tuple[Counted, ...]:
        """Return every key and certificate that counts, in the order of their names.

        Raises:
            StoreCorrupt: when anything there is not what was put there.
            StoreUnreadable: when it may not be read.
        """
        document = self.list.document()
        sources = {
            BY_HAND: self._by_hand.grants(),
            TRUST_NAME: document.grants if document else (),
        }
        origins: dict[str, list[str]] = {}
        for origin, grants in sources.items():
            for grant in grants:
                origins.setdefault(grant.fingerprint, []).append(origin)
        revoked = document.revocations.keys if document else frozenset()
        return tuple(
            Counted(one.fingerprint, one.patterns, ", ".join(origins[one.fingerprint]))
            for one in _joined(grant for grants in sources.values() for grant in grants)
            if one.fingerprint not in revoked
        )

    def fingerprints(self) -> tuple[str, ...]:
        """Return the fingerprints of the trusted keys, sorted; none where nothing was added.

        Raises:
            StoreCorrupt: when anything there is not what was put there.
            StoreUnreadable: when it may not be read.
        """
        return tuple(item.fingerprint for item in self.counted())

    def revocations(self) -> Revocations:
        """Return what ``trust.json`` withdrew; nothing where there is none.

        Raises:
            StoreCorrupt: when it is not what was put there.
            StoreUnreadable: when it may not be read.
        """
        document = self.list.document()
        return document.revocations if document else Revocations()

    def digest(self) -> str:
        """Return one text for the whole set: it changes whenever anything of it does."""
        lines = [
            " ".join([one.fingerprint, *(one.patterns if one.patterns != EVERY_NAME else ())])
            for one in self._by_hand.grants()
        ]
        lines += self.list.digest_lines()
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    # --- believing -------------------------------------------------------------------------

    def keys(self) -> Keyring:
        """Return the trusted keys, with what was withdrawn.

        Raises:
            NoTrustedKey: when there is none.
            StoreCorrupt: when anything there is not what was put there.
            StoreUnreadable: when it may not be read.
        """
        force = self.list.in_force()
        grants = (*self._by_hand.grants(), *(force.document.grants if force else ()))
        revoked = force.document.revocations if force else Revocations()
        if not grants and not revoked.keys:
            raise NoTrustedKey(
                f"a bundle is believed by its signature, and {self.directory} holds no key",
                hint="Trust the release key first: edge-runtime trust add release.pub",
                expected="at least one trusted key",
                found=0,
            )
        return Keyring(tuple(one.load() for one in _joined(grants)), revoked)

    # --- changing; the caller holds the store's lock ----------------------------------------

    def add(self, pem: bytes, patterns: tuple[str, ...] = EVERY_NAME) -> tuple[Trusted, bool]:
        """Trust a key or an authority's certificate from now on, for these model names alone.

        Returns:
            The key, and whether it was not trusted so before.

        Raises:
            KeyInvalid: when the bytes are neither, or a pattern is none.
            SignerRevoked: when it was withdrawn.
        """
        from edge_runtime.contract.bundle.signature import load_trusted

        key = load_trusted(pem, check_patterns(patterns))
        self.revocations().refuse_signer([key.fingerprint])
        known = {one.fingerprint: one.patterns for one in self._by_hand.grants()}
        if known.get(key.fingerprint) == key.patterns:
            return key, False
        self._by_hand.write(key)
        return key, True

    def remove(self, prefix: str) -> str:
        """Trust a key no longer; a root key goes with all that it signed.

        Args:
            prefix: the fingerprint, or so much of its start that it means one key.

        Returns:
            The fingerprint of the key that went.

        Raises:
            KeyInvalid: when it means no key that was added by hand, or several.
        """
        pinned, known = self.list.pinned(), [one.fingerprint for one in self._by_hand.grants()]
        meant = {name for name in (*known, pinned) if name and name.startswith(prefix)}
        if len(meant) != 1:
            raise KeyInvalid(
                f"{prefix!r} must mean one trusted key, it means {len(meant)} of {len(known)} "
                "that were added by hand",
                hint="Give the whole fingerprint: edge-runtime trust list",
                expected=1,
                found=sorted(meant),
                trusted=known,
            )
        (fingerprint,) = meant
        if fingerprint == pinned:
            self.list.unpin()
        if fingerprint in known:
            self._by_hand.remove(fingerprint)
        return fingerprint


def withdrawn(item: Installed, revocations: Revocations) -> str:
    """Return why an installed version is not loaded any more; empty where nothing is withdrawn.

    It is what its signature claims, read without cryptography: loading looks closer.
    """
    manifest = item.manifest
    if manifest is None:
        return ""
    by = f"was withdrawn by trust.json, serial {revocations.serial}"
    if revocations.release(manifest.name, manifest.release, item.digest):
        return f"{manifest.version} {by}"
    try:
        with (item.directory / SIGNATURE_NAME).open("rb") as stream:
            signers = claimed_signers(stream.read(MAX_SIGNATURE_BYTES))
    except OSError:
        return ""
    signer = revocations.signer(signers)
    return f"{signer[:16]}…, which signed {manifest.version}, {by}" if signer else ""


def _joined(grants: Iterable[Grant]) -> tuple[Grant, ...]:
    """Return each key once, for all the names that it was granted, sorted."""
    found: dict[str, Grant] = {}
    for one in grants:
        known = found.get(one.fingerprint)
        patterns = {*one.patterns, *(known.patterns if known else ())}
        found[one.fingerprint] = Grant(one.pem, one.fingerprint, tuple(sorted(patterns)))
    return tuple(found[name] for name in sorted(found))
