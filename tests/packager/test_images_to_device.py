"""From a folder of photos to a device that answers names: built, installed, and asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bundles
import devices
import numpy as np
import pictures
import pytest
from host import Done, packager

from edge_runtime.contract.npz import read_npz, write_npz

ASKED = (
    *("--image", "12x16x3", "--labels", ",".join(pictures.COLOURS)),
    *("--mean", ",".join(map(str, pictures.MEAN)), "--std", ",".join(map(str, pictures.STD))),
)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net, two folders of photos, and a key."""
    directory = tmp_path_factory.mktemp("studio")
    (directory / "net.onnx").write_bytes(pictures.net())
    pictures.folder(directory / "photos", 40)
    pictures.folder(directory / "judges", 12, first=60)
    packager("keygen", cwd=directory)
    return directory


def built(studio: Path, *more: str, expect: int = 0, asked: tuple[str, ...] = ASKED) -> Done:
    target = ("--target", devices.TARGET)
    out = ("--out", "dist-" + "-".join(more).replace("/", "") if more else "dist")
    return packager(
        "build", "net.onnx", *asked, *target, *out, *more, cwd=studio, expect=expect
    )


def test_the_device_names_photos_that_it_gets_as_they_are(studio: Path, tmp_path: Path) -> None:
    done = built(studio, "--data", "photos")
    out = studio / "dist---data-photos"
    report = json.loads((out / "net-1.0.0.report.json").read_bytes())
    assert report["data"]["label"] == "class"
    assert report["data"]["rows"] == 120
    assert report["parity"]["rows"] == 90
    assert "90 held-out rows agree" in done.err
    target = report["targets"][0]
    qualities = {one["name"]: one["quality"] for one in target["measured"]}
    assert {"int8-static", "int8-dynamic", "float32"} <= qualities.keys()
    assert set(qualities.values()) == {1.0}

    store = ("--store", str(tmp_path / "store"))
    key = studio / "keys" / "release.pub"
    assert devices.run(*store, "trust", "add", key).code == 0
    said = devices.run(*store, "install", out / "net-1.0.0.oci.tar")
    assert said.code == 0, said.err
    asked = np.stack([pictures.photo(pictures.COLOURS[n % 3], 300 + n) for n in range(9)])
    (tmp_path / "rows.npz").write_bytes(write_npz({"input": asked}))
    answers = tmp_path / "answers.npz"
    said = devices.run(
        *store, "predict", "net", "--input", tmp_path / "rows.npz", "--output", answers
    )
    assert said.code == 0, said.err
    found = read_npz(answers.read_bytes(), what="answers")
    assert found["label"].tolist() == [pictures.COLOURS[n % 3] for n in range(9)]
    assert found["probabilities"].shape == (9, 3)

    floats = pictures.scaled(asked).astype(np.float32)
    (tmp_path / "floats.npz").write_bytes(write_npz({"input": floats}))
    said = devices.run(
        *store, "predict", "net", "--input", tmp_path / "floats.npz", "--output", answers
    )
    assert said.code == 3
    assert "takes uint8[?, 12, 16, 3], found dtype float32" in said.err


def test_a_second_folder_judges_and_a_replay_makes_the_same_bytes(studio: Path) -> None:
    first = built(studio, "--data", "photos", "--holdout", "judges")
    assert "120 rows calibrate, 36 judge" in first.err
    out = studio / "dist---data-photos---holdout-judges"
    report = out / "net-1.0.0.report.json"
    more = ("--data", "photos", "--holdout", "judges", "--replay", str(report))
    packager(
        *("build", "net.onnx", *ASKED, "--target", devices.TARGET, *more, "--out", "again"),
        cwd=studio,
    )
    one, other = (path / "net-1.0.0.oci.tar" for path in (out, studio / "again"))
    assert one.read_bytes() == other.read_bytes()


def golden_images(bundle: Path) -> np.ndarray[Any, Any]:
    """Return the images that devices prove themselves with."""
    for data in bundles.entries(bundle).values():
        if data[:2] == b"PK":
            return read_npz(data, what="golden")["in/input"]
    raise AssertionError(bundle)


def test_golden_images_are_nobody_s_unless_a_folder_of_them_is_named(studio: Path) -> None:
    judges = {
        pictures.photo(colour, seed).tobytes()
        for colour in pictures.COLOURS
        for seed in range(60, 72)
    }
    for more, theirs in ((), False), (("--golden", "judges"), True):
        built(studio, "--data", "judges", *more)
        out = studio / ("dist---data-judges" + ("---golden-judges" if theirs else ""))
        found = {image.tobytes() for image in golden_images(out / "net-1.0.0.oci.tar")}
        assert found
        assert found <= judges if theirs else found.isdisjoint(judges)


def test_without_a_size_a_folder_is_refused(studio: Path) -> None:
    said = built(studio, "--data", "photos", expect=3, asked=()).err
    assert "error[data-unusable]: photos is a folder; its images need a size" in said


def test_a_class_that_the_labels_do_not_name_is_refused(studio: Path) -> None:
    asked = ("--image", "12x16x3", "--labels", "blue,green,pink")
    said = built(studio, "--data", "photos", expect=3, asked=asked).err
    assert "error[label-missing]: photos row 'red/" in said


def test_too_few_names_are_refused(studio: Path) -> None:
    asked = ("--image", "12x16x3", "--labels", "blue,green")
    said = built(studio, "--data", "photos", expect=3, asked=asked).err
    assert "error[config-invalid]: labels must be 3 names" in said
