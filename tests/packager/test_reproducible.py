"""A replay makes the same bytes wherever it runs, or it is refused."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import onnx
import pytest
from host import BUILD, LABEL, Build, packager

from packager.replay import difference

# --- the same bytes ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def replayed(build: Build, workshop: Path, tmp_path_factory, python_at) -> Path:
    """A replay in another directory, process and environment, its flags in another order."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(workshop, elsewhere / "moved")
    other = python_at(Path(sys.executable))
    other.environment |= {
        "PYTHONHASHSEED": "4711",
        "OMP_NUM_THREADS": "3",
        "OPENBLAS_NUM_THREADS": "2",
        "LC_ALL": "C",
        "TZ": "Pacific/Auckland",
    }
    config = elsewhere / "conf" / "packager.toml"
    config.parent.mkdir()
    config.write_text(
        'description = "Benign or malignant."\n'
        'target = ["x86-64-cuda", "arm64-cpu", "x86-64-cpu"]\n'
        f'label = "{LABEL}"\n'
        'version = "1.4.0"\n'
        'model = "../moved/network.skops"\n'
        'data = "../moved/rows.csv"\n'
        'key = "../moved/keys/release.key"\n'
        'out = "../out"\n'
        'name = "cancer"\n'
        "jobs = 1\n"
    )
    other.packager("build", "--config", config, "--replay", build.report, cwd=elsewhere)
    return elsewhere / "out"


def test_the_bundle_has_the_same_bytes(build, replayed):
    assert (replayed / build.bundle.name).read_bytes() == build.bundle.read_bytes()


def test_the_report_says_the_same_to_the_letter(build, replayed):
    document = json.loads((replayed / build.report.name).read_bytes())
    assert document == build.document


def test_a_replay_of_a_replay_is_the_same_again(build, replayed, workshop, tmp_path):
    report = replayed / build.report.name
    packager(*BUILD, "--replay", report, "--out", tmp_path, cwd=workshop)
    assert (tmp_path / build.bundle.name).read_bytes() == build.bundle.read_bytes()


def test_a_model_without_rows_is_replayed_too(workshop, tmp_path):
    command = ("build", "line.onnx", "--target", "x86-64-cpu", "--out")
    packager(*command, tmp_path / "one", cwd=workshop)
    report = tmp_path / "one" / "line-1.0.0.report.json"
    packager(*command, tmp_path / "two", "--replay", report, cwd=workshop)
    one, two = (tmp_path / name / "line-1.0.0.oci.tar" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


# --- or refused ----------------------------------------------------------------------------

LINE = {
    "": "line.onnx",
    "--data": "numbers.csv",
    "--label": LABEL,
    "--target": "x86-64-cpu",
    "--version": "1.4.0",
}
CHANGES = {
    "effort": {"--effort": "quick"},
    "description": {"--description": "Other words."},
    "golden": {"--golden": "real"},
    "holdout": {"--holdout": "numbers.csv", "--data": "few.csv"},
    "license": {"--license": "MIT"},
    "max-drop": {"--max-drop": "0.011"},
    "max-latency-ms": {"--max-latency-ms": "50"},
    "max-memory": {"--max-memory": "1GB"},
    "max-size": {"--max-size": "5MB"},
    "metric": {"--metric": "average_precision"},
    "model": {"": "other.onnx", "--name": "line"},
    "name": {"--name": "other"},
    "release": {"--release": "7"},
    "single": {"--single": ""},
    "split-by": {"--split-by": "mean radius"},
    "target": {"--target": "arm64-cpu"},
    "version": {"--version": "1.4.1", "--release": "1004000"},
    "data": {"--data": "few.csv"},
}


def command(flags: dict[str, str]) -> list[str]:
    return ["build", *(word for pair in flags.items() for word in pair if word)]


@pytest.fixture(scope="module")
def line(workshop: Path, tmp_path_factory) -> Path:
    """A directory with a build of a small model, and files that differ a little."""
    directory = tmp_path_factory.mktemp("line")
    for name in ("line.onnx", "numbers.csv"):
        shutil.copy(workshop / name, directory)
    shutil.copytree(workshop / "keys", directory / "keys")
    graph = onnx.load(directory / "line.onnx")
    graph.producer_version += ".1"
    onnx.save(graph, directory / "other.onnx")
    lines = (directory / "numbers.csv").read_text().splitlines(keepends=True)
    (directory / "few.csv").write_text("".join(lines[:-1]))
    packager(*command(LINE), cwd=directory)
    return directory


@pytest.mark.parametrize("changed", CHANGES)
def test_another_option_or_file_is_refused_by_its_name(line, tmp_path, changed):
    replay = {"--replay": "dist/line-1.4.0.report.json", "--out": str(tmp_path / "out")}
    done = packager(*command(LINE | CHANGES[changed] | replay), cwd=line, expect=6)
    told = "asked cannot be replayed: the report was made with"
    first = "data" if changed == "holdout" else changed
    assert f"error[replay-mismatch]: {told} {first} " in done.err
    assert not (tmp_path / "out").exists()


def test_other_library_versions_are_refused_by_their_names(line, tmp_path, monkeypatch):
    monkeypatch.setattr("packager.versions.__version__", "99.0")
    replay = {"--replay": "dist/line-1.4.0.report.json", "--out": str(tmp_path / "out")}
    done = packager(*command(LINE | replay), cwd=line, expect=6)
    assert "versions: the report was made with edgepack " in done.err
    assert "'99.0'" in done.err


def spoilt(build: Build, path: Path, change) -> Path:
    document = json.loads(build.report.read_bytes())
    change(document)
    path.write_text(json.dumps(document))
    return path


def drop_a_value(document):
    del document["values"][next(key for key in document["values"] if "golden/" in key)]


def add_a_value(document):
    document["values"]["quality/of/another/build"] = 1.0


def change_a_range(document):
    ranges = next(value for key, value in document["values"].items() if "ranges/" in key)
    ranges[next(iter(ranges))][1] *= 2


def change_a_choice(document):
    choice = next(value for key, value in document["values"].items() if "golden/rows" in key)
    choice["rows"] = choice["rows"][::-1]


def change_a_package(document):
    document["bundle"]["packages"]["arm64-cpu"] = "0" * 64


@pytest.mark.parametrize(
    "change", [drop_a_value, add_a_value, change_a_range, change_a_choice, change_a_package]
)
def test_a_report_that_was_tampered_with_is_refused(build, workshop, tmp_path, change):
    report = spoilt(build, tmp_path / "r.json", change)
    packager(*BUILD, "--replay", report, "--out", tmp_path / "d", cwd=workshop, expect=6)
    assert not (tmp_path / "d").exists()


# --- in words ------------------------------------------------------------------------------


def test_the_first_difference_is_told_with_both_values():
    assert difference({"a": 1, "b": 2}, {"a": 1, "b": 2}) is None
    assert difference({"a": 1}, {"a": 2}) == "the report was made with a 1, this build with 2"
    nested = difference({"versions": {"onnx": "1"}}, {"versions": {"onnx": "2"}})
    assert nested == "versions: the report was made with onnx '1', this build with '2'"
    assert difference({}, {"a": 1}) == "the report was made with a None, this build with 1"
