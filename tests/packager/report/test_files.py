"""Reports are written once and read back strictly."""

from __future__ import annotations

import json

import pytest

from edge_runtime.contract.errors import InputUnreadable
from packager.report.facts import SCHEMA, report_json
from packager.report.files import read_report, write_page, write_report

VALUES = {"ranges/1": {"x": [0.1, -1e-300]}, "ü": "ä"}


@pytest.fixture
def report(make_facts, packed, tmp_path):
    write_report(tmp_path / "r.json", report_json(make_facts(), packed, VALUES))
    return tmp_path / "r.json"


def test_what_was_written_is_read_back(report):
    recorded = read_report(report)
    assert recorded.values == VALUES
    assert recorded.packages == {"x86-64-cpu": "a" * 64}


def test_a_report_is_readable_text_that_ends_with_a_line(report):
    text = report.read_text("utf-8")
    assert text.endswith("}\n")
    assert '"ü": "ä"' in text


def test_a_report_never_overwrites_a_file(report):
    with pytest.raises(FileExistsError):
        write_report(report, {})


def test_a_page_never_overwrites_a_file_either(tmp_path):
    write_page(tmp_path / "r.html", "<p>ü\n")
    assert (tmp_path / "r.html").read_bytes() == "<p>ü\n".encode()
    with pytest.raises(FileExistsError):
        write_page(tmp_path / "r.html", "")


def document(**changes: object) -> dict[str, object]:
    sound = {"schema": SCHEMA, "values": {}, "bundle": {"packages": {}}}
    return {**sound, **changes}


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "is not strict JSON"),
        (b"[]", "it has no schema, values or packages"),
        (b"{}", "it has no schema, values or packages"),
        (b'{"schema": NaN}', "is not strict JSON"),
        (json.dumps(document(schema="edgepack.report/9")).encode(), "'edgepack.report/9'"),
        (json.dumps(document(values=[])).encode(), "its schema is"),
        (json.dumps(document(bundle=[])).encode(), "it has no schema, values or packages"),
        (json.dumps(document(bundle={"packages": 1})).encode(), "its schema is"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path, data, found):
    (tmp_path / "r.json").write_bytes(data)
    with pytest.raises(InputUnreadable, match=found) as caught:
        read_report(tmp_path / "r.json")
    assert caught.value.values["expected"] == SCHEMA


def test_a_report_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputUnreadable, match=r"r\.json must be a report .* No such file"):
        read_report(tmp_path / "r.json")
