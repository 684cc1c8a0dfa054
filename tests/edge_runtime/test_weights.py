"""Weights beside the graph: installed, mapped, hashed before any answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import devices
import numpy as np
import pytest
import weighty

import edge_runtime
from edge_runtime import loading
from edge_runtime.contract.bundle.installed import open_installed
from edge_runtime.contract.errors import (
    DigestMismatch,
    MustUnderstand,
    NotInstalled,
    StoreCorrupt,
)
from edge_runtime.engine import golden
from edge_runtime.engine.session import SessionPlan, open_session
from edge_runtime.runtime import install
from edge_runtime.state.store import Store


@pytest.fixture
def weights(empty: Store, tmp_path: Path) -> Path:
    """Install a model whose weights stand beside it and return their file."""
    install(weighty.packed(tmp_path / "b.oci.tar"), empty)
    (file,) = empty.root.rglob(weighty.NAME)
    return file


def changed(file: Path, data: bytes) -> None:
    file.chmod(0o644)
    file.write_bytes(data)


def test_a_model_is_proven_and_serves_from_its_directory(weights: Path, empty: Store) -> None:
    with edge_runtime.load(store=empty) as model:
        answers = model.predict(weighty.FEED)
    np.testing.assert_allclose(answers["y"], weighty.FEED["x"] @ weighty.MATRIX, rtol=1e-5)
    assert weights.parent.name == "variants"
    assert (weights.parent / "float32.onnx").is_file()


@pytest.mark.parametrize(
    "data", [b"", weighty.MATRIX.tobytes()[:-1], np.ones(2048, np.float32).tobytes()]
)
def test_weights_changed_after_the_install_answer_nothing(
    weights: Path, empty: Store, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(weights, data)
    monkeypatch.setattr(loading, "open_session", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(DigestMismatch, match=weighty.NAME):
        edge_runtime.load(store=empty)


def test_weights_that_are_a_link_are_refused(weights: Path, empty: Store) -> None:
    elsewhere = empty.root / "elsewhere"
    elsewhere.write_bytes(weights.read_bytes())
    weights.unlink()
    weights.symlink_to(elsewhere)
    with pytest.raises(StoreCorrupt):
        edge_runtime.load(store=empty)


def test_verified_files_are_hashed_before_the_engine_sees_any(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = weights.parents[1]
    package = open_installed(directory, directory.name)
    (variant,) = package.manifest.variants
    changed(weights, weights.read_bytes()[:-4] + b"\0\0\0\0")
    monkeypatch.setattr(golden, "open_session", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(DigestMismatch):
        golden.prove(package, variant, SessionPlan())


def test_a_bundle_with_weights_beside_its_graph_serves_from_the_store_only(
    empty: Store, tmp_path: Path
) -> None:
    made = weighty.packed(tmp_path / "b.oci.tar")
    with pytest.raises(NotInstalled, match="mapped from the store"):
        edge_runtime.load(made, store=empty, trust=[devices.trust_file(tmp_path)])


def test_two_variants_share_their_weights(empty: Store, tmp_path: Path) -> None:
    about = weighty.subject()
    (first,) = weighty.manifest(about).variants
    made = weighty.packed(
        tmp_path / "b.oci.tar",
        files={"variants/again.onnx": about.model},
        vectors={**weighty.VECTORS, "out/again/y": weighty.VECTORS["out/float32/y"]},
        variants=(first, replace(first, name="again", model_file="variants/again.onnx")),
    )
    install(made, empty)
    for name in ("float32", "again"):
        with edge_runtime.load(store=empty, variant=name) as model:
            assert model.predict(weighty.FEED)["y"].shape == (3, 512)


def test_an_older_runtime_says_what_it_lacks(
    empty: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = weighty.packed(tmp_path / "b.oci.tar")
    monkeypatch.setattr(
        "edge_runtime.contract.bundle.manifest_json.UNDERSTOOD", frozenset[str]()
    )
    with pytest.raises(MustUnderstand, match="external-weights"):
        install(made, empty)


def test_the_engine_finds_weights_only_beside_the_path_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "float32.onnx").write_bytes(weighty.graph())
    (tmp_path / weighty.NAME).write_bytes(weighty.MATRIX.tobytes())
    answers = open_session(tmp_path / "float32.onnx", SessionPlan()).run(weighty.FEED)
    assert answers["y"].shape == (3, 512)
