"""Releasing: who signs, and the bundle that takes its final name only once it verifies."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from edge_runtime.contract.bundle.oci import Part, TargetImage
from edge_runtime.contract.bundle.signature import PublicKey
from edge_runtime.contract.bundle.verify import verify_bundle
from edge_runtime.contract.errors import KeyInvalid, OutputUnwritable, UsageError
from packager.bundle_file import PackedTarget, read_bundle
from packager.passphrase import read_passphrase
from packager.stages.pack import write_bundle
from packager.stages.sign import (
    CommandSigner,
    KeySigner,
    Signer,
    load_signer,
    needs_passphrase,
    signature_part,
)

AskPassphrase = Callable[[Path], bytes]


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


def command_signer(command: Sequence[str], public_key: Path | None) -> CommandSigner:
    """Return a signer that asks a command in front of a key that lives elsewhere.

    Raises:
        UsageError: when the command is empty or no public key is named.
        KeyInvalid: when the public key cannot be read.
    """
    if not command or public_key is None:
        raise UsageError(
            f"a signing command needs its public key, found {command} and {public_key}",
            hint="Give --sign-with CMD --public-key release.pub.",
        )
    return CommandSigner(tuple(command), load_public_key(public_key))


def load_public_key(path: Path) -> PublicKey:
    """Read a public key file.

    Raises:
        KeyInvalid: when it cannot be read or is no EC P-256 public key.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise KeyInvalid(
            f"a public key is read from {path}, which cannot be read: {error.strerror}",
            hint="Check the path; packager keygen writes release.pub.",
            path=str(path),
            reason=error.strerror,
        ) from None
    return PublicKey.load(data)


def release(path: Path, images: Sequence[TargetImage], signer: Signer | None) -> None:
    """Write a bundle, verify it with the device's own code, and only then give it its name.

    Raises:
        OutputUnwritable: when it cannot be written; what stood there before still does.
        BundleError: when our own bundle does not verify, which would be a defect of ours.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write_bundle(temporary, [_signed(image, signer) for image in images])
        if signer is not None:
            with verify_bundle(temporary, [signer.public_key]) as bundle:
                bundle.check()
        else:
            read_bundle(temporary)
        temporary.replace(path)
    except OSError as error:
        raise OutputUnwritable(
            f"the bundle is written to {path}, which cannot be written: {error.strerror}",
            hint="Choose another directory: --out DIR",
            path=str(path),
            reason=error.strerror,
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def _signed(image: TargetImage, signer: Signer | None) -> TargetImage:
    if signer is None:
        return image
    document, *payload = image.parts
    signature: Part = signature_part(f"{image.model}-{image.version}", image.parts, signer)
    return replace(image, parts=(document, signature, *payload))


def sign_bundle(path: Path, signer: Signer) -> list[str]:
    """Sign every target of a bundle in place and return the targets' names.

    Raises:
        BundleError: when the bundle is not in order.
        SignerFailed: when the signer does not sign.
        OutputUnwritable: when it cannot be written; the unsigned bundle still stands.
    """
    targets = read_bundle(path)
    release(path, [_image(target) for target in targets], signer)
    return [target.manifest.target.name for target in targets]


def _image(target: PackedTarget) -> TargetImage:
    manifest = target.manifest
    return TargetImage(
        target=manifest.target.name,
        os=manifest.target.os,
        architecture=manifest.target.architecture,
        model=manifest.name,
        version=manifest.version,
        parts=target.parts,
    )


def verify_release(path: Path, trust: Sequence[Path]) -> dict[str, str]:
    """Verify a bundle whole and return who signed each target.

    Raises:
        BundleError: when it cannot be believed.
    """
    keys = [load_public_key(file) for file in trust]
    with verify_bundle(path, keys) as bundle:
        bundle.check()
        return {package.manifest.target.name: package.signer for package in bundle.packages}
