"""Versions and modules read off a file's bytes: found where they stand, and nothing is run."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from sklearn import __version__ as installed
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from packager.sources.environments import pieces
from packager.sources.environments.versions_inside import modules_inside, versions_inside

FORMS = (
    "skops", "pickle", "keras", "tensorflow", "torch", "xgboost", "lightgbm", "catboost", "onnx"
)  # fmt: skip
FOUND = {"scikit-learn": installed}


def fitted() -> Any:
    rows = np.random.default_rng(0).random((40, 3))
    model = make_pipeline(StandardScaler(), LogisticRegression())
    return model.fit(rows, rows[:, 0] > 0.5)


MODEL = fitted()
MODULES = {
    "sklearn.linear_model._logistic",
    "sklearn.pipeline",
    "sklearn.preprocessing._data",
}


class Bomb:
    """Ends whoever opens it."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (3,)


def pickled_modules(data: bytes) -> set[str]:
    """Return what Python's own reader of operations says that a pickle imports."""
    found, texts, memo = set(), [], {}
    for operation, value, _ in pickletools.genops(data):
        if operation.name == "GLOBAL":
            found.add(str(value).split(" ")[0])
        elif operation.name == "MEMOIZE":
            memo[len(memo)] = texts[-1] if texts else None
        elif operation.name in {"SHORT_BINUNICODE", "BINUNICODE"}:
            texts.append(value)
        elif operation.name in {"BINGET", "LONG_BINGET"}:
            texts.append(memo.get(value))
        elif operation.name == "STACK_GLOBAL":
            found.add(texts[-2])
        else:
            texts.append(None)
    return found


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("short", [False, True])
def test_every_protocol_of_pickle_tells_its_version_and_modules(
    tmp_path: Path, protocol: int, short: bool
) -> None:
    data = pickle.dumps(MODEL, protocol)
    path = tmp_path / "m.pkl"
    path.write_bytes(pickletools.optimize(data) if short else data)

    assert versions_inside(path, "pickle") == FOUND
    assert modules_inside(path) >= MODULES
    if protocol > 3:
        assert modules_inside(path) == pickled_modules(pickle.dumps(MODEL, protocol))


@pytest.mark.parametrize("compress", [0, "zlib", "gzip", "bz2", "xz", "lzma"])
def test_joblib_s_files_tell_it_among_their_arrays(tmp_path: Path, compress: Any) -> None:
    rows = np.random.default_rng(0).random((6_000, 5))
    model = make_pipeline(StandardScaler(), KNeighborsClassifier())
    path = tmp_path / "m.joblib"
    joblib.dump(model.fit(rows, rows[:, 0] > 0.5), path, compress=compress and (compress, 1))

    assert versions_inside(path, "pickle") == FOUND
    assert {"sklearn.neighbors._classification", "sklearn.preprocessing._data"} <= (
        modules_inside(path)
    )


def test_a_skops_file_tells_it_in_its_schema(tmp_path: Path) -> None:
    path = tmp_path / "m.skops"
    skops.io.dump(MODEL, path)

    assert versions_inside(path, "skops") == FOUND
    assert modules_inside(path) >= MODULES


def zipped(**members: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "/") + ".json", text)
    return out.getvalue()


def hdf5(version: bytes) -> bytes:
    """Return bytes with what marks the version in HDF5: a name, and a heap with its text."""
    heap = len(version).to_bytes(8, "little") + version + bytes(8)
    return b"\x89HDF\r\n\x1a\n" + bytes(800) + b"keras_version\0" + bytes(99) + b"GCOL" + heap


@pytest.mark.parametrize(
    ("form", "data", "found"),
    [
        ("keras", zipped(metadata='{"keras_version": "3.15.1"}'), {"keras": "3.15.1"}),
        ("keras", hdf5(b"2.15.0"), {"keras": "2.15.0"}),
        ("keras", hdf5(b"no version"), {}),
        ("torch", zipped(t__models__m='{"torch_version": "2.13.0+cpu"}'), {"torch": "2.13.0"}),
        ("xgboost", b'{"learner":{},"version":[3,2,0]}', {"xgboost": "3.2.0"}),
        (
            "xgboost",
            b"L\0\0\0\0\0\0\0\x07version[#L\0\0\0\0\0\0\0\x03i\x03i\x02i\x00}",
            {"xgboost": "3.2.0"},
        ),
        ("catboost", b"..\n CatBoost release 1.2.10. commit", {"catboost": "1.2.10"}),
        ("lightgbm", b"tree\nversion=v4\n", {}),
    ],
)
def test_other_files_tell_what_their_writers_leave(
    tmp_path: Path, form: str, data: bytes, found: dict[str, str]
) -> None:
    path = tmp_path / "model"
    path.write_bytes(data)

    assert versions_inside(path, form) == found


def test_a_saved_model_tells_it_beside_its_graph(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b'\x22\x05serve*\x062.21.02\x1av2.21.0-rc1"')

    assert versions_inside(tmp_path, "tensorflow") == {"tensorflow": "2.21.0"}


def test_nothing_of_the_file_runs(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pkl"
    path.write_bytes(pickle.dumps([Bomb(), MODEL]))

    assert versions_inside(path, "pickle") == FOUND
    assert modules_inside(path) >= {"posix", *MODULES}


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_is_not_there_tells_nothing(tmp_path: Path, form: str) -> None:
    assert versions_inside(tmp_path / "absent", form) == {}
    assert modules_inside(tmp_path / "absent") == frozenset()
    assert versions_inside(tmp_path, form) == {}


@pytest.mark.parametrize("suffix", [".skops", ".joblib", ".xz"])
@given(kept=st.floats(0, 1))
def test_a_file_cut_short_tells_the_same_or_nothing(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, kept: float
) -> None:
    path = tmp_path_factory.getbasetemp() / f"cut{suffix}"
    if suffix == ".skops":
        skops.io.dump(MODEL, path)
    else:
        joblib.dump(MODEL, path)
    os.truncate(path, int(path.stat().st_size * kept))

    found = versions_inside(path, "skops" if suffix == ".skops" else "pickle")
    assert found in ({}, FOUND)
    assert modules_inside(path) <= MODULES | {"numpy", "joblib.numpy_pickle", "builtins"} | {
        name for name in modules_inside(path) if name.startswith("numpy.")
    }


HEADS = [b"", b"PK\x03\x04", b"x\x9c", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"]\0\0\x80\0"]
TEXTS = [b"_sklearn_version", b"\x8c\x05", b"1.5.2", b"\x94", b"\x95", b"keras_version", b"\0"]


@given(
    head=st.sampled_from(HEADS),
    parts=st.lists(st.one_of(st.binary(max_size=20), st.sampled_from(TEXTS)), max_size=40),
    form=st.sampled_from(FORMS),
)
def test_no_bytes_make_it_fail(
    tmp_path_factory: pytest.TempPathFactory, head: bytes, parts: list[bytes], form: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(head + b"".join(parts))

    for version in versions_inside(path, form).values():
        assert len(version) < 40
        assert version[0].isdigit()
    assert all(name.isascii() for name in modules_inside(path))


def test_memory_is_bounded_whatever_a_file_unpacks_to(tmp_path: Path) -> None:
    path = tmp_path / "bomb.joblib"
    packer = zlib.compressobj(9)
    path.write_bytes(b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)))
    assert path.stat().st_size < 1 << 20

    tracemalloc.start()
    assert versions_inside(path, "pickle") == {}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20


def test_the_search_ends_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(bytes(5 << 20) + pickle.dumps(MODEL))

    assert versions_inside(path, "pickle") == FOUND
    monkeypatch.setattr(pieces, "MAX_BYTES", 2 << 20)
    assert versions_inside(path, "pickle") == {}


def test_a_dictionary_of_gigabytes_is_refused_before_it_is_made(tmp_path: Path) -> None:
    path = tmp_path / "m.lzma"
    path.write_bytes(b"]\0\0\0\xf0" + b"\xff" * 8 + bytes(99))

    assert versions_inside(path, "pickle") == {}


@given(ahead=st.integers((1 << 20) - 60, (1 << 20) + 5))
def test_a_version_may_lie_across_two_pieces(
    tmp_path_factory: pytest.TempPathFactory, ahead: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "across"
    path.write_bytes(bytes(ahead) + b"\x8c\x10_sklearn_version\x94\x8c\x061.10.2\x94.")

    assert versions_inside(path, "pickle") == {"scikit-learn": "1.10.2"}
