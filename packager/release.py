"""Releasing: who signs, and bundles that the device's own code has read before anyone does."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from edge_runtime.contract.bundle.archive import open_layout
from edge_runtime.contract.bundle.manifest import SIGNATURE_NAME
from edge_runtime.contract.bundle.oci import Part, TargetImage, carried_trust
from edge_runtime.contract.bundle.signature import PublicKey, load_trusted
from edge_runtime.contract.bundle.verify import verify_bundle
from edge_runtime.contract.errors import BundleUnreadable, KeyInvalid, UsageError
from packager.bundle_file import PackedTarget, read_bundle
from packager.output import appearing
from packager.passphrase import read_passphrase
from packager.stages.pack import write_bundle
from packager.stages.sign import (
    Certification,
    CommandSigner,
    KeySigner,
    Signer,
    load_signer,
    needs_passphrase,
    read_certification,
    signature_part,
)

AskPassphrase = Callable[[Path], bytes]


# --- signers -------------------------------------------------------------------------------


def choose_signer(
    *,
    key: Path | None,
    passphrase_file: Path | None,
    sign_with: str | None,
    public_key: Path | None,
    ask: AskPassphrase,
) -> Signer:
    """Return the one signer that the flags of ``packager sign`` name.

    Raises:
        UsageError: when they name none or two.
        InputError: when its files cannot serve.
    """
    if key is not None and sign_with is None and public_key is None:
        return file_signer(key, passphrase_file, ask)
    if sign_with is not None and public_key is not None and key is passphrase_file is None:
        return command_signer(sign_with, public_key)
    flags = {
        "--key": key,
        "--passphrase-file": passphrase_file,
        "--sign-with": sign_with,
        "--public-key": public_key,
    }
    given = [flag for flag, value in flags.items() if value is not None]
    raise UsageError(
        "sign needs either --key, or --sign-with and --public-key; "
        f"it was given {' and '.join(given) or 'none of them'}",
        hint="Give --key release.key, or --sign-with CMD --public-key release.pub.",
        expected=["--key", "--sign-with --public-key"],
        found=given,
    )


def choose_certification(
    certificates: Sequence[Path], authority: Path | None, signer: Signer
) -> Certification | None:
    """Return the certificates that the flags of ``packager sign`` name, if any.

    Raises:
        UsageError: when one of the two flags is there without the other.
        BundleError: when the certificates are not those of the signer up to the authority.
    """
    if certificates and authority is not None:
        return read_certification(certificates, authority, signer.public_key)
    if certificates or authority is not None:
        given, wanted = ("--certificate", "--authority")[:: 1 if certificates else -1]
        raise UsageError(
            f"sign takes {given} together with {wanted}, which is not given",
            hint=f"Give {wanted} FILE as well, or neither.",
            expected=["--certificate", "--authority"],
            found=[given],
        )
    return None


def file_signer(key: Path, passphrase_file: Path | None, ask: AskPassphrase) -> KeySigner:
    """Return a signer with a key out of a file, asking for its passphrase if it has one.

    Raises:
        KeyUnreadable: when it cannot be read or is no EC P-256 private key.
        PassphraseWrong: when the passphrase is missing or not its own.
    """
    if not needs_passphrase(key):
        return load_signer(key, None)
    passphrase = read_passphrase(passphrase_file) if passphrase_file else ask(key)
    return load_signer(key, passphrase)


def command_signer(command: str, public_key: Path) -> CommandSigner:
    """Return a signer that asks a command in front of a key that lives elsewhere.

    Raises:
        UsageError: when the command is empty or its quotes are not closed.
        KeyInvalid: when the public key cannot be read or is none.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        words, reason = [], str(error)
    else:
        reason = "nothing"
    if not words:
        raise UsageError(
            f"--sign-with must be a program and its arguments, found {command!r}: {reason}",
            hint="Quote it as one argument: --sign-with 'PROGRAM ARGUMENT'",
            expected="PROGRAM ARGUMENT…",
            found=command,
        )
    return CommandSigner(tuple(words), load_public_key(public_key))


def load_public_key(path: Path) -> PublicKey:
    """Read a public key file.

    Raises:
        KeyInvalid: when it cannot be read or is no EC P-256 public key.
    """
    return PublicKey.load(read_public_file(path))


def read_public_file(path: Path) -> bytes:
    """Return the bytes of a public key's or a certificate's file.

    Raises:
        KeyInvalid: when it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise KeyInvalid(
            f"a public key is read from {path}, which cannot be read: {error.strerror}",
            hint="Check the path; packager keygen writes release.pub.",
            path=str(path),
            reason=error.strerror,
        ) from None


# --- bundles -------------------------------------------------------------------------------


def write_release(
    path: Path,
    images: Sequence[TargetImage],
    signer: Signer | None,
    *,
    trust: bytes | None = None,
    certification: Certification | None = None,
) -> None:
    """Sign every target, write the bundle, and read it back with the device's own code.

    Args:
        path: a temporary name; the caller gives the bundle its own once this has returned.
        images: the targets, none of them signed.
        signer: who signs; None leaves the bundle unsigned.
        trust: a ``trust.json`` for it to carry.
        certification: the signer's certificates, to stand in place of its key's name.

    Raises:
        SignerFailed: when the signer does not sign.
        OutputUnwritable: when the file cannot be written.
        BundleError: when our own bundle does not verify, which would be a defect of ours.
    """
    if signer is None:
        write_bundle(path, images, trust)
        read_bundle(path)
        return
    signed = [_signed(image, signer, certification) for image in images]
    write_bundle(path, signed, trust)
    believed = certification.authority if certification else signer.public_key
    with verify_bundle(path, [believed]) as bundle:
        bundle.check()


def _signed(
    image: TargetImage, signer: Signer, certification: Certification | None
) -> TargetImage:
    document, *payload = image.parts
    name = f"{image.model}-{image.version}"
    signature = signature_part(name, image.parts, signer, certification)
    return replace(image, parts=(document, signature, *payload))


def sign_bundle(
    path: Path, signer: Signer, certification: Certification | None = None
) -> list[str]:
    """Sign every target of a bundle in place and return the targets' names.

    A list that it carries stays in it.

    Raises:
        BundleError: when the bundle is not in order.
        SignerFailed: when the signer does not sign; the bundle stands as it was.
        OutputUnwritable: when it cannot be written; the bundle stands as it was.
    """
    require_file(path)
    targets = read_bundle(path)
    with appearing(path) as (temporary,):
        images = [image_of(target) for target in targets]
        write_release(
            temporary, images, signer, trust=trust_of(path), certification=certification
        )
    return [target.manifest.target.name for target in targets]


def require_file(path: Path) -> None:
    """Refuse to change a bundle that is no single file.

    Raises:
        BundleUnreadable: when it is a directory.
    """
    if path.is_dir():
        raise BundleUnreadable(
            f"a bundle is signed as one file, {path} is a directory",
            hint="Sign the .oci.tar, and unpack that.",
            path=str(path),
            expected="a file",
            found="a directory",
        )


def trust_of(path: Path) -> bytes | None:
    """Return the ``trust.json`` that a bundle carries, if any.

    Raises:
        BundleError: when the bundle is not in order.
    """
    layout = open_layout(path)
    try:
        return carried_trust(layout)
    finally:
        layout.close()


def image_of(target: PackedTarget, signature: bytes | None = None) -> TargetImage:
    """Return a target that was read as one to be written, under this signature or none."""
    document, *payload = target.parts
    signed = [Part(SIGNATURE_NAME, signature)] if signature is not None else []
    manifest = target.manifest
    return TargetImage(
        target=manifest.target.name,
        os=manifest.target.os,
        architecture=manifest.target.architecture,
        model=manifest.name,
        version=manifest.version,
        parts=(document, *signed, *payload),
    )


def verify_release(path: Path, trust: Sequence[Path]) -> dict[str, str]:
    """Verify a bundle whole and return who signed each target.

    Raises:
        KeyInvalid: when a public key cannot be read or is none.
        BundleError: when it cannot be believed.
    """
    keys = [load_trusted(read_public_file(file)) for file in trust]
    with verify_bundle(path, keys) as bundle:
        bundle.check()
        return {package.manifest.target.name: package.signer for package in bundle.packages}
