"""A build leaves a verified bundle and its report, or nothing at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from host import ALL_TARGETS, LABEL, packager, tree

from edge_runtime.contract.bundle.digests import sha256_file
from edge_runtime.contract.bundle.verify import verify_bundle
from edge_runtime.contract.errors import BundleError, ManifestInvalid, OutputUnwritable
from packager import pipeline
from packager.bundle_file import read_bundle
from packager.config import resolve
from packager.errors import BudgetExceeded, TargetInvalid
from packager.pipeline import build_json
from packager.release import load_public_key

LINE = {"targets": ("x86-64-cpu",), "name": "line", "version": "1.0.0"}


def run(workshop: Path, out: Path, **flags: object) -> pipeline.Built:
    paths = {"model": workshop / "line.onnx", "key": workshop / "keys" / "release.key"}
    config = resolve({**LINE, **paths, "out": out, **flags}, {})
    return pipeline.build(config, lambda *_: None, lambda _: b"")


# --- what is left behind -------------------------------------------------------------------


def test_the_bundle_verifies_and_names_what_was_asked_for(build, workshop):
    keys = [load_public_key(workshop / "keys" / "release.pub")]
    with verify_bundle(build.bundle, keys) as bundle:
        bundle.check()
        manifests = [package.manifest for package in bundle.packages]
    assert [manifest.target.name for manifest in manifests] == sorted(ALL_TARGETS)
    for manifest in manifests:
        assert (manifest.name, manifest.version, manifest.release) == (
            "cancer",
            "1.4.0",
            1004000,
        )
        assert manifest.description == "Benign or malignant."
        assert manifest.variants[-1].precision == "float32"
        assert manifest.golden.synthetic
        assert set(manifest.provenance) == {"source", "data", "versions", "license"}


def test_the_report_is_of_this_bundle(build):
    bundle = build.document["bundle"]
    assert build.document["schema"] == "edgepack.report/2"
    assert bundle["bundle"] == build.bundle.name
    assert bundle["sha256"] == sha256_file(build.bundle)
    assert bundle["size"] == build.bundle.stat().st_size
    assert sorted(bundle["packages"]) == sorted(ALL_TARGETS)


def test_the_report_tells_what_was_judged_and_what_was_not(build):
    document = build.document
    assert document["data"]["calibration"] + document["data"]["held_out"] == 569
    assert document["parity"]["rows"] == document["data"]["held_out"]
    assert document["metric"]["name"] == "balanced_accuracy"
    assert document["unchecked"] == []
    for target in document["targets"]:
        assert {verdict["name"] for verdict in target["verdicts"]} == {
            measured["name"] for measured in target["measured"]
        }
        timed = bool(target["measured"][0]["latency"])
        told = "speed was not measured, as this host is another chip" in target["notes"]
        assert told != timed


def test_a_page_for_people_lies_beside_the_report_and_names_every_file(build):
    page = build.report.with_suffix(".html").read_text("utf-8")
    contents = build.document["bundle"]["contents"]
    told = [(entry["path"], entry["sha256"]) for files in contents.values() for entry in files]
    assert told
    assert all(path in page and digest in page for path, digest in told)
    for target in read_bundle(build.bundle):
        files = contents[target.manifest.target.name]
        assert {entry["path"]: entry["sha256"] for entry in files} == {
            entry.path: entry.sha256 for entry in target.manifest.files
        }


def test_the_report_is_strict_json(build):
    def refuse(constant):
        pytest.fail(f"{constant} is no JSON")

    json.loads(build.report.read_bytes(), parse_constant=refuse)


def test_each_step_is_told(build):
    names = [line.split()[0] for line in build.said.splitlines() if line[0] != " "]
    searched = [word for target in sorted(ALL_TARGETS) for word in ("search", target)]
    assert names == ["source", "graph", "data", "parity", *searched, "bundle"]


def test_cpu_targets_come_first_whatever_the_order_asked_for(workshop, tmp_path):
    built = run(workshop, tmp_path, targets=("x86-64-cuda", "x86-64-cpu", "arm64-cpu"))
    assert list(built.packed.packages) == ["arm64-cpu", "x86-64-cpu", "x86-64-cuda"]


def test_machines_are_told_where_everything_is(workshop, tmp_path):
    built = run(workshop, tmp_path)
    told = build_json(built)
    assert Path(told["bundle"]).is_file()
    assert Path(told["report"]).is_file()
    assert told["targets"] == {"x86-64-cpu": ["float32"]}
    assert told["unchecked"] == ["parity, quality, speed: no rows (--data)"]


# --- all or nothing ------------------------------------------------------------------------


@pytest.fixture
def dist(workshop, tmp_path):
    """A directory with an earlier build of the same version, and a file of somebody else's."""
    run(workshop, tmp_path / "dist")
    (tmp_path / "dist" / "notes.txt").write_text("mine")
    return tmp_path / "dist"


@pytest.mark.parametrize("step", ["write_release", "write_report", "write_page", "_packed"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_while_writing_leaves_the_earlier_build(
    workshop, dist, monkeypatch, step, error
):
    def fail(*_):
        raise error

    before = tree(dist)
    monkeypatch.setattr(pipeline, step, fail)
    with pytest.raises((OutputUnwritable, KeyboardInterrupt)):
        run(workshop, dist, description="another")
    assert tree(dist) == before


def test_a_bundle_that_does_not_verify_never_gets_its_name(workshop, dist, monkeypatch):
    def spoilt(facts, target):
        manifest = make_manifest(facts, target)
        return replace(manifest, golden=replace(manifest.golden, file="absent.npz"))

    make_manifest = pipeline.make_manifest
    monkeypatch.setattr(pipeline, "make_manifest", spoilt)
    before = tree(dist)
    with pytest.raises(ManifestInvalid) as caught:
        run(workshop, dist)
    assert isinstance(caught.value, BundleError)
    assert tree(dist) == before


@pytest.mark.parametrize("suffix", ["oci.tar", "report.json", "report.html"])
def test_a_directory_in_the_way_leaves_all_as_it_was(workshop, tmp_path, suffix):
    (tmp_path / f"line-1.0.0.{suffix}").mkdir()
    before = tree(tmp_path)
    with pytest.raises(OutputUnwritable, match="Is a directory"):
        run(workshop, tmp_path)
    assert tree(tmp_path) == before


def test_a_build_of_the_same_version_replaces_all_three_files(workshop, dist):
    before = tree(dist)
    run(workshop, dist, description="another")
    after = tree(dist)
    assert {name for name in after if after[name] != before.get(name)} == {
        "line-1.0.0.oci.tar",
        "line-1.0.0.report.json",
        "line-1.0.0.report.html",
    }
    assert after.keys() == before.keys()


def test_an_unwritable_place_is_refused_before_any_work(workshop, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputUnwritable):
        run(workshop, tmp_path / "file", model=workshop / "absent.skops")


# --- targets -------------------------------------------------------------------------------


@pytest.fixture
def profile(checkout, tmp_path):
    """Write a profile of the user's own: the shipped one with some text changed."""

    def write(old: str, new: str) -> str:
        text = (checkout / "targets" / "x86-64-cpu.toml").read_text("utf-8")
        assert old in text
        (tmp_path / "own.toml").write_text(text.replace(old, new, 1), "utf-8")
        return str(tmp_path / "own.toml")

    return write


def test_two_profiles_of_one_name_are_refused(workshop, tmp_path, profile):
    own = profile("priority = 10", "priority = 11")
    with pytest.raises(TargetInvalid, match="must differ in name, found 'x86-64-cpu' twice"):
        run(workshop, tmp_path / "dist", targets=("x86-64-cpu", own))


def test_files_above_the_budget_are_refused(workshop, tmp_path, monkeypatch):
    from packager import target

    monkeypatch.setattr(target, "MEGABYTE", 1)
    with pytest.raises(
        BudgetExceeded, match=r"x86-64-cpu allows [0-9,]+ bytes, its files have"
    ):
        run(workshop, tmp_path / "dist")
    assert not (tmp_path / "dist").exists()


# --- without rows, without labels ----------------------------------------------------------


def test_without_rows_only_float32_ships_and_says_why(workshop, tmp_path):
    done = packager(
        *("build", "network.skops", "--target", "x86-64-cpu", "--out", tmp_path),
        cwd=workshop,
    )
    assert "\n  float32  140." in done.out
    assert "ships float32\n" in done.err
    assert "int8-dynamic does not ship: without held-out rows" in done.out
    assert "not checked\n  parity, quality, speed: no rows (--data)" in done.out
    assert "not measured" not in done.out
    assert "parity" not in done.err


def test_without_a_label_variants_must_agree_with_float32(workshop, tmp_path):
    done = packager(
        *("build", "network.skops", "--data", "rows.csv", "--target", "arm64-cpu"),
        *("--out", tmp_path),
        cwd=workshop,
    )
    assert "quality: no label was named (--label)" in done.out
    assert "agreement" in done.out


def test_a_holdout_file_judges_alone(workshop, tmp_path):
    lines = (workshop / "numbers.csv").read_text().splitlines(keepends=True)
    (tmp_path / "data.csv").write_text("".join(lines[:300]))
    (tmp_path / "holdout.csv").write_text("".join([lines[0], *lines[251:]]))
    built = run(
        workshop,
        tmp_path / "dist",
        data=tmp_path / "data.csv",
        holdout=tmp_path / "holdout.csv",
        label=LABEL,
    )
    data = built.facts.data
    assert (data.rows, data.calibration, data.held_out, data.dropped) == (299, 250, 319, 49)
    assert data.holdout_file == "holdout.csv"
    assert data.holdout_sha256 == sha256_file(tmp_path / "holdout.csv")
