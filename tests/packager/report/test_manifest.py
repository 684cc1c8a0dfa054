"""The manifest says what the facts say, and the device's own reader takes it."""

from __future__ import annotations

import bundles
import pytest

from edge_runtime.contract.bundle.manifest_json import parse_manifest
from packager.report.manifest import GOLDEN_NAME, make_manifest
from packager.stages.pack import target_parts


@pytest.fixture
def manifest(make_facts):
    facts = make_facts()
    return make_manifest(facts, facts.targets[0])


def test_the_device_reads_what_was_made(manifest):
    document, *_ = target_parts(manifest, bundles.payload())
    parsed = parse_manifest(document.data)
    assert (parsed.name, parsed.version, parsed.release) == ("tiny", "1.4.0", 1_004_000)
    assert parsed.interface == manifest.interface
    assert parsed.target.name == "x86-64-cpu"
    assert parsed.golden.file == GOLDEN_NAME
    assert parsed.variants == manifest.variants


def test_rows_stand_in_it_by_digest_and_number_alone(manifest):
    assert manifest.provenance["data"] == {"sha256": "d" * 64, "rows": 100}
    assert "acme" not in repr(manifest)
    assert "holdout.csv" not in repr(manifest)


def test_without_rows_there_is_no_digest(make_facts):
    facts = make_facts(data=None)
    assert make_manifest(facts, facts.targets[0]).provenance["data"] is None
