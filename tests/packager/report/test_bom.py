"""The bill of materials is CycloneDX 1.6 by the standard's own schema, and always the same."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import reports
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from packager.bundle_file import read_bundle
from packager.report.bom import FILE_NAME, render_bom
from packager.scoring import Metric

FILES = {"b.onnx": b"2", "a.npz": b"1"}


def require_valid(data: bytes) -> None:
    found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode())
    assert found is None, found


def components(data: bytes, kind: str) -> dict[str, dict]:
    found = json.loads(data)["components"]
    return {item["name"]: item for item in found if item["type"] == kind}


def test_every_bundle_carries_a_valid_one(build):
    for target in read_bundle(build.bundle):
        data = next(part.data for part in target.parts if part.path == FILE_NAME)
        require_valid(data)
        listed = components(data, "file")
        table = {
            entry.path: entry.sha256
            for entry in target.manifest.files
            if entry.path != FILE_NAME
        }
        assert {name: item["hashes"][0]["content"] for name, item in listed.items()} == table


def test_a_build_without_rows_label_or_licence_is_valid_too(make_facts, make_target):
    measured = [replace(item, scores=()) for item in make_target().measured]
    target = make_target(measured=measured)
    facts = make_facts(target, data=None, parity=None, metric=None)
    identity = facts.identity.__class__("tiny", "1.4.0", 1, "", "")
    require_valid(render_bom(make_facts(target, identity=identity, data=None), target, {}))


def test_a_quality_that_is_no_number_is_valid_too(make_facts, make_target):
    ruined = reports.score(quality=math.nan, drop=math.nan)
    measured = [replace(make_target().measured[0], scores=[ruined])]
    target = make_target(measured=measured)
    require_valid(render_bom(make_facts(target), target, FILES))


def test_the_same_facts_are_the_same_bytes(make_facts, make_target):
    one = render_bom(make_facts(), make_target(), FILES)
    two = render_bom(make_facts(), make_target(), dict(reversed(FILES.items())))
    assert one == two
    require_valid(one)


def test_other_facts_have_another_serial_number(make_facts, make_target):
    target = make_target()
    one, two = (
        json.loads(render_bom(facts, target, FILES))["serialNumber"]
        for facts in (make_facts(), make_facts(metric=Metric("r2")))
    )
    assert one != two


def test_libraries_are_named_by_package_url_and_python_as_a_platform(make_facts, make_target):
    data = render_bom(make_facts(), make_target(), FILES)
    libraries = components(data, "library")
    assert libraries["onnxruntime"]["purl"] == "pkg:pypi/onnxruntime@1.32.0%2Blocal"
    assert "python" not in libraries
    assert components(data, "platform")["python"]["version"] == "3.11.2"


def test_rows_stand_in_it_by_digest_and_not_by_name(make_facts, make_target):
    data = render_bom(make_facts(), make_target(), FILES)
    assert b"acme" not in data
    rows = components(data, "data")
    assert {item["hashes"][0]["content"] for item in rows.values()} == {"d" * 64, "e" * 64}


@pytest.mark.parametrize(
    ("synthetic", "words"), [(True, "none of them in the bundle"), (False, "real rows")]
)
def test_it_says_whether_rows_are_in_the_bundle(make_facts, make_target, synthetic, words):
    target = make_target(golden_synthetic=synthetic)
    data = render_bom(make_facts(target), target, FILES)
    assert words in components(data, "data")["rows (data)"]["description"]


def test_quality_is_told_by_variant(make_facts, make_target):
    card = json.loads(render_bom(make_facts(), make_target(), FILES))["metadata"]["component"]
    assert card["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] == [
        {"type": "balanced_accuracy", "value": "0.9", "slice": "float32"},
        {"type": "balanced_accuracy", "value": "0.5", "slice": "int8-static"},
    ]
    assert card["licenses"] == [{"license": {"name": "Apache-2.0"}}]
