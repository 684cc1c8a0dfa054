"""Two bundles side by side: what differs, and what a device with one lacks of the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundles
import pytest
import shrunk
from host import packager

from edge_runtime.contract.bundle.manifest import Manifest
from edge_runtime.contract.bundle.oci import Part
from edge_runtime.contract.errors import DigestMismatch
from edge_runtime.contract.table import Column
from packager.report.bom import FILE_NAME as BOM
from packager.report.side_by_side import SideBySide, TargetPair, compare_bundles
from packager.report.side_by_side_text import side_by_side_text
from packager.stages.pack import write_bundle

NEWER = {"version": "1.5.0", "release": 1_005_000}


def bom(metrics: Any) -> bytes:
    """Return as much of a bill of materials as quality is read from."""
    card = {"modelCard": {"quantitativeAnalysis": {"performanceMetrics": metrics}}}
    return json.dumps({"metadata": {"component": card}}).encode()


def metric(value: Any, variant: Any = "float32", kind: Any = "r2") -> dict[str, Any]:
    return {"type": kind, "value": value, "slice": variant}


def target(
    graph: bytes | None = None, files: dict[str, bytes] | None = None, **changes: Any
) -> list[Part]:
    document = bundles.manifest(**{**NEWER, **changes})
    return bundles.parts(document, {**bundles.payload(graph), **(files or {})})


def write(path: Path, *made: Sequence[Part], signed: bool = True) -> Path:
    names = ("x86-64-cpu", "arm64-cpu")
    write_bundle(
        path,
        [
            bundles.image(name, bundles.signed(parts) if signed else parts)
            for name, parts in zip(names, made, strict=False)
        ],
    )
    return path


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return bundles.bundle(tmp_path / "tiny-1.4.0.oci.tar")


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return tmp_path / "tiny-1.5.0.oci.tar"


def pair(found: SideBySide, name: str = "x86-64-cpu") -> TargetPair:
    return next(one for one in found.targets if one.target == name)


def blob_bytes(path: Path) -> dict[str, int]:
    """Return the sizes of a bundle's blobs by digest, as the archive has them."""
    return {name[-64:]: len(data) for name, data in bundles.entries(path).items()}


# --- what differs --------------------------------------------------------------------------


def test_a_bundle_beside_itself_differs_in_nothing(old: Path) -> None:
    found = compare_bundles(old, old)
    for one in found.targets:
        assert one.a == one.b
        assert one.changes == []
        assert one.fetch is not None
        assert (one.fetch.size, one.fetch.blobs) == (0, [])
    text = side_by_side_text(found)
    assert text.count("the same package in both") == 2
    assert text.count("a device with A lacks nothing of it") == 2


def test_targets_of_one_bundle_alone_stand_beside_nothing(old: Path, new: Path) -> None:
    write(new, target())
    found = compare_bundles(old, new)
    gone = pair(found, "arm64-cpu")
    assert gone.a is not None
    assert (gone.b, gone.fetch, gone.changes) == (None, None, [])
    back = pair(compare_bundles(new, old), "arm64-cpu")
    assert back.a is None
    assert back.fetch is not None
    assert back.fetch.size == back.fetch.whole
    assert "no device with A has it: " in side_by_side_text(compare_bundles(new, old))


def test_sizes_are_told_installed_and_in_the_bundle(old: Path, new: Path) -> None:
    write(new, target(shrunk.graph()))
    both = pair(compare_bundles(old, new))
    assert both.a is not None
    assert both.b is not None
    (before,), (after,) = both.a.variants, both.b.variants
    assert before.size == before.packed_size == len(bundles.graph())
    assert after.size == len(shrunk.graph())
    assert after.packed_size < 1000
    assert both.b.size - both.b.packed_size == after.size - after.packed_size
    assert both.b.understands == ("packed-files",)


def interface(**changes: Any) -> Any:
    return replace(bundles.manifest().interface, **changes)


def test_what_goes_in_and_comes_out_is_compared_by_name(old: Path, new: Path) -> None:
    first, second, _ = interface().columns
    columns = (
        first,
        replace(second, missing="allow"),
        Column("new", "text", "features", 2, "refuse"),
    )
    specs = (replace(interface().inputs[0], shape=(None, 4)),)
    changed = interface(columns=columns, labels=(0, 1, 2), inputs=specs)
    write(new, target(interface=changed))
    found = [
        (one.what, one.name, one.a, one.b) for one in pair(compare_bundles(old, new)).changes
    ]
    assert found == [
        ("input", "features", "float32[?, 3]", "float32[?, 4]"),
        (
            "column",
            "age",
            "float, never missing, to features[1]",
            "float, may be missing, to features[1]",
        ),
        ("column", "my balance (€)", "float, never missing, to features[2]", None),
        ("labels", "", "0, 1", "0, 1, 2"),
        ("column", "new", None, "text, never missing, to features[2]"),
    ]


# --- quality -------------------------------------------------------------------------------


def quality(path: Path) -> tuple[str, float | None]:
    both = pair(compare_bundles(path, path))
    assert both.a is not None
    return both.a.variants[0].metric, both.a.variants[0].quality


def test_quality_is_what_the_signed_bill_of_materials_says(new: Path) -> None:
    metrics = [metric("0.5", "int8-static"), metric("0.9371")]
    write(new, target(files={BOM: bom(metrics)}))
    assert quality(new) == ("r2", 0.9371)
    text = side_by_side_text(compare_bundles(new, new))
    assert "\n    r2                0.9371  " in text


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_quality_that_is_no_number_is_called_so(new: Path, value: str) -> None:
    write(new, target(files={BOM: bom([metric(value)])}))
    assert quality(new) == ("r2", None)
    assert "no number" in side_by_side_text(compare_bundles(new, new))
    packager("inspect", new, new, "--json", cwd=new.parent).json  # noqa: B018 - it parses


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"metadata":1}',
        bom(None),
        bom({}),
        bom([1]),
        bom([{}]),
        bom([metric(0.9)]),
        bom([metric("much")]),
        bom([metric("0.9", variant=None)]),
        bom([metric("0.9", kind="r" * 201)]),
        bom([metric("0.9")])[:-1],
    ],
)
def test_a_bill_of_another_form_tells_no_quality(new: Path, data: bytes) -> None:
    write(new, target(files={BOM: data}))
    assert quality(new) == ("", None)


def test_two_metrics_are_never_set_against_each_other(old: Path, new: Path) -> None:
    write(old, target(files={BOM: bom([metric("0.9")])}))
    write(new, target(files={BOM: bom([metric("0.8", kind="balanced_accuracy")])}))
    lines = side_by_side_text(compare_bundles(old, new)).splitlines()
    told = [line.split() for line in lines if "0.8000" in line or "0.9000" in line]
    assert told == [["r2", "0.9000", "-"], ["balanced_accuracy", "-", "0.8000"]]


# --- what a device lacks -------------------------------------------------------------------


def test_a_device_lacks_the_blobs_that_it_has_not_by_digest(old: Path, new: Path) -> None:
    write(new, target(bundles.graph(9.0)))
    fetch = pair(compare_bundles(old, new)).fetch
    assert fetch is not None
    lacking = blob_bytes(new).keys() - blob_bytes(old).keys()
    assert {blob.sha256 for blob in fetch.blobs} < lacking
    assert all(blob_bytes(new)[blob.sha256] == blob.size for blob in fetch.blobs)
    assert [blob.path for blob in fetch.blobs] == [
        "manifest.json",
        "model.sig",
        "golden.npz",
        bundles.MODEL,
    ]
    assert fetch.size == sum(blob.size for blob in fetch.blobs)
    assert fetch.whole == fetch.size + len(bundles.payload()["README.md"])


def test_a_packed_file_is_fetched_packed(old: Path, new: Path) -> None:
    write(new, target(shrunk.graph()))
    fetch = pair(compare_bundles(old, new)).fetch
    assert fetch is not None
    (blob,) = [blob for blob in fetch.blobs if blob.path == bundles.MODEL]
    assert blob.size == blob_bytes(new)[blob.sha256] < len(shrunk.graph())


def test_an_unsigned_bundle_has_no_signature_to_fetch(old: Path, new: Path) -> None:
    write(new, target(), signed=False)
    both = pair(compare_bundles(old, new))
    assert both.b is not None
    assert both.fetch is not None
    assert not both.b.has_signature
    assert "model.sig" not in [blob.path for blob in both.fetch.blobs]


# --- the command ---------------------------------------------------------------------------


def rich(release: dict[str, Any], score: str, graph: bytes) -> list[Part]:
    """Return a target with as long a name, and as much to tell, as there may be."""
    plain = bundles.manifest(**release)
    named = replace(plain.variants[0], name="int8-static-percentile")
    files = {BOM: bom([metric(score, named.name, "neg_mean_absolute_percentage_error")])}
    document: Manifest = replace(
        plain,
        variants=(named,),
        version=f"{release['version']}-{'x' * 50}",
        interface=interface(labels=tuple(f"a class of its own {n}" for n in range(12))),
    )
    return bundles.parts(document, {**bundles.payload(graph), **files})


@pytest.fixture
def two(old: Path, new: Path) -> tuple[Path, Path]:
    write(old, rich({"version": "1.4.0", "release": 1_004_000}, "0.91", bundles.graph()))
    write(new, rich(NEWER, "0.93", shrunk.graph()))
    return old, new


def test_the_table_fits_a_terminal_and_is_plain(two: tuple[Path, Path]) -> None:
    done = packager("inspect", *two, cwd=two[0].parent)
    lines = done.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in done.out
    assert lines[0].startswith("A  ")
    assert lines[1].startswith("B  ")
    assert lines[2].split() == ["A", "B"]
    assert "in the bundle" in done.out
    assert "0.9100" in done.out
    assert "0.9300" in done.out


def test_it_is_ascii_where_the_terminal_is(two: tuple[Path, Path], checkout: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "packager", "inspect", *two],
        env={**os.environ, "PYTHONPATH": str(checkout), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.isascii()
    assert b"1.4.0-xxxxxxxxxxxxx..." in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_strangers_words_cannot_draw_on_the_terminal(old: Path, new: Path) -> None:
    columns = (*interface().columns[:2], Column("\x1b[2Jx", "float", "features", 2, "refuse"))
    hostile = bom([metric("1", kind="\x1b[2J")])
    write(new, target(files={BOM: hostile}, interface=interface(columns=columns)))
    text = side_by_side_text(compare_bundles(old, new))
    assert "\x1b" not in text
    assert "column ?[2Jx: none -> " in text


def test_many_changes_are_counted_rather_than_listed(old: Path, new: Path) -> None:
    columns = tuple(Column(f"c{n}", "float", "features", 0, "refuse") for n in range(100))
    write(new, target(interface=interface(columns=columns)))
    text = side_by_side_text(compare_bundles(old, new))
    assert "  83 more changes, all in --json" in text


def test_machines_read_one_object(two: tuple[Path, Path]) -> None:
    told = packager("inspect", *two, "--json", cwd=two[0].parent).json
    assert told["schema"] == "edgepack.compare/1"
    assert [told[side]["bundle"] for side in "ab"] == [str(path) for path in two]
    assert [told[side]["size"] for side in "ab"] == [path.stat().st_size for path in two]
    (one,) = told["targets"]
    assert one["b"]["variants"][0]["quality"] == 0.93
    assert one["b"]["variants"][0]["packed_size"] < one["b"]["variants"][0]["size"]
    assert one["fetch"]["blobs"][0].keys() == {"path", "size", "sha256"}


def test_a_bundle_as_a_directory_is_as_large_as_its_files(old: Path, tmp_path: Path) -> None:
    directory = bundles.unpack(old, tmp_path / "layout")
    found = compare_bundles(directory, old)
    assert found.a.size == sum(map(len, bundles.entries(old).values()))
    assert found.b.size == old.stat().st_size


def test_a_damaged_bundle_is_refused_whichever_it_is(old: Path, new: Path) -> None:
    write(new, target())
    new.write_bytes(new.read_bytes().replace(b"# tiny\n", b"# tinY\n"))
    for order in ((old, new), (new, old)):
        with pytest.raises(DigestMismatch):
            compare_bundles(*order)
        packager("inspect", *order, cwd=old.parent, expect=4)
