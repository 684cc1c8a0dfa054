"""What skl2onnx knows of converters, put back after a test that told it of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common._registration import _converter_pool, _shape_calculator_pool


@contextmanager
def as_before() -> Iterator[None]:
    """Forget every converter that was registered meanwhile."""
    tables = (sklearn_operator_name_map, _converter_pool, _shape_calculator_pool)
    known = [dict(table) for table in tables]
    try:
        yield
    finally:
        for table, before in zip(tables, known, strict=True):
            table.clear()
            table.update(before)
