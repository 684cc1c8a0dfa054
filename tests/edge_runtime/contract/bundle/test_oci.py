"""OCI documents are hints that nobody signed: a lie in one is refused or without effect."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bent
import bundles
import pytest

from edge_runtime.contract.bundle.archive import write_layout
from edge_runtime.contract.bundle.manifest import MANIFEST_NAME, SIGNATURE_NAME
from edge_runtime.contract.bundle.oci import FILE_PATH, layout_entries
from edge_runtime.contract.errors import (
    ArchiveCorrupt,
    BlobMissing,
    DigestMismatch,
    EdgepackError,
    FilesMismatch,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "b.oci.tar"


def lie(path: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    write_layout(path, bent.rewrite_manifests(bundles.images(["x86-64-cpu"]), edit))
    return path


def layer(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        item for item in document["layers"] if item["annotations"][FILE_PATH] == name
    )
    return found


@pytest.mark.parametrize("name", [MANIFEST_NAME, SIGNATURE_NAME, "README.md"])
@pytest.mark.parametrize("size", [0, 1, 1 << 40])
def test_a_lie_about_a_size_is_refused(path: Path, name: str, size: int) -> None:
    lie(path, lambda document: layer(document, name).update(size=size))
    bent.refused(path, FilesMismatch if name == "README.md" else DigestMismatch)


@pytest.mark.parametrize(
    ("edit", "error"),
    [
        (lambda item: item.update(size=-1), ArchiveCorrupt),
        (lambda item: item.update(size="7"), ArchiveCorrupt),
        (lambda item: item.pop("size"), ArchiveCorrupt),
        (lambda item: item.update(digest="sha512:" + "a" * 128), ArchiveCorrupt),
        (lambda item: item.update(digest="a" * 64), ArchiveCorrupt),
        (lambda item: item.update(digest="sha256:" + "A" * 64), ArchiveCorrupt),
        (lambda item: item.update(digest="sha256:../../x\x1b[2J"), ArchiveCorrupt),
        (lambda item: item.update(digest="sha256:" + "a" * 64), FilesMismatch),
        (lambda item: item.pop("mediaType"), ArchiveCorrupt),
        (lambda item: item.pop("annotations"), ArchiveCorrupt),
        (lambda item: item.update(annotations=[]), ArchiveCorrupt),
        (lambda item: item["annotations"].update({FILE_PATH: 1}), ArchiveCorrupt),
        (lambda item: item["annotations"].update({FILE_PATH: "\x1b[2J"}), ArchiveCorrupt),
    ],
)
def test_a_bent_descriptor_is_refused(
    path: Path, edit: Callable[[dict[str, Any]], None], error: type[EdgepackError]
) -> None:
    lie(path, lambda document: edit(layer(document, "README.md")))
    bent.refused(path, error)


def test_a_signature_that_is_not_in_the_bundle_is_refused(path: Path) -> None:
    lie(
        path,
        lambda document: layer(document, SIGNATURE_NAME).update(digest="sha256:" + "a" * 64),
    )
    bent.refused(path, BlobMissing)


def test_media_types_titles_and_the_config_decide_nothing(path: Path) -> None:
    def edit(document: dict[str, Any]) -> None:
        for item in document["layers"]:
            item["mediaType"] = "application/octet-stream"
            item["annotations"]["org.opencontainers.image.title"] = "../../etc/passwd"
        document["config"]["digest"] = "sha256:" + "0" * 64
        document["artifactType"] = "x"

    with bundles.opened(lie(path, edit)) as verified:
        assert len(verified.packages) == 1


def index_of(path: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """Write a bundle whose outer index was edited."""
    entries = dict(layout_entries(bundles.images()))
    document = json.loads(entries["index.json"])
    edit(document)
    entries["index.json"] = json.dumps(document).encode()
    write_layout(path, entries.items())
    return path


@pytest.mark.parametrize(
    "edit",
    [
        lambda index: index.update(manifests=[]),
        lambda index: index.update(manifests={}),
        lambda index: index.pop("manifests"),
        lambda index: index["manifests"][1].update(mediaType="application/unknown"),
        lambda index: index["manifests"][0].update(
            mediaType="application/vnd.oci.image.manifest.v1+json"
        ),
        lambda index: index["manifests"].append("x"),
        lambda index: index.update(manifests=index["manifests"] * 40),
    ],
)
def test_a_bent_index_is_refused(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    bent.refused(index_of(path, edit), ArchiveCorrupt)


def test_an_index_that_leads_to_itself_ends(path: Path) -> None:
    """A digest cannot contain itself, but the same document may be listed again and again."""
    index_of(path, lambda index: index.update(manifests=index["manifests"] * 20))
    with bundles.opened(path) as verified:
        assert len(verified.packages) == 2


def test_the_tags_alone_lead_to_every_target(path: Path) -> None:
    index_of(path, lambda index: index["manifests"].pop(0))
    with bundles.opened(path) as verified:
        assert len(verified.packages) == 2


def test_a_hundred_forged_targets_are_refused_at_the_first(path: Path) -> None:
    document = next(
        data for _, data in layout_entries(bundles.images()[:1]) if b'"layers":[' in data
    )
    forged = [
        document.replace(b'{"schemaVersion"', b" " * n + b'{"schemaVersion"')
        for n in range(1, 100)
    ]
    write_layout(path, bent.assemble(forged, []))
    bent.refused(path, BlobMissing)
