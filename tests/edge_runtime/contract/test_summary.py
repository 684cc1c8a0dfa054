"""Tests of what logs add up to: the object for machines and the lines for people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from metric_logs import SUBJECT

from edge_runtime.contract.segments import Subject
from edge_runtime.contract.summary import Summary, summarize
from edge_runtime.metrics import Recorder


def test_versions_and_variants_are_told_apart(tmp_path: Path) -> None:
    for version, times in (("1.4.0", 3), ("1.5.0", 4)):
        subject = Subject("fraud", version, "cd" * 32, "float32", "CPUExecutionProvider")
        recorder = Recorder(tmp_path, subject)
        for _ in range(times):
            recorder.record(1, 1)
        recorder.close()
    models = summarize([tmp_path]).to_json()["models"]
    assert [(found["version"], found["predictions"]) for found in models] == [
        ("1.4.0", 3),
        ("1.5.0", 4),
    ]


def test_the_summary_names_its_units(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, SUBJECT)
    for elapsed in range(1_000, 101_000, 1_000):
        recorder.record(2, elapsed)
    recorder.close()
    told = summarize([tmp_path]).to_json()
    assert told["schema"] == "edgepack.metrics/1"
    assert (told["predictions"], told["rows"], told["windows"], told["streams"]) == (
        100,
        200,
        1,
        1,
    )
    latency = told["latency"]
    assert latency["mean_us"] == 50.5
    for name, true in (("p50_us", 50), ("p90_us", 90), ("p99_us", 99), ("max_us", 100)):
        assert latency[name] == pytest.approx(true, rel=0.045)
    assert told["process"].keys() == {"rss_max_kib", "cpu_ms"}
    assert told["log"]["dropped"] == {"segments": 0, "windows": 0, "predictions": 0}
    [model] = told["models"]
    assert (model["model"], model["variant"]) == ("fraud", "int8-dynamic")


def test_a_log_without_predictions_has_no_latency(tmp_path: Path) -> None:
    told = summarize([tmp_path])
    assert told.to_json()["latency"] == dict.fromkeys(
        ("p50_us", "p90_us", "p99_us", "max_us", "mean_us")
    )
    assert "latency      unknown" in told.text()
    assert Summary().to_json()["process"]["rss_max_kib"] is None


def test_a_person_reads_the_summary(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, SUBJECT)
    for elapsed in (900, 2_100_000, 3_000_000_000):
        recorder.record(1, elapsed)
    recorder.error("input-shape")
    recorder.event("load")
    recorder.close()
    model, *lines = summarize([tmp_path]).text().splitlines()
    assert model == "model        fraud 1.4.0 (int8-dynamic on CPUExecutionProvider)"
    assert lines[0] == "predictions  3 (rows 3, windows 1, recorders 1)"
    assert lines[1] == "errors       input-shape 1"
    assert lines[2].startswith("latency      p50 2.1")
    assert lines[2].endswith(" s")
    assert lines[4] == "events       load 1"
    assert lines[5] == "log          complete; segments 1"
    assert all(line.isascii() for line in lines)


def test_several_versions_are_told_apart_below_their_sum(tmp_path: Path) -> None:
    for version in ("1.4.0", "1.5.0"):
        recorder = Recorder(tmp_path, replace(SUBJECT, version=version))
        recorder.record(2, 1000)
        recorder.close()
    lines = summarize([tmp_path]).text().splitlines()
    assert lines[0].startswith("predictions  2 (rows 4,")
    assert [line.split(" (")[0] for line in lines[-2:]] == ["  fraud 1.4.0", "  fraud 1.5.0"]
    assert all("predictions 1, errors 0" in line for line in lines[-2:])
