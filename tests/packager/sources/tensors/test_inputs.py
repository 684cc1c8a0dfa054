"""Inputs as users write them: read as meant, or refused with an example."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.tensors import DTYPES
from packager.errors import SourceUnsupported
from packager.sources.tensors.inputs import InputSpec, parse_inputs

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
AXES = st.lists(st.integers(1, 10**6) | NAMES, min_size=1, max_size=5)
SPECS = st.builds(
    InputSpec, NAMES, st.sampled_from(sorted(DTYPES.keys() - {"string"})), AXES.map(tuple)
)


@given(st.lists(SPECS, min_size=1, max_size=4, unique_by=lambda spec: spec.name))
def test_what_is_written_is_read_back(specs: list[InputSpec]) -> None:
    texts = [f"{s.name}:{s.dtype}[{', '.join(map(str, s.axes))}]" for s in specs]

    assert parse_inputs(texts) == tuple(specs)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_inputs([text])
    except SourceUnsupported as refusal:
        assert "float32[N,3,224,224]" in refusal.hint


def test_axes_with_names_are_of_any_length() -> None:
    (spec,) = parse_inputs(["ids:int64[N,T,4]"])

    assert spec.tensor().text() == "int64[?, ?, 4]"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "needs its inputs told"),
        (["image"], "must be written name:dtype"),
        (["image:float32"], "must be written name:dtype"),
        (["2image:float32[N]"], "must be written name:dtype"),
        (["image:float[N]"], "must be one of float16, .*; it is float$"),
        (["image:string[N]"], "it is string"),
        (["image:float32[N,0]"], "must be a length or a name, it is '0'"),
        (["image:float32[N,-1]"], "it is '-1'"),
        (["image:float32[]"], "it is ''"),
        (["image:float32[N,²]"], "it is '²'"),
        (["a:float32[N]", "b:int64[N]", "a:int8[N]"], "'a' is twice"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_cause(texts: list[str], message: str) -> None:
    with pytest.raises(SourceUnsupported, match=message):
        parse_inputs(texts)
