"""Strict JSON: what is refused, what is kept, and that nothing else is ever raised."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract import strictjson
from edge_runtime.contract.errors import JsonMalformed, ManifestInvalid
from edge_runtime.contract.strictjson import MAX_DEPTH, Fields, dumps, loads

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(plain)
def test_what_is_rendered_reads_back_the_same(value: object) -> None:
    assert loads(dumps(value), what="x") == value


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_typed_error(data: bytes) -> None:
    try:
        loads(data, what="x")
    except JsonMalformed as error:
        assert "x" in error.message


@given(st.text('{}[]",:0123456789.eE-\\u dDfF"truefalsn', max_size=60))
def test_no_text_of_json_characters_raises_anything_else(text: str) -> None:
    try:
        value = loads(text.encode(), what="x")
    except JsonMalformed:
        return
    dumps(value).decode("utf-8")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a":1,"a":1}', "'a' stands twice"),
        (b'{"x":{"a":1,"\\u0061":2}}', "'a' stands twice"),
        (b"[NaN]", "NaN"),
        (b"[-Infinity]", "-Infinity"),
        (b"[1e999]", "too large"),
        (b'["\\ud800"]', "surrogates not allowed"),
        (b'{"\\udfff":1}', "surrogates not allowed"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"\xff\xfe{}", "decode"),
        (b'"\xed\xa0\x80"', "decode"),
        (b"{} {}", "Extra data"),
        (b"", "Expecting value"),
        (b"[1,]", "Expecting value"),
        (b"[01]", "delimiter"),
        (b'["\t"]', "control character"),
        (b"9" * 5000, "limit"),
        (b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2), "nests deeper"),
        (b"[" * 100_000 + b"]" * 100_000, "nests too deeply"),
    ],
)
def test_what_is_not_strict_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(JsonMalformed) as caught:
        loads(data, what="the document")
    assert caught.value.message.startswith("the document is not strict JSON: ")
    assert reason in caught.value.message


def test_a_document_of_the_greatest_depth_is_read() -> None:
    data = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert json.loads(data) == loads(data, what="x")


def test_a_whole_surrogate_pair_is_text() -> None:
    assert loads(b'"\\ud83d\\ude00"', what="x") == "\N{GRINNING FACE}"


def test_a_document_over_its_limit_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(JsonMalformed, match="5 bytes, more than the 4 allowed"):
        loads(b"12345", what="x", limit=4)


def test_rendering_refuses_what_json_cannot_hold() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        strictjson.dumps([float("nan")])


# --- typed reading -------------------------------------------------------------------------


def fields(**values: object) -> Fields:
    return Fields(values, "doc", ManifestInvalid)


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("text", 1),
        ("text", None),
        ("text", "x" * 5000),
        ("integer", True),
        ("integer", 1.0),
        ("integer", -1),
        ("integer", 1 << 63),
        ("integer", "1"),
        ("number", True),
        ("number", "1"),
        ("boolean", 1),
        ("boolean", None),
        ("list", {}),
        ("texts", ["a", 1]),
        ("object", []),
        ("fields", []),
        ("text_map", {"a": 1}),
    ],
)
def test_a_value_of_another_type_names_the_field_and_what_was_found(
    method: str, value: object
) -> None:
    with pytest.raises(ManifestInvalid, match=r"doc\.key must be .*, found ") as caught:
        getattr(fields(key=value), method)("key")
    assert caught.value.values["field"] == "doc.key"


def test_every_kind_of_value_is_read_once() -> None:
    read = fields(
        t="x", i=3, n=2, b=False, l=[1], s=["a"], o={"k": 1}, m={"k": "v"}, f={"k": 1}
    )
    assert read.has("t")
    assert (read.text("t"), read.integer("i"), read.number("n")) == ("x", 3, 2.0)
    assert (read.boolean("b"), read.list("l"), read.texts("s")) == (False, [1], ("a",))
    assert (read.object("o"), read.text_map("m")) == ({"k": 1}, {"k": "v"})
    assert read.fields("f").integer("k") == 1
    assert not read.has("t")
    assert read.any("t") is None
    read.done()


def test_a_key_that_nobody_asked_for_is_named() -> None:
    with pytest.raises(ManifestInvalid, match="doc has the unknown key 'other'"):
        fields(other=1).done()


def test_only_an_object_has_fields() -> None:
    with pytest.raises(ManifestInvalid, match="doc must be an object, found list"):
        Fields([1], "doc", ManifestInvalid)
