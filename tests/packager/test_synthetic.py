"""Drawn rows: like the data column by column, and nobody's as a row."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
import trained
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from edge_runtime.contract.tensors import Array, TensorSpec
from packager.errors import NoGoldenRows
from packager.synthetic import COMMON, draw_rows, learned_values

NUMBER = TensorSpec("x", "float32", (None, 1))
TEXT = TensorSpec("x", "string", (None, 1))
WHOLE = TensorSpec("x", "int64", (None, 1))

# Prints drawn rows; run elsewhere with other kernels of numpy.
ELSEWHERE = """
import hashlib, numpy as np
from edge_runtime.contract.tensors import TensorSpec
from packager.synthetic import draw_rows
known = {"x": (np.arange(999.0) ** 1.7 / 7).reshape(-1, 3).astype(np.float32)}
for rows in (draw_rows([TensorSpec("x", "float32", (None, 3))], 50, known=known),
             draw_rows([TensorSpec("x", "float32", (None, 3))], 50)):
    print(hashlib.sha256(rows["x"].tobytes()).hexdigest())
"""


def column(*values: Any, dtype: Any = object) -> dict[str, Array]:
    return {"x": np.array(values, dtype=dtype).reshape(-1, 1)}


def rows_of(array: Array) -> set[bytes]:
    return {row.tobytes() for row in array}


def test_no_row_of_the_data_is_drawn_and_every_column_keeps_its_range() -> None:
    model = trained.cancer_network()
    spec = TensorSpec("features", "float32", (None, 30))
    private = [model.feed, model.calibration]
    drawn = draw_rows([spec], 96, known=model.feed, private=private)["features"]
    held = model.feed["features"]
    assert drawn.shape == (96, 30)
    assert drawn.dtype == np.float32
    assert len(rows_of(drawn)) == 96
    assert rows_of(drawn).isdisjoint(rows_of(held) | rows_of(model.calibration["features"]))
    assert (drawn >= held.min(axis=0)).all()
    assert (drawn <= held.max(axis=0)).all()
    assert np.abs(np.median(drawn, axis=0) - np.median(held, axis=0)).max() < held.std()


def test_columns_are_drawn_apart_so_that_what_belongs_together_does_not_stay_together() -> None:
    one = np.random.default_rng(0).normal(size=500).astype(np.float32)
    known = {"x": np.stack([one, 2 * one], axis=1)}
    drawn = draw_rows([TensorSpec("x", "float32", (None, 2))], 96, known=known)["x"]
    assert np.corrcoef(known["x"].T)[0, 1] > 0.99
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.3


@given(
    hnp.arrays(np.float32, (40, 2), elements=st.floats(-9, 9, width=32), unique=True),
    st.integers(1, 40),
)
def test_a_drawn_row_is_never_one_of_a_few_in_the_data(data: Array, count: int) -> None:
    spec = TensorSpec("x", "float32", (None, 2))
    drawn = draw_rows([spec], count, known={"x": data}, private=[{"x": data}])["x"]
    assert rows_of(drawn).isdisjoint(rows_of(data))


def test_a_category_is_drawn_only_where_it_stands_often_enough() -> None:
    known = column(*["often"] * COMMON, *["enough"] * COMMON, *["rare"] * (COMMON - 1))
    drawn = draw_rows([TEXT], 50, known=known, private=[known])["x"]
    assert set(drawn.ravel()) == {"often", "enough"}


def test_categories_come_from_the_graph_where_no_value_is_common() -> None:
    known = column("Ann Smith", "Bob Jones")
    learned = {"x": np.array(["basic", "pro"], dtype=object)}
    drawn = draw_rows([TEXT], 9, known=known, private=[known], learned=learned)["x"]
    assert set(drawn.ravel()) == {"basic", "pro"}


def test_text_that_nobody_else_wrote_is_replaced_by_made_up_words() -> None:
    known = column("my name is Ann", "call me at 555 0100")
    drawn = draw_rows([TEXT], 5, known=known, private=[known])["x"]
    assert drawn.dtype == object
    assert all(word.isalpha() for word in drawn.ravel())
    assert set(drawn.ravel()).isdisjoint(known["x"].ravel())


def test_a_row_that_many_share_may_be_drawn() -> None:
    known = column(*["a", "b"] * COMMON)
    assert set(draw_rows([TEXT], 9, known=known, private=[known])["x"].ravel()) == {"a", "b"}


def test_when_every_row_is_somebody_s_the_error_says_what_to_do() -> None:
    learned = {"x": np.array(["only"], dtype=object)}
    private = [column("only")]
    with pytest.raises(NoGoldenRows, match="must be nobody's rows") as caught:
        draw_rows([TEXT], 4, known=private[0], private=private, learned=learned)
    assert "--golden FILE" in caught.value.hint


def test_flags_and_counts_stay_what_they_are() -> None:
    flags = column(*[0.0, 1.0] * 50, dtype=np.float32)
    assert set(draw_rows([NUMBER], 9, known=flags)["x"].ravel()) == {0.0, 1.0}
    ages = column(*range(18, 60), dtype=np.int64)
    drawn = draw_rows([WHOLE], 30, known=ages)["x"]
    assert drawn.dtype == np.int64
    assert drawn.min() >= 18
    assert drawn.max() < 60
    encoded = draw_rows([WHOLE], 30, known=ages, learned={"x": np.array([3, 5])})["x"]
    assert set(encoded.ravel()) == {3, 5}


def test_values_are_missing_about_as_often_as_in_the_data() -> None:
    spec = TensorSpec("x", "float32", (None, 2))
    gaps = np.random.default_rng(0).normal(size=(400, 2)).astype(np.float32)
    gaps[:100, 0] = np.nan
    drawn = draw_rows([spec], 300, known={"x": gaps})["x"]
    assert 0.2 < np.isnan(drawn[:, 0]).mean() < 0.3
    assert not np.isnan(drawn[:, 1]).any()
    texts = column(*["a", "b", "c", ""] * COMMON)
    assert set(draw_rows([TEXT], 40, known=texts)["x"].ravel()) == {"a", "b", "c", ""}


def test_infinities_are_never_drawn() -> None:
    known = column(*np.linspace(0, 1, 30), np.inf, -np.inf, dtype=np.float32)
    drawn = draw_rows([NUMBER], 50, known=known)["x"]
    assert not np.isinf(drawn).any()


def test_without_data_numbers_lie_around_zero_and_shapes_are_the_graph_s() -> None:
    picture = TensorSpec("p", "float32", (None, 3, None, 4))
    flag = TensorSpec("b", "bool", (None, 1))
    drawn = draw_rows([picture, flag], 64)
    assert drawn["p"].shape == (64, 3, 1, 4)
    assert abs(drawn["p"].mean()) < 0.2
    assert 0.8 < drawn["p"].std() < 1.2
    assert drawn["b"].dtype == np.bool_
    assert set(drawn["b"].ravel()) == {False, True}


def test_images_are_patches_with_noise_and_show_nothing_of_the_data() -> None:
    spec = TensorSpec("p", "uint8", (None, 30, 22, 3))
    known = {"p": np.full((4, 30, 22, 3), 7, np.uint8)}
    drawn = draw_rows([spec], 64, known=known, private=[known])["p"]
    assert (drawn.shape, drawn.dtype) == ((64, 30, 22, 3), np.uint8)
    np.testing.assert_array_equal(drawn, draw_rows([spec], 64)["p"])
    assert drawn.min() == 0
    assert drawn.max() == 255
    spread = drawn.reshape(64, -1).mean(axis=1).std()
    assert spread > 5  # they differ as a whole, not pixel by pixel alone


def test_the_same_rows_are_drawn_with_any_kernels_and_hash_seeds(python_at: Any) -> None:
    features = "AVX2 FMA3 AVX512F AVX512_SKX"
    settings = [{}, {"PYTHONHASHSEED": "3", "NPY_DISABLE_CPU_FEATURES": features}]
    told = {
        python_at(sys.executable, setting).run("-c", ELSEWHERE).stdout for setting in settings
    }
    assert len(told) == 1


def test_categories_and_words_are_read_off_the_graph_by_input() -> None:
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": generator.normal(size=200),
            "plan": generator.choice(["basic", "pro"], 200),
            "size": generator.choice(["s", "m", "l"], 200),
            "code": generator.choice([10, 20], 200),
            "note": generator.choice(["good day", "bad day"], 200),
        }
    )
    encoders = ColumnTransformer(
        [
            ("number", StandardScaler(), ["age"]),
            ("one", OneHotEncoder(), ["plan", "size"]),
            ("code", OneHotEncoder(), ["code"]),
            ("order", OrdinalEncoder(), ["plan"]),
            ("words", TfidfVectorizer(), "note"),
        ]
    )
    model = make_pipeline(encoders, LogisticRegression()).fit(frame, frame["age"] > 0)
    texts = {name: StringTensorType([None, 1]) for name in ("plan", "size", "note")}
    kinds = {"age": FloatTensorType([None, 1]), "code": Int64TensorType([None, 1]), **texts}
    graph = to_onnx(
        model,
        initial_types=list(kinds.items()),
        options={"zipmap": False},
        target_opset=trained.OPSET,
    )
    found = {name: values.tolist() for name, values in learned_values(graph).items()}
    assert found == {
        "plan": ["basic", "pro"],
        "size": ["l", "m", "s"],
        "code": [10, 20],
        "note": ["bad", "day", "good"],
    }
