"""The OCI documents of a bundle: one ModelPack manifest per target, in one image index.

Sources: OCI image specification 1.1 (index, manifest, descriptor), CNCF ModelPack model
specification (artifact type, config and layer media types). Fields stand in the order of the
Go structures, because tools rewrite them so and the digest must survive a copy. All of this is
an untrusted hint on the device; what counts is signed.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from edge_runtime.contract import strictjson
from edge_runtime.contract.bundle.archive import (
    INDEX_NAME,
    LAYOUT_BYTES,
    LAYOUT_NAME,
    Layout,
    blob_name,
    read_entry,
)
from edge_runtime.contract.bundle.content import Content, chunks_of, digest_of, size_of
from edge_runtime.contract.bundle.digests import sha256_chunks, sha256_hex
from edge_runtime.contract.bundle.manifest import (
    MANIFEST_NAME,
    MAX_FILES,
    is_bundle_path,
    is_digest,
)
from edge_runtime.contract.bundle.packing import framed
from edge_runtime.contract.errors import ArchiveCorrupt, DigestMismatch, TrustInvalid
from edge_runtime.contract.strictjson import Fields

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
FILE_PATH = "org.cncf.model.filepath"
TITLE = "org.opencontainers.image.title"
REF_NAME = "org.opencontainers.image.ref.name"
# Where the bundle index carries a ``trust.json`` in base64. Readers that do not know it pass it
# over, and it outlives a copy through a registry, which a blob that no manifest lists does not.
TRUST = "dev.edgepack.trust"

_MAX_DOCUMENT = 4 << 20
_MAX_TARGETS = 100
_KINDS = {".onnx": "weight", ".weights": "weight", ".npz": "dataset"}
_ARCHITECTURES = {"x86-64": "amd64", "arm64": "arm64"}


@dataclass(frozen=True)
class Layer:
    """One file of a target as the untrusted OCI manifest names it."""

    path: str
    digest: str
    size: int


@dataclass(frozen=True)
class Part:
    """One file of a target.

    Attributes:
        path: its place inside the package.
        content: its bytes.
        packed: its bytes as the archive holds them; None where it holds them as they are.
    """

    path: str
    content: Content
    packed: Content | None = None

    @property
    def data(self) -> bytes:
        """The bytes, all at once."""
        return b"".join(chunks_of(self.content, self.path))

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return size_of(self.content)

    @property
    def sha256(self) -> str:
        """The digest of its bytes in hex."""
        return digest_of(self.content)

    @property
    def blob(self) -> Content:
        """What the archive holds of it."""
        return self.content if self.packed is None else self.packed

    @property
    def media_type(self) -> str:
        """What registries are told that it is; no decision depends on it."""
        kind = _KINDS.get(PurePosixPath(self.path).suffix, "doc")
        if self.path == MANIFEST_NAME:
            kind = "weight.config"
        form = "raw" if self.packed is None else "tar+gzip"
        return f"application/vnd.cncf.model.{kind}.v1.{form}"

    @property
    def diff_id(self) -> str:
        """The digest in hex of the blob, or of the tar that is gzipped in it."""
        if self.packed is None:
            return self.sha256
        tar = framed(self.path, self.size, chunks_of(self.content, self.path))
        return sha256_chunks(tar)


@dataclass(frozen=True)
class TargetImage:
    """One target to be packed: what registries show of it, and its files."""

    target: str
    os: str
    architecture: str
    model: str
    version: str
    parts: Sequence[Part]


# --- writing -------------------------------------------------------------------------------


def _descriptor(media_type: str, content: Content, **more: Any) -> dict[str, Any]:
    return {
        "mediaType": media_type,
        "digest": f"sha256:{digest_of(content)}",
        "size": size_of(content),
        **more,
    }


def _target_documents(image: TargetImage) -> tuple[bytes, bytes]:
    """Return manifest and config of one target."""
    config = strictjson.dumps(
        {
            "descriptor": {"name": image.model, "version": image.version},
            "config": {"format": "onnx", "architecture": image.architecture},
            "modelfs": {
                "type": "layers",
                "diffIds": [f"sha256:{part.diff_id}" for part in image.parts],
            },
        }
    )
    layers = [
        _descriptor(
            part.media_type,
            part.blob,
            annotations={FILE_PATH: part.path, TITLE: part.path},
        )
        for part in image.parts
    ]
    manifest = strictjson.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": ARTIFACT_TYPE,
            "config": _descriptor(CONFIG_TYPE, config),
            "layers": layers,
        }
    )
    return manifest, config


def layout_entries(
    images: Sequence[TargetImage], trust: bytes | None = None
) -> list[tuple[str, Content]]:
    """Return the archive entries of a bundle, documents first, each blob once.

    Args:
        images: its targets.
        trust: a ``trust.json`` for it to carry.
    """
    version = images[0].version
    documents: dict[str, Content] = {}
    blobs: dict[str, Content] = {}
    listed, tagged = [], []
    for image in images:
        manifest, config = _target_documents(image)
        architecture = _ARCHITECTURES.get(image.architecture, image.architecture)
        platform = {"architecture": architecture, "os": image.os}
        listed.append(
            _descriptor(
                MANIFEST_TYPE, manifest, annotations={TITLE: image.target}, platform=platform
            )
        )
        tag = {REF_NAME: f"{version}-{image.target}"}
        tagged.append(_descriptor(MANIFEST_TYPE, manifest, annotations=tag))
        documents[sha256_hex(manifest)] = manifest
        blobs[sha256_hex(config)] = config
        blobs |= {digest_of(part.blob): part.blob for part in image.parts}
    document = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": listed}
    if trust is not None:
        document["annotations"] = {TRUST: base64.b64encode(trust).decode()}
    index = strictjson.dumps(document)
    root = [_descriptor(INDEX_TYPE, index, annotations={REF_NAME: version}), *tagged]
    outer = strictjson.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": root})
    stored = {sha256_hex(index): index, **documents, **blobs}
    return [
        (LAYOUT_NAME, LAYOUT_BYTES),
        (INDEX_NAME, outer),
        *((blob_name(digest), content) for digest, content in stored.items()),
    ]


# --- reading -------------------------------------------------------------------------------


def read_targets(layout: Layout) -> Iterator[dict[str, Layer]]:
    """Yield the layers, by path, of every target manifest that the index leads to, each once.

    One target is held at a time, so that many forged ones cost no memory: the caller checks a
    signature before it asks for the next.

    Raises:
        ArchiveCorrupt: when a document does not have the form that it must have.
        BlobMissing: when a document is referred to and not there.
        DigestMismatch: when a document is not what its name says.
        JsonMalformed: when a document is not strict JSON.
    """
    queue = _manifests(read_entry(layout, INDEX_NAME, _MAX_DOCUMENT), INDEX_NAME)
    seen: set[str] = set()
    found = False
    while queue:
        media_type, digest = queue.pop(0)
        if digest in seen:
            continue
        seen.add(digest)
        if len(seen) > _MAX_TARGETS:
            raise _wrong(f"at most {_MAX_TARGETS} manifests", "more")
        if media_type == INDEX_TYPE:
            queue += _manifests(_document(layout, digest), f"index {digest[:12]}")
        elif media_type == MANIFEST_TYPE:
            found = True
            yield _layers(_document(layout, digest), digest)
        else:
            # Passed over, a single changed letter here would hide a target.
            raise _wrong(
                f"only indexes and manifests in its {INDEX_NAME}", repr(media_type[:80])
            )
    if not found:
        raise _wrong("at least one target manifest", "none")


def carried_trust(layout: Layout) -> bytes | None:
    """Return the ``trust.json`` that a bundle carries, if any; nothing of it is believed.

    Raises:
        ArchiveCorrupt: when a document does not have the form that it must have.
        BlobMissing: when the bundle index is referred to and not there.
        DigestMismatch: when it is not what its name says.
        JsonMalformed: when it is not strict JSON.
        TrustInvalid: when what it carries is no base64.
    """
    listed = _manifests(read_entry(layout, INDEX_NAME, _MAX_DOCUMENT), INDEX_NAME)
    for digest in [digest for media_type, digest in listed if media_type == INDEX_TYPE]:
        what = f"index {digest[:12]}"
        read = Fields(
            strictjson.loads(_document(layout, digest), what=what), what, ArchiveCorrupt
        )
        if read.has("annotations") and TRUST in (notes := read.object("annotations")):
            try:
                return base64.b64decode(notes[TRUST], validate=True)
            except (TypeError, ValueError):
                raise TrustInvalid(
                    f"a bundle carries trust.json in base64, found {notes[TRUST]!r:.80}",
                    hint="Copy the bundle again, or carry trust.json beside it.",
                    expected="base64",
                    found=f"{notes[TRUST]!r:.80}",
                ) from None
    return None


def _document(layout: Layout, digest: str) -> bytes:
    data = read_entry(layout, blob_name(digest), _MAX_DOCUMENT)
    if sha256_hex(data) != digest:
        raise DigestMismatch(
            f"blob {digest[:12]}… must have that sha256, found {sha256_hex(data)[:12]}…",
            hint="Fetch the bundle again; it was damaged on the way.",
            expected=digest,
            found=sha256_hex(data),
        )
    return data


def _manifests(data: bytes, what: str) -> list[tuple[str, str]]:
    document = Fields(strictjson.loads(data, what=what), what, ArchiveCorrupt)
    items = document.list("manifests", limit=_MAX_TARGETS)
    return [(kind, digest) for kind, digest, _, _ in (_read(item, what) for item in items)]


def _layers(data: bytes, digest: str) -> dict[str, Layer]:
    what = f"manifest {digest[:12]}"
    document = Fields(strictjson.loads(data, what=what), what, ArchiveCorrupt)
    found: dict[str, Layer] = {}
    # One more each for the manifest and the signature, which the signed table does not list.
    for item in document.list("layers", limit=MAX_FILES + 2):
        _, layer, size, annotations = _read(item, what)
        path = annotations.get(FILE_PATH)
        if not isinstance(path, str) or not is_bundle_path(path):
            raise _wrong(f"a plain path as {FILE_PATH} of every layer", repr(path)[:80])
        if path in found:
            raise _wrong(f"one layer for each path of {what}", f"two for {path}")
        found[path] = Layer(path, layer, size)
    return found


def _read(item: Any, what: str) -> tuple[str, str, int, Mapping[str, Any]]:
    """Return media type, digest in hex, size and annotations of a descriptor."""
    read = Fields(item, f"{what} descriptor", ArchiveCorrupt)
    algorithm, _, digest = read.text("digest").partition(":")
    if algorithm != "sha256" or not is_digest(digest):
        raise _wrong(f"sha256 digests in {what}", repr(f"{algorithm}:{digest}"[:80]))
    annotations = read.object("annotations") if read.has("annotations") else {}
    return read.text("mediaType"), digest, read.integer("size"), annotations


def _wrong(wanted: str, found: str) -> ArchiveCorrupt:
    return ArchiveCorrupt(
        f"a bundle has {wanted}, found {found}",
        hint="Fetch the bundle again; if it stays so, build it again.",
        expected=wanted,
        found=found,
    )
