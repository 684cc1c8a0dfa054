"""An installed package: a directory that is believed by the digest recorded at its install."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from edge_runtime.contract.bundle.content import CHUNK
from edge_runtime.contract.bundle.digests import sha256_hex
from edge_runtime.contract.bundle.files import open_plain
from edge_runtime.contract.bundle.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    SIGNATURE_NAME,
    FileEntry,
    Manifest,
)
from edge_runtime.contract.bundle.manifest_json import parse_manifest
from edge_runtime.contract.bundle.verify import SEAL, VerifiedPackage
from edge_runtime.contract.errors import DigestMismatch, StoreCorrupt


def open_installed(directory: Path, digest: str) -> VerifiedPackage:
    """Open an installed package whose manifest digest was recorded when it was installed.

    Every file is hashed when it is read; ``check`` hashes all. Links are never followed.

    Raises:
        StoreCorrupt: when the directory does not hold exactly the installed files.
        DigestMismatch: when the manifest is not the recorded one.
    """
    manifest_bytes = b"".join(_file_chunks(directory / MANIFEST_NAME, MAX_MANIFEST_BYTES))
    if sha256_hex(manifest_bytes) != digest:
        raise DigestMismatch(
            f"{directory.name}/{MANIFEST_NAME} must have sha256 {digest[:16]}…, "
            f"found {sha256_hex(manifest_bytes)[:16]}…",
            hint="Install the bundle again: edge-runtime install BUNDLE",
            expected=digest,
            found=sha256_hex(manifest_bytes),
        )
    manifest = parse_manifest(manifest_bytes)
    _check_directory(directory, manifest)

    def chunks(entry: FileEntry) -> Iterator[bytes]:
        return _file_chunks(directory / entry.path, entry.size)

    return VerifiedPackage(SEAL, manifest, digest, "", chunks, directory)


def _check_directory(directory: Path, manifest: Manifest) -> None:
    wanted = {entry.path for entry in manifest.files} | {MANIFEST_NAME, SIGNATURE_NAME}
    found = {
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if not path.is_dir() or path.is_symlink()
    }
    if found != wanted:
        raise StoreCorrupt(
            f"{directory.name} must hold {len(wanted)} files, "
            f"absent: {sorted(wanted - found)}, unknown: {sorted(found - wanted)}",
            hint="Install the bundle again: edge-runtime install BUNDLE",
            expected=sorted(wanted),
            found=sorted(found),
        )


def _file_chunks(path: Path, limit: int) -> Iterator[bytes]:
    """Yield a file's bytes: a regular file with one name, and not through a link."""
    try:
        with open_plain(path) as stream:
            facts = os.fstat(stream.fileno())
            if facts.st_nlink != 1 or facts.st_size > limit:
                raise _unsound(path, f"{facts.st_size} bytes, {facts.st_nlink} names")
            while chunk := stream.read(CHUNK):
                yield chunk
    except OSError as error:
        raise _unsound(path, error.strerror or str(error)) from None


def _unsound(path: Path, found: str) -> StoreCorrupt:
    return StoreCorrupt(
        f"{path.name} must be a plain file as installed, found {found}",
        hint="Install the bundle again: edge-runtime install BUNDLE",
        path=str(path),
        expected="a regular file with one name",
        found=found,
    )
