"""Golden vectors: a variant that answers otherwise, or is not as described, is not served."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundles
import devices
import numpy as np
import pytest

from edge_runtime.contract.bundle.verify import VerifiedPackage, verify_bundle
from edge_runtime.contract.errors import (
    GoldenMismatch,
    ManifestInvalid,
    ModelLoadFailed,
    PredictionFailed,
)
from edge_runtime.contract.tensors import Arrays
from edge_runtime.engine.golden import prove, prove_first, session_plan
from edge_runtime.engine.session import Session


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "b.oci.tar"


@contextmanager
def package(path: Path) -> Iterator[VerifiedPackage]:
    with verify_bundle(path, bundles.KEYS) as verified:
        yield verified.packages[0]


def proven(path: Path) -> Session:
    with package(path) as found:
        variant = found.manifest.variants[0]
        return prove(found, variant, session_plan(found.manifest, variant, threads=1))


def changed(subject: devices.Subject, output: str, row: int, value: Any) -> Arrays:
    answers = devices.answers_of(subject)
    answers[output][row] = value
    return answers


def test_a_variant_that_answers_as_recorded_is_served(path: Path) -> None:
    subject = devices.loan()
    session = proven(devices.packed(path, subject))
    assert session.run(subject.feed)["label"].tolist() == ["no", "yes", "yes"]


def test_a_label_that_differs_names_its_row_and_both_values(path: Path) -> None:
    subject = devices.loan()
    answers = changed(subject, "label", 1, "no")
    devices.packed(path, subject, answers={"float32": answers})
    with pytest.raises(
        GoldenMismatch, match="must answer no in row 1 of label, found yes; 1 of 3"
    ):
        proven(path)


@pytest.mark.parametrize("difference", [1e-3, np.nan, np.inf])
def test_a_number_beyond_its_tolerance_is_a_mismatch(path: Path, difference: float) -> None:
    subject = devices.loan()
    answers = devices.answers_of(subject)
    answers["probabilities"][2, 0] += difference
    devices.packed(path, subject, answers={"float32": answers})
    with pytest.raises(GoldenMismatch, match="row 2 of probabilities"):
        proven(path)


def test_a_number_within_its_tolerance_holds(path: Path) -> None:
    subject = devices.loan()
    answers = devices.answers_of(subject)
    answers["probabilities"] += 1e-6
    proven(devices.packed(path, subject, answers={"float32": answers}))


def test_answers_of_another_shape_are_a_mismatch(path: Path) -> None:
    subject = devices.loan()
    answers = devices.answers_of(subject)
    answers["label"] = answers["label"][:2]
    devices.packed(path, subject, answers={"float32": answers})
    with pytest.raises(GoldenMismatch, match=r"string\[2\]"):
        proven(path)


def test_vectors_that_are_absent_are_named(path: Path) -> None:
    subject = devices.loan()
    answers = devices.answers_of(subject)
    del answers["label"]
    devices.packed(path, subject, answers={"float32": answers})
    with pytest.raises(ManifestInvalid, match=r"golden\.npz must hold out/float32/label"):
        proven(path)


def test_a_graph_with_other_outputs_than_signed_is_refused(path: Path) -> None:
    subject, other = devices.loan(), devices.lookup()
    answers = {"float32": devices.answers_of(subject)}
    devices.packed(path, subject, {"float32": other.model}, answers=answers)
    with pytest.raises(ManifestInvalid, match=r"must have the inputs .*its graph has index"):
        proven(path)


def test_labels_that_are_not_those_of_the_graph_are_found_before_it_serves(path: Path) -> None:
    subject = devices.loan()
    interface = replace(subject.interface, labels=("no", "yes", "perhaps"))
    with pytest.raises(PredictionFailed, match="one for each of 3 classes, found 2"):
        proven(devices.packed(path, replace(subject, interface=interface)))


def test_a_session_takes_at_most_the_signed_threads() -> None:
    subject = devices.loan()
    manifest = devices.manifest(subject, {"float32": subject.model})
    plan = session_plan(manifest, manifest.variants[0], threads=64)
    assert plan.threads == manifest.target.threads
    assert session_plan(manifest, manifest.variants[0], threads=0).threads == 1


def test_the_first_variant_that_holds_serves_and_the_others_say_why_not(path: Path) -> None:
    subject = devices.loan()
    models = {
        "wrong": subject.model,
        "broken": devices.unopenable(),
        "sound": subject.model,
        "spare": b"",
    }
    truth = devices.answers_of(subject)
    answers = dict.fromkeys(models, truth) | {"wrong": changed(subject, "label", 0, "yes")}
    devices.packed(path, subject, dict(list(models.items())[:3]), answers=answers)
    with package(path) as found:
        variant, session, failed = prove_first(found, found.manifest.variants, threads=1)
    assert variant.name == "sound"
    assert session.run(subject.feed)["label"].tolist() == ["no", "yes", "yes"]
    assert [text.partition(":")[0] for text in failed] == [
        "wrong left aside",
        "broken left aside",
    ]


def test_the_last_variant_s_error_is_the_error(path: Path) -> None:
    subject = devices.loan()
    answers = {
        "wrong": changed(subject, "label", 0, "yes"),
        "broken": devices.answers_of(subject),
    }
    models = {"wrong": subject.model, "broken": devices.unopenable()}
    devices.packed(path, subject, models, answers=answers)
    with package(path) as found, pytest.raises(ModelLoadFailed):
        prove_first(found, found.manifest.variants, threads=1)
