"""What older runtimes would misread: packed files, and demands on the processor."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import bundles
import pytest

from edge_runtime.contract.bundle import manifest_json
from edge_runtime.contract.bundle.manifest import (
    CPU_FLAGS,
    EXTERNAL_WEIGHTS,
    MAX_FLAGS,
    PACKED_FILES,
    FileEntry,
    Manifest,
    Packed,
    is_cpu_flag,
)
from edge_runtime.contract.bundle.manifest_json import parse_manifest
from edge_runtime.contract.bundle.manifest_render import render_manifest
from edge_runtime.contract.bundle.manifest_rules import features
from edge_runtime.contract.errors import ManifestInvalid, MustUnderstand

PLAIN = parse_manifest(bundles.parts(bundles.manifest())[0].data)
VNNI = (("avx2",), ("avx512_vnni", "avx_vnni"))
BLOB = Packed(100, "b" * 64)


def packed(**changes: Any) -> Manifest:
    """Return a manifest whose last file is packed; fields of its entry are changed by name."""
    entry = replace(PLAIN.files[-1], **{"packed": BLOB, **changes})
    return replace(PLAIN, files=(*PLAIN.files[:-1], entry), must_understand=(PACKED_FILES,))


def demanding(flags: Any = VNNI) -> Manifest:
    target = replace(PLAIN.target, cpu_flags=flags)
    return replace(PLAIN, target=target, must_understand=(CPU_FLAGS,))


@pytest.mark.parametrize("manifest", [packed(), demanding()], ids=["packed", "demanding"])
def test_it_reads_back_the_same(manifest: Manifest) -> None:
    assert parse_manifest(render_manifest(manifest)) == manifest


def test_what_is_not_used_has_no_key() -> None:
    rendered = render_manifest(PLAIN)
    assert b'"packed"' not in rendered
    assert b'"cpu_flags"' not in rendered
    assert features(PLAIN) == ()


def test_a_packed_file_is_told_by_both_its_forms() -> None:
    (*_, entry) = json.loads(render_manifest(packed()))["additional_metadata"]["edgepack"][
        "files"
    ]
    assert list(entry) == ["path", "size", "sha256", "packed"]
    assert entry["packed"] == {"size": 100, "sha256": "b" * 64}


def test_a_blob_is_the_file_where_it_is_not_packed() -> None:
    plain, *_, other = packed().files
    assert plain.blob == plain
    assert other.blob == FileEntry(other.path, 100, "b" * 64)


@pytest.mark.parametrize(
    ("manifest", "feature"),
    [(packed(), PACKED_FILES), (demanding(), CPU_FLAGS)],
    ids=["packed", "demanding"],
)
def test_a_runtime_that_does_not_know_it_is_told_so(
    manifest: Manifest, feature: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert features(manifest) == (feature,)
    monkeypatch.setattr(manifest_json, "UNDERSTOOD", frozenset({EXTERNAL_WEIGHTS}))
    with pytest.raises(MustUnderstand, match=f"depends on {feature}"):
        parse_manifest(render_manifest(manifest))


@pytest.mark.parametrize("manifest", [packed(), demanding()], ids=["packed", "demanding"])
def test_what_is_used_without_being_named_is_refused(manifest: Manifest) -> None:
    silent = replace(manifest, must_understand=())
    with pytest.raises(ManifestInvalid, match="what it uses in must_understand"):
        parse_manifest(render_manifest(silent))


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {},
        {"size": 1},
        {"sha256": "a" * 64},
        {"size": -1, "sha256": "a" * 64},
        {"size": (1 << 40) + 1, "sha256": "a" * 64},
        {"size": 1.0, "sha256": "a" * 64},
        {"size": 1, "sha256": "A" * 64},
        {"size": 1, "sha256": "a" * 64, "level": 9},
    ],
)
def test_a_blob_that_cannot_be_is_refused(told: Any) -> None:
    document = json.loads(render_manifest(packed()))
    document["additional_metadata"]["edgepack"]["files"][-1]["packed"] = told
    with pytest.raises(ManifestInvalid):
        parse_manifest(json.dumps(document).encode())


@pytest.mark.parametrize(
    "changes", [{"path": f"variants/{'x' * 92}"}, {"size": 8**11}], ids=["path", "size"]
)
def test_a_packed_file_has_room_in_its_tar(changes: dict[str, Any]) -> None:
    added = replace(packed().files[-1], **{"path": "more", **changes})
    manifest = replace(packed(), files=(*PLAIN.files, added))
    with pytest.raises(ManifestInvalid, match="that fits"):
        parse_manifest(render_manifest(manifest))
    unpacked = replace(manifest, files=(*PLAIN.files, replace(added, packed=None)))
    assert parse_manifest(render_manifest(unpacked)).files[-1].packed is None


@pytest.mark.parametrize(
    "flags",
    [
        "avx2",
        ["avx2"],
        [[]],
        [["AVX2"]],
        [["avx2", ""]],
        [[2]],
        [[None]],
        [{"avx2": 1}],
        [["avx2"]] * (MAX_FLAGS + 1),
        [["avx2"] * (MAX_FLAGS + 1)],
    ],
)
def test_demands_that_cannot_be_are_refused(flags: Any) -> None:
    document = json.loads(render_manifest(demanding()))
    document["additional_metadata"]["edgepack"]["target"]["cpu_flags"] = flags
    with pytest.raises(ManifestInvalid):
        parse_manifest(json.dumps(document).encode())


def test_this_processors_own_flags_are_flags() -> None:
    from edge_runtime.probe import probe

    assert all(map(is_cpu_flag, probe(engine=False).cpu_flags))
