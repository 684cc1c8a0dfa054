"""Whose signatures count: key files, and the signature of what is already installed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from edge_runtime.contract.bundle.files import open_plain
from edge_runtime.contract.bundle.manifest import MANIFEST_NAME, SIGNATURE_NAME
from edge_runtime.contract.bundle.signature import (
    MAX_SIGNATURE_BYTES,
    PublicKey,
    verify_signature,
)
from edge_runtime.contract.errors import KeyInvalid, SignatureInvalid
from edge_runtime.state.model import ModelStore
from edge_runtime.state.record import reverified
from edge_runtime.state.store import Store

MAX_KEY_BYTES = 64 << 10

KeyFiles: TypeAlias = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def read_key(path: Path) -> bytes:
    """Return a key file's bytes.

    Raises:
        KeyInvalid: when it cannot be read, or is too large to be one.
    """
    try:
        with open_plain(path, follow=True) as stream:
            data = stream.read(MAX_KEY_BYTES + 1)
    except OSError as error:
        raise _no_key(path, f"it cannot be read: {error.strerror}") from None
    if len(data) > MAX_KEY_BYTES:
        raise _no_key(path, f"it has more than {MAX_KEY_BYTES} bytes")
    return data


def _no_key(path: Path, reason: str) -> KeyInvalid:
    return KeyInvalid(
        f"{path} must hold a public key; {reason}",
        hint="Check the path; packager keygen writes release.pub.",
        path=str(path),
        reason=reason,
    )


def read_keys(files: KeyFiles) -> list[PublicKey]:
    """Return the public keys that these files hold.

    Raises:
        KeyInvalid: when a file holds none.
    """
    paths = [files] if isinstance(files, str | os.PathLike) else files
    return [PublicKey.load(read_key(Path(path))) for path in paths]


def check_signer(store: Store, model: ModelStore, digest: str, files: KeyFiles | None) -> None:
    """Verify the signature of an installed package, unless that was done under these very keys.

    Args:
        store: where it is installed.
        model: its part of the store.
        digest: of its manifest, which lists every other file.
        files: keys to believe instead of the store's.

    Raises:
        NoTrustedKey: when no key is trusted.
        SignerUntrusted: when the key that signed is not among the trusted.
        SignatureInvalid: when the signature does not hold, or is not that of this manifest.
    """
    if files is not None:
        _check_signature(model.version(digest), digest, read_keys(files))
        return
    active, trust = model.read().state.active, store.trust.digest()
    if active and (active.digest, active.trust) == (digest, trust):
        return
    _check_signature(model.version(digest), digest, store.trust.keys())
    if active and active.digest == digest:
        store.keep(lambda w: w.update(model.name, lambda s: reverified(s, digest, trust)))


def _check_signature(directory: Path, digest: str, keys: Sequence[PublicKey]) -> None:
    try:
        with open_plain(directory / SIGNATURE_NAME) as stream:
            data = stream.read(MAX_SIGNATURE_BYTES + 1)
    except OSError as error:
        raise _unsigned(digest, f"none: {error.strerror}") from None
    digests, _ = verify_signature(data, keys)
    if digests.get(MANIFEST_NAME) != digest:
        raise _unsigned(digest, f"one over {str(digests.get(MANIFEST_NAME))[:16]}…")


def _unsigned(digest: str, found: str) -> SignatureInvalid:
    return SignatureInvalid(
        f"the installed manifest {digest[:16]}… must have its signature, found {found}",
        hint="Install the bundle again: edge-runtime install BUNDLE",
        expected=digest,
        found=found,
    )
