"""Measured values: what a build records, a replay compares and hands out bit for bit."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_runtime.contract.tensors import Tolerance
from packager.errors import ReplayMismatch
from packager.record import Record, answers_within, decode, encode, fingerprint, within

CLOSE = within(Tolerance(rtol=1e-3, atol=0.0))
EXACT = within(Tolerance(rtol=0.0, atol=0.0))

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
numbers = hnp.arrays(
    dtype=st.sampled_from([np.float16, np.float32, np.float64, np.int64, np.uint8, np.bool_]),
    shape=hnp.array_shapes(min_dims=0, min_side=0),
)
texts = st.lists(st.text()).map(lambda items: np.array(items, dtype=object))
values = st.recursive(
    scalars | numbers | texts,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet="abc/"), inner),
    max_leaves=8,
)


def same(left: Any, right: Any) -> bool:
    """Tell whether two values are the same bit for bit."""
    if isinstance(left, np.ndarray):
        return bool(
            left.dtype == right.dtype
            and left.shape == right.shape
            and (left.tolist() == right.tolist() or left.tobytes() == right.tobytes())
        )
    if isinstance(left, dict):
        keys = list(left) == list(right)
        return keys and all(same(item, right[key]) for key, item in left.items())
    if isinstance(left, list):
        return all(same(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, float) and math.isnan(left):
        return math.isnan(right)
    return type(left) is type(right) and left == right


@given(values)
def test_a_value_comes_back_from_json_bit_for_bit(value: Any) -> None:
    text = json.dumps(encode(value), allow_nan=False)
    assert same(decode(json.loads(text)), value)


def test_a_value_that_json_cannot_hold_is_a_bug_and_says_so() -> None:
    with pytest.raises(TypeError, match="not set"):
        encode({1, 2})


def test_a_build_and_its_replay_continue_with_the_same_bits() -> None:
    build = Record()
    first = build.measured("ranges/a", lambda: {"x": [0.1, np.float32(0.3)]}, CLOSE)
    replay = Record(json.loads(json.dumps(build.values)))
    second = replay.measured("ranges/a", lambda: {"x": [0.1, 0.30001]}, CLOSE)
    assert same(first, second)
    assert replay.values == build.values


def test_a_value_outside_the_tolerance_stops_the_replay_and_names_both() -> None:
    replay = Record({"quality/int8": {"quality": 0.98}})
    with pytest.raises(
        ReplayMismatch, match=r"quality: recorded 0.98, this machine gives 0.91"
    ):
        replay.measured("quality/int8", lambda: {"quality": 0.91}, CLOSE)


@pytest.mark.parametrize(
    ("recorded", "fresh"),
    [
        (1, 1.0),
        ("a", "b"),
        ([1.0], [1.0, 1.0]),
        ({"a": 1.0}, {"b": 1.0}),
        (np.zeros(2), np.zeros(3)),
        (np.zeros(2), np.zeros(2, np.float32)),
        (np.array([0.0, np.nan]), np.zeros(2)),
        (np.array(["x"], object), np.array(["y"], object)),
        ({"a": [np.arange(3)]}, {"a": [np.array([0, 1, 3])]}),
    ],
)
def test_what_is_no_float_must_be_equal(recorded: Any, fresh: Any) -> None:
    assert EXACT(recorded, fresh) is not None
    assert EXACT(recorded, recorded) is None


def test_answers_are_compared_each_by_its_own_tolerance() -> None:
    agree = answers_within({"p": Tolerance(0.0, 0.1), "q": Tolerance(0.0, 0.0)})
    answers = {"p": np.array([0.5]), "q": np.array([0.5])}
    assert agree(answers, {**answers, "p": np.array([0.55])}) is None
    told = agree(answers, {**answers, "q": np.array([0.55])})
    assert told == "q: row 0, recorded 0.5, this machine gives 0.55"
    assert agree(answers, {"p": answers["p"]}) is not None


def test_a_replay_takes_recorded_durations_and_measures_nothing() -> None:
    replay = Record({"latency": {"float32": 12.5}})
    assert replay.durations("latency", lambda: pytest.fail("measured")) == {"float32": 12.5}


def test_a_value_asked_for_twice_is_measured_once() -> None:
    record = Record()
    record.measured("a", lambda: 1, EXACT)
    assert record.measured("a", lambda: pytest.fail("measured"), EXACT) == 1


def test_a_replay_of_another_build_is_refused_by_its_keys() -> None:
    with pytest.raises(ReplayMismatch, match="the report does not hold it"):
        Record({}).measured("a", lambda: 1, EXACT)
    with pytest.raises(ReplayMismatch, match="has no use for it"):
        Record({"a": 1}).check_all_used()
    Record().check_all_used()


@pytest.mark.parametrize(
    "damaged",
    [
        {"$array": "!!!", "dtype": "float32", "shape": [1]},
        {"$array": "", "dtype": "no", "shape": [1]},
        {"$array": "AAAA", "dtype": "uint8", "shape": [7]},
        {"$array": "AAAA"},
        {"$float": "x"},
        "text",
        None,
    ],
)
def test_a_damaged_report_is_named_and_not_a_traceback(damaged: Any) -> None:
    with pytest.raises(ReplayMismatch):
        Record({"a": damaged}).measured("a", lambda: np.zeros(1), EXACT)
    with pytest.raises(ReplayMismatch):
        Record({"a": damaged}).durations("a", dict)


def test_a_fingerprint_tells_inputs_apart_but_not_the_order_of_names() -> None:
    x, y = np.zeros(3, np.float32), np.array(["a"], dtype=object)
    assert fingerprint({"x": x, "y": y}) == fingerprint({"y": y, "x": x})
    other = [
        {"x": x + 1},
        {"x": x.astype(np.float64)},
        {"z": x},
        {"x": x[:2]},
        {"x": x, "y": y},
    ]
    marks = [fingerprint({"x": x}), *map(fingerprint, other), fingerprint(b"x", "")]
    assert len(set(marks)) == len(marks)


def test_a_large_array_has_the_fingerprint_of_its_bytes_however_it_lies() -> None:
    x = np.arange(5 << 20, dtype=np.float32).reshape(5, 1 << 10, -1)
    marks = {
        fingerprint({"x": array})
        for array in (x, x.copy(order="F"), x.astype(">f4"), np.repeat(x, 2, axis=0)[::2])
    }
    assert len(marks) == 1
    assert marks != {fingerprint({"x": x.reshape(5, -1)})}
    assert fingerprint({"x": np.float32(1).reshape(())}) != fingerprint({"x": np.ones(1)})


# --- what only some machine can tell -------------------------------------------------------


def test_a_replay_takes_what_another_machine_told_and_measures_nothing() -> None:
    build = Record()
    assert build.taken("memory", lambda: 5, lambda _: True) == 5
    assert build.knows("memory")
    replay = Record(build.values)
    assert not replay.knows("memory")
    assert replay.taken("memory", lambda: 1 // 0, lambda _: True) == 5
    with pytest.raises(ReplayMismatch, match="does not hold it"):
        replay.taken("other", lambda: 5, lambda _: True)


@pytest.mark.parametrize("damaged", ["five", {"$array": 3}, {"$float": "x"}])
def test_a_taken_value_of_another_kind_is_a_damaged_report(damaged: Any) -> None:
    with pytest.raises(ReplayMismatch):
        Record({"memory": damaged}).taken("memory", lambda: 5, lambda one: type(one) is int)
