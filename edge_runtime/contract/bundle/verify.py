"""The one way to trust a bundle: signature, then manifest, then the table, then every byte.

``verify_bundle`` alone makes a ``VerifiedBundle``, and no byte of a payload leaves it without
having been hashed against its signed digest. ``installed.open_installed`` does the same for a
directory whose manifest digest was recorded at install.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType

from edge_runtime.contract.bundle.archive import (
    Layout,
    blob_name,
    open_layout,
    read_entry,
)
from edge_runtime.contract.bundle.digests import checked, sha256_hex
from edge_runtime.contract.bundle.file_table import check_table, files_mismatch
from edge_runtime.contract.bundle.files import write_plain
from edge_runtime.contract.bundle.graph_rules import Allowed, check_graph
from edge_runtime.contract.bundle.keyring import Keyring
from edge_runtime.contract.bundle.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    MAX_SIGNATURE_BYTES,
    SIGNATURE_NAME,
    FileEntry,
    Manifest,
    Variant,
)
from edge_runtime.contract.bundle.manifest_json import parse_manifest
from edge_runtime.contract.bundle.oci import Layer, read_targets
from edge_runtime.contract.bundle.packing import unpacked
from edge_runtime.contract.bundle.signature import (
    Trusted,
    verify_signature,
)
from edge_runtime.contract.errors import (
    MixedBundle,
    NotInstalled,
    SignatureMissing,
)

SEAL = object()


class VerifiedPackage:
    """One target's files, each of which is hashed whenever it is read.

    Attributes:
        manifest: what was signed.
        digest: sha256 in hex of ``manifest.json``; it names the package everywhere.
        signer: fingerprint of the key or certificate that signed; empty for an installed
            package, whose signature was checked at install.
    """

    def __init__(
        self,
        seal: object,
        manifest: Manifest,
        digest: str,
        signer: str,
        chunks: Callable[[FileEntry], Iterator[bytes]],
        directory: Path | None = None,
    ) -> None:
        if seal is not SEAL:
            message = "a VerifiedPackage is made by verify_bundle or open_installed only"
            raise TypeError(message)
        self.manifest = manifest
        self.digest = digest
        self.signer = signer
        self._chunks = chunks
        self._directory = directory

    def read(self, path: str) -> bytes:
        """Return a signed file whole, verified.

        Raises:
            FilesMismatch: when no such file was signed.
            DigestMismatch: when its bytes are not the signed ones.
        """
        return b"".join(self._read(path))

    def model(self, variant: Variant) -> bytes | Path:
        """Return what the engine may open for a variant, every byte of it verified.

        That is the graph itself or, where weights lie beside it, its path: the engine then maps
        them from there.

        Raises:
            GraphRefused: when the graph breaks one of the ``graph_rules``.
            NotInstalled: when there are weights, and no directory to map them from.
            DigestMismatch: when bytes are not the signed ones.
        """
        graph = self.graph(variant)
        if not variant.weights:
            return graph
        if self._directory is None:
            raise NotInstalled(
                f"the weights of {variant.name} are mapped from the store, "
                f"{self.manifest.name} {self.manifest.version} was loaded from a bundle",
                hint="Install it first: edge-runtime install BUNDLE",
                expected="an installed version",
                found="a bundle",
            )
        for path in variant.weights:
            self._hash(path)
        return self._directory / variant.model_file

    def graph(self, variant: Variant) -> bytes:
        """Return a variant's graph, verified, and seen to hold nothing that was not signed.

        Raises:
            GraphRefused: when it breaks one of the ``graph_rules``.
            DigestMismatch: when its bytes are not the signed ones.
        """
        graph = self.read(variant.model_file)
        sizes = {entry.path: entry.size for entry in self.manifest.files}
        files = {PurePosixPath(path).name: sizes[path] for path in variant.weights}
        target = self.manifest.target
        check_graph(graph, variant.model_file, Allowed(target.opset, target.ir, files))
        return graph

    def check(self) -> None:
        """Hash every signed file, and see that every graph keeps the rules.

        Raises:
            DigestMismatch: when bytes are not the signed ones.
            BlobMissing: when one is not there.
            GraphRefused: when a graph breaks one of the ``graph_rules``.
        """
        for entry in self.manifest.files:
            self._hash(entry.path)
        for variant in self.manifest.variants:
            self.graph(variant)

    def _hash(self, path: str) -> None:
        for _ in self._read(path):
            pass

    def _read(self, path: str) -> Iterator[bytes]:
        entry = self.manifest.file(path)
        if entry is None:
            raise files_mismatch({path}, set(), self.manifest.target.name)
        return checked(self._chunks(entry), entry)


class BundledPackage(VerifiedPackage):
    """One target inside a bundle, with the two files that its table does not list."""

    def __init__(
        self,
        seal: object,
        signed: _Signed,
        chunks: Callable[[FileEntry], Iterator[bytes]],
    ) -> None:
        super().__init__(
            seal, signed.manifest, sha256_hex(signed.manifest_bytes), signed.signer, chunks
        )
        self._signed = signed

    def extract(self, directory: Path) -> None:
        """Copy the package into an empty directory, hashing on the way.

        The graphs come first: before anything is written none is left that breaks a rule.

        The files' bytes are durable then; their directories are the caller's to sync.

        On any error the directory holds unverified leftovers and must be thrown away.

        Raises:
            GraphRefused: when a graph breaks one of the ``graph_rules``.
            DigestMismatch: when bytes are not the signed ones.
            OSError: when the directory cannot be written.
        """
        for variant in self.manifest.variants:
            self.graph(variant)
        for entry in self.manifest.files:
            write_plain(directory / entry.path, checked(self._chunks(entry), entry))
        write_plain(directory / MANIFEST_NAME, [self._signed.manifest_bytes])
        write_plain(directory / SIGNATURE_NAME, [self._signed.signature_bytes])


class VerifiedBundle:
    """A bundle whose every target is signed by a trusted key; only ``verify_bundle`` makes it.

    Attributes:
        packages: the targets, in the order of their names.
    """

    def __init__(
        self, seal: object, layout: Layout, packages: tuple[BundledPackage, ...]
    ) -> None:
        if seal is not SEAL:
            message = "a VerifiedBundle is made by verify_bundle only"
            raise TypeError(message)
        self.packages = packages
        self._layout = layout

    def __enter__(self) -> VerifiedBundle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._layout.close()

    def check(self) -> None:
        """Hash every signed file of every target.

        Raises:
            DigestMismatch: when bytes are not the signed ones.
            BlobMissing: when one is not there.
            GraphRefused: when a graph breaks one of the ``graph_rules``.
        """
        for package in self.packages:
            package.check()


@dataclass(frozen=True)
class _Signed:
    """One target after its signature held: all that decisions are made by."""

    manifest: Manifest
    manifest_bytes: bytes
    signature_bytes: bytes
    signer: str


def verify_bundle(path: Path, keys: Sequence[Trusted]) -> VerifiedBundle:
    """Verify a bundle file or directory against trusted keys, and what they withdrew.

    Signatures, manifests and the tables of files are verified now; payloads are hashed against
    their signed digests whenever they are read or extracted, or all at once by ``check``.

    Raises:
        BundleError: one leaf for each way in which a bundle cannot be believed.
    """
    layout, ring = open_layout(path), Keyring.of(keys)
    try:
        signed = [_verify_target(layout, layers, ring) for layers in read_targets(layout)]
        _check_whole(signed)
    except BaseException:
        layout.close()
        raise

    def chunks(entry: FileEntry) -> Iterator[bytes]:
        return file_chunks(layout, entry)

    signed.sort(key=lambda item: item.manifest.target.name)
    packages = tuple(BundledPackage(SEAL, item, chunks) for item in signed)
    return VerifiedBundle(SEAL, layout, packages)


def file_chunks(layout: Layout, entry: FileEntry) -> Iterator[bytes]:
    """Yield a file of a bundle, unpacked; the caller has still to compare it with its entry.

    Raises:
        BlobMissing: when its blob is not there.
        DigestMismatch: when it is packed, and its blob is not the signed one.
        ArchiveCorrupt: when that blob is no gzipped tar of that one file.
    """

    def blob() -> Iterator[bytes]:
        return layout.chunks(blob_name(entry.blob.sha256))

    return unpacked(entry, blob) if entry.packed else blob()


def _verify_target(layout: Layout, layers: Mapping[str, Layer], ring: Keyring) -> _Signed:
    if SIGNATURE_NAME not in layers:
        raise SignatureMissing(
            f"every target carries {SIGNATURE_NAME}, found one with only {sorted(layers)[:5]}",
            hint="Sign the bundle first: packager sign BUNDLE --key release.key",
            expected=SIGNATURE_NAME,
            found=sorted(layers),
        )
    signature_bytes = _blob(layout, layers[SIGNATURE_NAME], MAX_SIGNATURE_BYTES)
    digests, signer = verify_signature(signature_bytes, ring)
    if MANIFEST_NAME not in layers or MANIFEST_NAME not in digests:
        raise files_mismatch({MANIFEST_NAME}, set(), "a target")
    manifest_bytes = _blob(layout, layers[MANIFEST_NAME], MAX_MANIFEST_BYTES)
    manifest_entry = FileEntry(MANIFEST_NAME, len(manifest_bytes), digests[MANIFEST_NAME])
    manifest = parse_manifest(b"".join(checked(iter([manifest_bytes]), manifest_entry)))
    signer.require_name(manifest.name)
    digest = sha256_hex(manifest_bytes)
    ring.revocations.refuse_release(manifest.name, manifest.release, digest)
    check_table(manifest, digests, layers)
    return _Signed(manifest, manifest_bytes, signature_bytes, signer.fingerprint)


def _blob(layout: Layout, layer: Layer, limit: int) -> bytes:
    data = read_entry(layout, blob_name(layer.digest), limit)
    entry = FileEntry(layer.path, layer.size, layer.digest)
    return b"".join(checked(iter([data]), entry))


def _check_whole(signed: Sequence[_Signed]) -> None:
    """Refuse targets of different releases under one roof: each alone may be validly signed."""
    identities = {
        (item.manifest.name, item.manifest.version, item.manifest.release) for item in signed
    }
    names = [item.manifest.target.name for item in signed]
    if len(identities) > 1 or len(set(names)) != len(names):
        shown = sorted(f"{name} {version} ({release})" for name, version, release in identities)
        raise MixedBundle(
            "the targets of a bundle share one name, version and release and differ in target; "
            f"found {', '.join(shown)} for {', '.join(names)}",
            hint="Use the bundle as the packager wrote it.",
            expected="one release",
            found=shown,
        )
