"""The report as JSON: everything that is known, and the values that a replay needs."""

from __future__ import annotations

import json

from packager.report.facts import SCHEMA, report_json
from packager.variant import Measured


def test_everything_stands_in_it_under_its_name(make_facts, packed):
    document = report_json(make_facts(), packed, {"asked": {"name": "tiny"}})
    assert document["schema"] == SCHEMA
    assert document["values"] == {"asked": {"name": "tiny"}}
    assert document["bundle"]["packages"] == {"x86-64-cpu": "a" * 64}
    (target,) = document["targets"]
    assert target["measured"][1]["latency"] == {"1": 2000.0, "32": 9000.0}
    assert target["skipped"] == [
        {"name": "int8-dynamic", "reason": "there is nothing to quantize"}
    ]


def test_a_number_that_json_cannot_hold_becomes_its_name(make_facts, make_target, packed):
    target = make_target(measured=[Measured("float32", "float32", 1, float("nan"), 0.5)])
    document = report_json(make_facts(target), packed, {})
    json.dumps(document, allow_nan=False)
    assert document["targets"][0]["measured"][0]["quality"] == "nan"
