"""The report as JSON: everything that is known, and the values that a replay needs."""

from __future__ import annotations

import json
import math

import reports

from packager.report.facts import SCHEMA, report_json
from packager.variant import Measured


def test_everything_stands_in_it_under_its_name(make_facts, packed):
    document = report_json(make_facts(), packed, {"asked": {"name": "tiny"}})
    assert document["schema"] == SCHEMA
    assert document["values"] == {"asked": {"name": "tiny"}}
    assert document["bundle"]["packages"] == {"x86-64-cpu": "a" * 64}
    assert document["bundle"]["contents"]["x86-64-cpu"][1] == {
        "path": "variants/float32.onnx",
        "size": 3000,
        "sha256": "2" * 64,
        "packed": {"size": 2800, "sha256": "3" * 64},
    }
    assert document["metric"]["name"] == "balanced_accuracy"
    assert document["budgets"]["drop"] == {"amount": 0.01, "relative": None}
    (target,) = document["targets"]
    assert target["measured"][0]["latency"] == {"1": 2000.0, "32": 9000.0}
    assert target["skipped"] == [
        {
            "name": "int8-dynamic",
            "reason": "there is nothing to quantize",
            "rule": "nothing-to-quantize",
        }
    ]


def test_a_candidate_has_its_scores_and_the_worst_of_them(packed):
    measured = report_json(reports.rich_facts(), packed, {})["targets"][0]["measured"]
    item = next(one for one in measured if one["name"] == "int8-static")
    assert [one["cpu"] for one in item["scores"]] == ["host", "Nehalem", "Haswell"]
    assert item["worst"] == "Nehalem"
    assert item["quality"] == item["scores"][1]["quality"]
    assert item["agreement"] == min(one["agreement"] for one in item["scores"])


def test_a_candidate_that_nobody_judged_has_no_quality(make_facts, make_target, packed):
    target = make_target(measured=[Measured("float32", "float32", 3000, 2800)])
    item = report_json(make_facts(target), packed, {})["targets"][0]["measured"][0]
    assert (item["scores"], item["worst"], item["quality"], item["agreement"]) == (
        [],
        None,
        None,
        None,
    )


def test_a_number_that_json_cannot_hold_becomes_its_name(make_facts, make_target, packed):
    ruined = reports.score(quality=math.nan, drop=math.nan)
    target = make_target(measured=[Measured("float32", "float32", 1, 1, [ruined])])
    document = report_json(make_facts(target), packed, {})
    json.dumps(document, allow_nan=False)
    assert document["targets"][0]["measured"][0]["quality"] == "nan"
