"""From source and rows to a graph, and what is said of what could not be checked."""

from __future__ import annotations

import json
from pathlib import Path

import bundles
import joblib
import numpy as np
import pandas as pd
import pytest
from host import LABEL, NUMBERS, cancer, packager
from sklearn.cluster import KMeans
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

from packager.bundle_file import read_bundle
from packager.errors import ParityFailed
from packager.parity import comparing, comparison

TRUST = ("--trust-pickle", "--unsigned", "--target", "x86-64-cpu", "--name", "x")


@pytest.fixture
def build_of(tmp_path):
    """Build a fitted estimator with rows; return stdout, stderr and the report."""

    def run(model, *flags: str, frame=None, expect: int = 0):
        joblib.dump(model, tmp_path / "model.pkl")
        (cancer() if frame is None else frame).to_csv(tmp_path / "rows.csv", index=False)
        done = packager(
            *("build", "model.pkl", "--data", "rows.csv", *flags, *TRUST),
            cwd=tmp_path,
            expect=expect,
        )
        report = tmp_path / "dist" / "x-1.0.0.report.json"
        return done, json.loads(report.read_bytes()) if report.exists() else None

    return run


def fitted(model, *, missing: tuple[str, ...] = ()):
    frame = cancer()
    features = frame[list(NUMBERS)].copy()
    for column in missing:
        features.loc[::7, column] = np.nan
    return model.fit(features, frame[LABEL])


def columns(directory: Path) -> dict[str, str]:
    (target,) = read_bundle(directory / "dist" / "x-1.0.0.oci.tar")
    return {column.name: column.missing for column in target.manifest.interface.columns}


# --- what is asked of rows -----------------------------------------------------------------


def test_a_classifier_is_compared_and_judged_by_its_label(build_of):
    done, report = build_of(
        fitted(HistGradientBoostingClassifier(max_iter=5)), "--label", LABEL
    )
    assert "held-out rows agree" in done.err
    assert report["unchecked"] == []
    assert report["metric"]["name"] == "balanced_accuracy"


def test_a_regression_is_judged_by_its_numbers(build_of):
    frame = cancer().drop(columns=[LABEL, "mean texture"])
    model = LinearRegression().fit(frame[list(NUMBERS[:-1])], frame[NUMBERS[-1]])
    _, report = build_of(model, "--label", NUMBERS[-1], frame=frame)
    assert report["metric"]["name"] == "r2"
    assert report["unchecked"] == []


def test_without_a_label_the_report_says_so(build_of):
    _, report = build_of(fitted(HistGradientBoostingClassifier(max_iter=5)))
    assert report["unchecked"] == [
        "quality: no label was named (--label); variants need only agree with float32"
    ]


def test_a_label_that_nothing_can_be_held_against_is_named(build_of):
    frame = cancer()
    model = KMeans(2, n_init=1, random_state=0).fit(frame[list(NUMBERS)])
    _, report = build_of(model, "--label", LABEL)
    assert report["unchecked"] == [
        "quality: nothing to hold 'diagnosis' against; variants need only agree with float32"
    ]


def test_a_model_with_several_numbers_a_row_has_nothing_to_hold_a_label_against(build_of):
    frame = cancer().drop(columns=[LABEL])
    model = LinearRegression().fit(frame[list(NUMBERS[:-2])], frame[list(NUMBERS[-2:])])
    _, report = build_of(model, "--label", NUMBERS[-1], frame=frame)
    assert report["metric"]["name"] == "cosine"
    (told,) = report["unchecked"]
    assert told.startswith(f"quality: nothing to hold {NUMBERS[-1]!r} against")


def test_few_rows_that_judge_are_told(build_of):
    model = fitted(HistGradientBoostingClassifier(max_iter=5))
    _, report = build_of(model, "--label", LABEL, frame=cancer().head(100))
    judging = report["data"]["held_out"]
    assert report["unchecked"] == [
        f"small losses of quality: only {judging} rows judge, where 256 would tell more"
    ]


def test_a_metric_that_nobody_knows_is_refused_before_anything_is_read(build_of):
    model = fitted(HistGradientBoostingClassifier(max_iter=5))
    frame = cancer().head(0)
    done, _ = build_of(model, "--metric", "f1_makro", frame=frame, expect=3)
    assert "f1_makro is no metric (did you mean 'f1_macro'?)" in done.err


def test_an_onnx_file_is_its_own_source(workshop, tmp_path):
    rows = ("--data", "numbers.csv", "--label", LABEL, "--target", "x86-64-cpu")
    done = packager("build", "line.onnx", *rows, "--out", tmp_path, cwd=workshop)
    assert "an ONNX file is its own source, there is nothing to compare" in done.out


# --- missing values ------------------------------------------------------------------------


def test_a_value_may_be_missing_where_source_and_graph_answer_alike(build_of, tmp_path):
    model = make_pipeline(SimpleImputer(), HistGradientBoostingClassifier(max_iter=5))
    _, report = build_of(fitted(model, missing=NUMBERS[:1]), "--label", LABEL)
    assert columns(tmp_path)[NUMBERS[0]] == "allow"
    assert NUMBERS[0] in report["parity"]["missing_allowed"]


def test_a_value_may_not_be_missing_where_the_source_refuses_it(build_of, tmp_path):
    _, report = build_of(fitted(KMeans(2, n_init=1, random_state=0)))
    assert set(columns(tmp_path).values()) == {"refuse"}
    assert report["parity"]["missing_refused"] == []


def test_where_they_answer_differently_missing_values_are_refused_and_told(
    build_of, tmp_path, monkeypatch
):
    def disagree(*_):  # held-out rows and probes are compared elsewhere
        raise ParityFailed("they differ", hint="none")

    monkeypatch.setattr(comparing, "check_parity", disagree)
    done, report = build_of(
        fitted(HistGradientBoostingClassifier(max_iter=5)), "--label", LABEL
    )
    assert set(columns(tmp_path).values()) == {"refuse"}
    assert report["parity"]["missing_refused"] == sorted(NUMBERS)
    assert "not checked\n  missing values: source and graph answer differently" in done.out


# --- rows that were made -------------------------------------------------------------------


def test_each_kind_of_rows_is_told_on_the_terminal_in_the_report_and_on_the_card(
    build_of, tmp_path
):
    done, report = build_of(
        fitted(HistGradientBoostingClassifier(max_iter=5)), "--label", LABEL
    )
    kinds = {one["kind"]: one["rows"] for one in report["parity"]["kinds"]}
    assert {"held-out", "batches", "ties", "missing values", "extremes", "thresholds"} == set(
        kinds
    )
    assert report["parity"]["rows"] == kinds["held-out"]
    assert "source and graph agree\n" in done.out
    lines = {line.split("  ")[1]: line for line in done.out.splitlines() if "  " in line}
    assert f"{kinds['thresholds']:,}" in lines["thresholds"]
    made = sum(kinds.values()) - kinds["held-out"]
    assert f"so do {made} rows made to part them" in " ".join(done.err.split())
    files = bundles.entries(tmp_path / "dist" / "x-1.0.0.oci.tar").values()
    assert any(f"{kinds['thresholds']:,} of thresholds".encode() in file for file in files)


def test_no_value_of_a_row_is_shown_unless_asked_for(build_of, tmp_path):
    frame = cancer()
    model = fitted(HistGradientBoostingClassifier(max_iter=5))
    _, hidden = build_of(model, "--label", LABEL)
    assert all(one["row"] == {} for one in hidden["parity"]["kinds"])
    (tmp_path / "dist" / "x-1.0.0.report.json").unlink()
    done, shown = build_of(model, "--label", LABEL, "--show-rows")
    row = shown["parity"]["kinds"][0]["row"]
    assert set(row) == set(NUMBERS)
    assert (frame[list(NUMBERS)] == pd.Series(row)).all(axis=1).any()
    assert f"held-out: the worst is row {shown['parity']['kinds'][0]['worst']}: " in done.out


def test_a_graph_that_answers_otherwise_is_refused(build_of, tmp_path, monkeypatch):
    real = comparison.run_rows

    def other(session, feed, batch):
        answers = real(session, feed, batch)
        return {**answers, "probabilities": answers["probabilities"][:, ::-1]}

    monkeypatch.setattr(comparison, "run_rows", other)
    model = fitted(HistGradientBoostingClassifier(max_iter=5))
    done, report = build_of(model, "--label", LABEL, expect=6)
    assert "error[parity-failed]" in done.err
    assert report is None
    assert not (tmp_path / "dist").exists()


def test_a_slip_among_numbers_is_named_by_its_line(build_of):
    slipped = cancer().astype({NUMBERS[0]: object})
    slipped.loc[3, NUMBERS[0]] = "12,5 mm"
    model = fitted(HistGradientBoostingClassifier(max_iter=5))
    done, report = build_of(model, "--label", LABEL, frame=slipped, expect=3)
    assert "error[data-unusable]: rows.csv line 5: " in done.err
    assert "'12,5 mm' among numbers" in done.err
    assert report is None
