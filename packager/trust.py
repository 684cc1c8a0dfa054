"""``trust.json``: who may sign for which models, what is withdrawn, signed by the root key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_runtime.contract.bundle.keyring import EVERY_NAME, check_patterns
from edge_runtime.contract.bundle.manifest import is_digest, is_name
from edge_runtime.contract.bundle.signature import load_trusted, pre_authentication
from edge_runtime.contract.bundle.trust_file import (
    DOCUMENT_TYPE,
    MAX_ROTATIONS,
    MAX_SERIAL,
    MAX_TRUST_BYTES,
    ROTATION_TYPE,
    TRUST_NAME,
    Envelope,
    Grant,
    TrustDocument,
    VerifiedTrust,
    parse_document,
    read_trust_file,
    verify_trust,
)
from edge_runtime.contract.bundle.trust_render import (
    render_document,
    render_rotation,
    render_trust_file,
)
from edge_runtime.contract.errors import KeyInvalid, TrustInvalid, UsageError
from packager.bundle_file import read_bundle
from packager.errors import KeyExists
from packager.output import appearing
from packager.release import image_of, require_file
from packager.stages.pack import write_bundle
from packager.stages.sign import Signer, generate_key, load_signer

ROOT_NAMES = ("root.key", "root.pub")

Change = Callable[[TrustDocument], TrustDocument]


@dataclass(frozen=True)
class Trust:
    """A ``trust.json`` as it was read or written.

    Attributes:
        path: the file.
        document: what it says.
        root: fingerprint of the root key that signed it.
        rotations: how many roots came before that one.
    """

    path: Path
    document: TrustDocument
    root: str
    rotations: int


# --- making and changing -------------------------------------------------------------------


def init_trust(directory: Path, passphrase: bytes | None) -> Trust:
    """Make a root key pair, and the first list, which trusts nobody yet.

    Raises:
        KeyExists: when a root key or a list is there already; nothing is written then.
        PassphraseWrong: when the passphrase is empty or too long.
        OutputUnwritable: when the directory cannot be written.
    """
    if (directory / TRUST_NAME).exists():
        raise KeyExists(
            f"{TRUST_NAME} is written anew, found {directory / TRUST_NAME}",
            hint="Choose another --out, or change that list: packager trust add",
            path=str(directory / TRUST_NAME),
        )
    generate_key(directory, passphrase, ROOT_NAMES)
    root = load_signer(directory / ROOT_NAMES[0], passphrase)
    return _write(directory / TRUST_NAME, (), TrustDocument(1), root)


def change_trust(path: Path, root: Signer, change: Change) -> Trust:
    """Replace a list by what ``change`` makes of it, under the next serial.

    Raises:
        TrustInvalid: when the list is not one that this root signed.
        OutputUnwritable: when it cannot be written; it stands as it was then.
    """
    data, found = _verified(path, root)
    changed = replace(change(found.document), serial=_next(found.document.serial))
    return _write(path, read_trust_file(data).rotations, changed, root)


def rotate_root(path: Path, old: Signer, directory: Path, passphrase: bytes | None) -> Trust:
    """Make a new root key pair and hand the list over to it; the old root vouches for it.

    Raises:
        KeyExists: when a root key is there already; nothing is written then.
        TrustInvalid: when the list is not one that the old root signed, or changed roots too
            often.
        OutputUnwritable: when anything cannot be written; the list stands as it was then.
    """
    data, found = _verified(path, old)
    rotations = read_trust_file(data).rotations
    if len(rotations) >= MAX_ROTATIONS:
        raise TrustInvalid(
            f"a list changes its root at most {MAX_ROTATIONS} times, {path} did so "
            f"{len(rotations)} times",
            hint="Begin anew with packager trust init, and pin that root on the devices.",
            expected=MAX_ROTATIONS,
            found=len(rotations),
        )
    key = generate_key(directory, passphrase, ROOT_NAMES)
    payload = render_rotation(key.pem.decode())
    signature = old.sign(pre_authentication(payload, ROTATION_TYPE))
    handed = Envelope(payload, old.public_key.fingerprint, signature)
    new = load_signer(directory / ROOT_NAMES[0], passphrase)
    # On devices a later root counts more than any serial, so they may begin anew.
    document = replace(found.document, serial=found.document.serial % MAX_SERIAL + 1)
    return _write(path, (*rotations, handed), document, new)


def granted(document: TrustDocument, pem: bytes, patterns: Sequence[str]) -> TrustDocument:
    """Return a list on which a key or certificate counts, for these names alone.

    Raises:
        KeyInvalid: when it is neither, or a pattern is none.
        SignerRevoked: when it was withdrawn.
    """
    names = check_patterns(tuple(patterns) or EVERY_NAME)
    key = load_trusted(pem, names)
    document.revocations.refuse_signer([key.fingerprint])
    others = tuple(one for one in document.grants if one.fingerprint != key.fingerprint)
    return replace(document, grants=(*others, Grant(key.pem.decode(), key.fingerprint, names)))


def revoked(
    document: TrustDocument,
    keys: Sequence[str],
    releases: Sequence[tuple[str, int]],
    digests: Sequence[str],
) -> TrustDocument:
    """Return a list on which these keys, releases and packages are withdrawn."""
    known = document.revocations
    return replace(
        document,
        grants=tuple(one for one in document.grants if one.fingerprint not in keys),
        revocations=replace(
            known,
            keys=known.keys | set(keys),
            releases=known.releases | set(releases),
            digests=known.digests | set(digests),
        ),
    )


def _next(serial: int) -> int:
    if serial >= MAX_SERIAL:
        raise TrustInvalid(
            f"a serial is at most {MAX_SERIAL}, the next one would be {serial + 1}",
            hint="Hand over to a new root, whose serials begin anew: packager trust rotate",
            expected=MAX_SERIAL,
            found=serial,
        )
    return serial + 1


def _verified(path: Path, root: Signer) -> tuple[bytes, VerifiedTrust]:
    data = read_list(path)
    return data, verify_trust(data, root.public_key)


def _write(
    path: Path, rotations: Sequence[Envelope], document: TrustDocument, root: Signer
) -> Trust:
    """Sign a list, have the device's own code verify it, and give it its name."""
    numbered = replace(
        document, revocations=replace(document.revocations, serial=document.serial)
    )
    payload = render_document(numbered)
    signature = root.sign(pre_authentication(payload, DOCUMENT_TYPE))
    envelope = Envelope(payload, root.public_key.fingerprint, signature)
    data = render_trust_file(rotations, envelope)
    verified = verify_trust(data, root.public_key)
    with appearing(path) as (temporary,):
        temporary.write_bytes(data)
    return Trust(path, verified.document, verified.root.fingerprint, len(rotations))


# --- reading -------------------------------------------------------------------------------


def read_list(path: Path) -> bytes:
    """Return the bytes of a ``trust.json``.

    Raises:
        TrustInvalid: when it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_TRUST_BYTES + 1)
    except OSError as error:
        raise TrustInvalid(
            f"a list is read from {path}, which cannot be read: {error.strerror}",
            hint="Name it with --file, or make one: packager trust init",
            path=str(path),
            reason=error.strerror,
        ) from None


def show_trust(path: Path) -> Trust:
    """Return what a list says, whoever signed it.

    Raises:
        TrustInvalid: when it is of another form.
    """
    file = read_trust_file(read_list(path))
    document = parse_document(file.envelope.payload)
    return Trust(path, document, file.envelope.signer, len(file.rotations))


def key_named(text: str) -> str:
    """Return the fingerprint that a text is, or that of the key in the file it names.

    Raises:
        KeyInvalid: when it is neither.
    """
    if is_digest(text):
        return text
    try:
        data = Path(text).read_bytes()
    except OSError as error:
        raise KeyInvalid(
            f"a key is named by its file or its whole fingerprint, {text!r} is neither: "
            f"{error.strerror}",
            hint="Take a fingerprint from packager trust show.",
            expected="a file or 64 hex digits",
            found=text,
        ) from None
    return load_trusted(data).fingerprint


def release_named(text: str) -> tuple[str, int]:
    """Return model and number of a release that is written as ``NAME@NUMBER``.

    Raises:
        UsageError: when it is written otherwise.
    """
    name, _, number = text.partition("@")
    if is_name(name) and number.isascii() and number.isdigit() and int(number) <= MAX_SERIAL:
        return name, int(number)
    raise UsageError(
        f"a release is written as NAME@NUMBER, found {text!r}",
        hint="Take the release, a whole number, as packager inspect tells it.",
        expected="NAME@NUMBER",
        found=text,
    )


def digest_named(text: str) -> str:
    """Return the digest of a package that a text is.

    Raises:
        UsageError: when it is none.
    """
    if is_digest(text):
        return text
    raise UsageError(
        f"a package is named by 64 hex digits, found {text!r}",
        hint="Take the digest as packager inspect --json tells it.",
        expected="64 hex digits",
        found=text,
    )


# --- carrying ------------------------------------------------------------------------------


def carry_trust(bundle: Path, path: Path) -> Trust:
    """Let a bundle carry a list, in place of any that it carries; its signatures stay.

    Raises:
        TrustInvalid: when the list is of another form.
        BundleError: when the bundle is not in order.
        OutputUnwritable: when it cannot be written; it stands as it was then.
    """
    data, shown = read_list(path), show_trust(path)
    require_file(bundle)
    images = [image_of(target, target.signature) for target in read_bundle(bundle)]
    with appearing(bundle) as (temporary,):
        write_bundle(temporary, images, data)
        read_bundle(temporary)
    return shown
