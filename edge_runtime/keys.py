"""Whose signatures count: key files, lists that arrive, and what is already installed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from edge_runtime.contract.bundle.archive import open_layout
from edge_runtime.contract.bundle.digests import sha256_hex
from edge_runtime.contract.bundle.files import is_directory, open_plain
from edge_runtime.contract.bundle.keyring import Keyring
from edge_runtime.contract.bundle.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    MAX_SIGNATURE_BYTES,
    SIGNATURE_NAME,
)
from edge_runtime.contract.bundle.manifest_json import parse_manifest
from edge_runtime.contract.bundle.oci import carried_trust
from edge_runtime.contract.bundle.signature import (
    Trusted,
    load_trusted,
    verify_signature,
)
from edge_runtime.contract.bundle.trust_file import (
    MAX_TRUST_BYTES,
    TRUST_NAME,
    read_trust_file,
)
from edge_runtime.contract.errors import (
    BundleError,
    KeyInvalid,
    SignatureInvalid,
    TrustInvalid,
    TrustTooOld,
)
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


def read_keys(files: KeyFiles) -> list[Trusted]:
    """Return the public keys and authorities' certificates that these files hold.

    Raises:
        KeyInvalid: when a file holds none.
    """
    paths = [files] if isinstance(files, str | os.PathLike) else files
    return [load_trusted(read_key(Path(path))) for path in paths]


def check_signer(store: Store, model: ModelStore, digest: str, files: KeyFiles | None) -> None:
    """Verify the signature of an installed package, unless that was done under these very keys.

    Args:
        store: where it is installed.
        model: its part of the store.
        digest: of its manifest, which lists every other file.
        files: keys to believe instead of the store's; what was withdrawn stays so.

    Raises:
        NoTrustedKey: when no key is trusted.
        SignerUntrusted: when the key that signed is not among the trusted.
        SignerRevoked: when it was withdrawn.
        ReleaseRevoked: when this release was.
        SignatureInvalid: when the signature does not hold, or is not that of this manifest.
    """
    if files is not None:
        ring = Keyring(tuple(read_keys(files)), store.trust.revocations())
        check_signature(model.version(digest), digest, ring)
        return
    active, trust = model.read().state.active, store.trust.digest()
    if active and (active.digest, active.trust) == (digest, trust):
        return
    check_signature(model.version(digest), digest, store.trust.keys())
    if active and active.digest == digest:
        store.keep(lambda w: w.update(model.name, lambda s: reverified(s, digest, trust)))


def check_signature(directory: Path, digest: str, keys: Sequence[Trusted]) -> None:
    """Verify the signature of an installed package, and that nothing of it was withdrawn.

    Raises:
        SignerUntrusted: when the key that signed is not among these, or not for this model.
        SignerRevoked: when it was withdrawn.
        ReleaseRevoked: when this release was.
        SignatureInvalid: when the signature does not hold, or is not that of this manifest.
    """
    ring = Keyring.of(keys)
    data = _installed(directory, digest, SIGNATURE_NAME, MAX_SIGNATURE_BYTES)
    digests, signer = verify_signature(data, ring)
    if digests.get(MANIFEST_NAME) != digest:
        raise _unsigned(digest, f"one over {str(digests.get(MANIFEST_NAME))[:16]}…")
    data = _installed(directory, digest, MANIFEST_NAME, MAX_MANIFEST_BYTES)
    if sha256_hex(data) != digest:
        raise _unsigned(digest, f"{MANIFEST_NAME} changed")
    manifest = parse_manifest(data)
    signer.require_name(manifest.name)
    ring.revocations.refuse_release(manifest.name, manifest.release, digest)


def _installed(directory: Path, digest: str, name: str, limit: int) -> bytes:
    try:
        with open_plain(directory / name) as stream:
            return stream.read(limit + 1)
    except OSError as error:
        raise _unsigned(digest, f"no {name}: {error.strerror}") from None


def _unsigned(digest: str, found: str) -> SignatureInvalid:
    return SignatureInvalid(
        f"the installed manifest {digest[:16]}… must have its signature, found {found}",
        hint="Install the bundle again: edge-runtime install BUNDLE",
        expected=digest,
        found=found,
    )


# --- lists that arrive ----------------------------------------------------------------------


def read_trust(path: Path) -> bytes:
    """Return the bytes of a ``trust.json``.

    Raises:
        TrustInvalid: when it cannot be read, or is too large to be one.
    """
    try:
        with open_plain(path, follow=True) as stream:
            data = stream.read(MAX_TRUST_BYTES + 1)
    except OSError as error:
        raise _no_list(path, f"it cannot be read: {error.strerror}") from None
    if len(data) > MAX_TRUST_BYTES:
        raise _no_list(path, f"it has more than {MAX_TRUST_BYTES} bytes")
    return data


def _no_list(path: Path, reason: str) -> TrustInvalid:
    return TrustInvalid(
        f"{path} must hold what the root key signed; {reason}",
        hint="Copy trust.json again, or take it away.",
        path=str(path),
        reason=reason,
    )


def newer_trust(store: Store, *places: Path) -> tuple[str, ...]:
    """Put the newest ``trust.json`` that came along in force, before anything else is believed.

    One that is older, or of another root, is left aside: whoever carries the stick could have
    left it out as well. One that names the root believed here and does not hold is refused.

    Args:
        store: where it counts from now on.
        places: files called ``trust.json``, directories that may hold one, and bundles that may
            carry one. What is not there is passed over, and so is a bundle that does not read,
            for whoever installs it says that better.

    Returns:
        A sentence for each that was put in force or left aside.

    Raises:
        TrustInvalid: when one cannot be read, or names the root believed here and is forged.
        StoreCorrupt: when the list in force is damaged.
        StoreBusy: when another process is writing to the store.
    """
    said = [_taken(store, place) for place in places]
    return tuple(dict.fromkeys(sentence for sentence in said if sentence))


def _arrived(place: Path) -> bytes | None:
    """Return the list that came along at a place."""
    if is_directory(place) and os.path.lexists(place / TRUST_NAME):
        place /= TRUST_NAME
    if place.name == TRUST_NAME:
        return read_trust(place) if os.path.lexists(place) else None
    try:
        layout = open_layout(place)
    except BundleError:
        return None
    try:
        return carried_trust(layout)
    except TrustInvalid:
        raise
    except BundleError:
        return None
    finally:
        layout.close()


def _taken(store: Store, place: Path) -> str:
    """Put the list of a place in force if it is newer; return what is to be said of it."""
    trust = store.trust.list
    root = trust.root()
    try:
        data = _arrived(place)
    except TrustInvalid:
        if root is not None:
            raise
        data = b""  # nobody asks what it says
    if data is None:
        return ""
    if root is None:
        return (
            f"the {TRUST_NAME} of {place.name} is left aside: no root key is pinned here "
            "(edge-runtime trust add --root root.pub)"
        )
    file = read_trust_file(data)
    if root not in (file.envelope.signer, *(one.signer for one in file.rotations)):
        return (
            f"the {TRUST_NAME} of {place.name} is left aside: root key "
            f"{file.envelope.signer[:16]}… signed it, {root[:16]}… counts here"
        )
    try:
        if not trust.is_news(data):
            return ""
        with store.writing() as writer:
            document, changed = writer.update_trust(data)
    except TrustTooOld as error:
        return f"the {TRUST_NAME} of {place.name} is left aside: {error.message}"
    return f"{TRUST_NAME} serial {document.serial} is in force from now on" if changed else ""
