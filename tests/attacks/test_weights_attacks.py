"""Graphs that ask for files that are not theirs: validly signed, and refused all the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import bundles
import devices
import pytest
import weighty
from onnx import ModelProto, TensorProto, helper

from edge_runtime.contract.bundle.verify import verify_bundle
from edge_runtime.contract.errors import (
    BundleError,
    DigestMismatch,
    GraphRefused,
    ManifestInvalid,
)
from edge_runtime.runtime import install
from edge_runtime.state.store import Store

ELSEWHERE = (
    "../secret.bin",
    "../../../../etc/passwd",
    "/etc/passwd",
    "/dev/zero",
    "./float32.weights",
    "variants/float32.weights",
    "../variants/float32.weights",
    "float32.weights/",
    "FLOAT32.WEIGHTS",
    "../golden.npz",
    "float32.onnx",
    "*/_ORT_MEM_ADDR_/*",
    "",
    "float32.weights\0",
)


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    """A store that trusts the test key and holds nothing."""
    return Store(Path(devices.trusting(tmp_path)[1]), "named by the test")


def refused(path: Path, store: Store, error: type[BundleError], words: str) -> None:
    """Require that an install ends with this error and leaves the store as it was."""
    before = devices.snapshot(store.root)
    with pytest.raises(error, match=words):
        install(path, store)
    assert devices.snapshot(store.root) == before
    with verify_bundle(path, bundles.KEYS) as verified, pytest.raises(error):
        verified.check()


@pytest.mark.parametrize("location", ELSEWHERE)
def test_a_graph_that_names_another_file_is_refused(
    empty: Store, tmp_path: Path, location: str
) -> None:
    made = weighty.packed(tmp_path / "b.oci.tar", weighty.graph(location=location))
    refused(made, empty, GraphRefused, "must read float32.weights, it has a reference to")


@pytest.mark.parametrize(
    "told",
    [
        {"offset": "4096", "length": "8192"},
        {"offset": "99999999999"},
        {"offset": "-1"},
        {"offset": "0x0"},
        {"length": "1e9"},
        {"offset": "9" * 400},
    ],
)
def test_a_graph_that_reads_past_the_end_of_its_weights_is_refused(
    empty: Store, tmp_path: Path, told: dict[str, str]
) -> None:
    made = weighty.packed(tmp_path / "b.oci.tar", weighty.graph(**told))
    refused(made, empty, GraphRefused, "must (stay within|count bytes)")


def test_a_graph_that_must_hold_its_weights_names_no_file(empty: Store, tmp_path: Path) -> None:
    """What the manifest does not call weights is none, even where it is signed."""
    (rung,) = devices.manifest(weighty.subject(), {"float32": b""}).variants
    made = weighty.packed(tmp_path / "b.oci.tar", variants=(rung,))
    refused(made, empty, GraphRefused, "no file beside it")


def test_a_reference_inside_a_node_is_found(empty: Store, tmp_path: Path) -> None:
    model = ModelProto.FromString(weighty.graph())
    outside = model.graph.initializer[0]
    inner = TensorProto()
    inner.CopyFrom(outside)
    inner.external_data[0].value = "/etc/passwd"
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=inner))
    made = weighty.packed(tmp_path / "b.oci.tar", model.SerializeToString())
    refused(made, empty, GraphRefused, "/etc/passwd")


def test_weights_cut_short_on_their_way_are_refused(empty: Store, tmp_path: Path) -> None:
    made = weighty.packed(tmp_path / "b.oci.tar")
    data = made.read_bytes()
    start = data.index(weighty.MATRIX.tobytes())
    made.write_bytes(data[:start] + bytes(4096) + data[start + 4096 :])
    before = devices.snapshot(empty.root)
    with pytest.raises(DigestMismatch, match=weighty.NAME):
        install(made, empty)
    assert devices.snapshot(empty.root) == before


@pytest.mark.parametrize(
    "path", ["golden.npz", "variants/none.weights", "variants/deep/x.weights"]
)
def test_weights_that_stand_elsewhere_or_nowhere_are_refused(
    empty: Store, tmp_path: Path, path: str
) -> None:
    about = weighty.subject()
    (rung,) = weighty.manifest(about).variants
    bent = (replace(rung, weights=(path,)),)
    files = {"variants/deep/x.weights": b"x"}
    made = weighty.packed(tmp_path / "b.oci.tar", files=files, variants=bent)
    with pytest.raises(ManifestInvalid):
        install(made, empty)
