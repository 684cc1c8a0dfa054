"""Which columns and inputs a fitted model gets, from itself and from the data's kinds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingClassifier
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from packager.errors import ColumnMissing, ConversionFailed, DataUnusable
from packager.sources.sklearn.columns import Plan, plan_columns, walk

FRAME = pd.DataFrame(
    {
        "plan": np.array(["basic", "pro", "basic", np.nan] * 5, dtype=object),
        "zip": np.array([10115, 80331, 20095, 10115] * 5),
        "age": np.linspace(20, 70, 20),
        "note": np.array(["good", "bad", "very good", "so so"] * 5, dtype=object),
    }
)
KINDS = {"plan": "text", "zip": "integer", "age": "float", "note": "text"}
TARGET = [0, 1] * 10


def kinds_in(plan: Plan) -> dict[str, str]:
    return {column.name: column.kind for column in plan.columns}


def table() -> ColumnTransformer:
    return ColumnTransformer(
        [
            ("codes", OneHotEncoder(), ["zip"]),
            (
                "plans",
                make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()),
                [0],
            ),
            ("words", TfidfVectorizer(), "note"),
        ],
        remainder="passthrough",
    )


@pytest.mark.parametrize("kinds", [None, KINDS], ids=["from the model", "with data"])
def test_learned_categories_decide_the_kind(kinds: dict[str, str] | None) -> None:
    plan = plan_columns(make_pipeline(table(), LogisticRegression()).fit(FRAME, TARGET), kinds)

    assert kinds_in(plan) == KINDS
    assert [spec.text() for spec in plan.inputs] == [
        "string[?, 1]",
        "int64[?, 1]",
        "float32[?, 1]",
        "string[?, 1]",
    ]
    assert plan.layout == "frame"


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: GridSearchCV(model, {"logisticregression__C": [1.0]}, cv=2),
        lambda model: CalibratedClassifierCV(model, cv=2),
        lambda model: VotingClassifier([("only", model)]),
        lambda model: make_pipeline(FeatureUnion([("a", model[0])]), LogisticRegression()),
    ],
    ids=["search", "calibrated", "voting", "union"],
)
def test_what_wrapped_models_learned_is_found(wrap: Any) -> None:
    model = wrap(make_pipeline(table(), LogisticRegression()))

    plan = plan_columns(model.fit(FRAME, TARGET), None)

    assert kinds_in(plan) == KINDS


def test_what_a_missing_text_is_comes_from_what_was_learned() -> None:
    rows = np.array([["a", "a", "a"], [np.nan, None, ""], ["b", "b", "b"]], dtype=object)

    empties = plan_columns(OrdinalEncoder().fit(rows), None).empties

    assert np.isnan(empties["x0"])
    assert empties["x1"] is None
    assert empties["x2"] == ""


def test_dropped_columns_are_not_asked_for() -> None:
    parts = [("scale", StandardScaler(), ["age"]), ("codes", OneHotEncoder(), ["zip"])]
    model = ColumnTransformer(parts).fit(FRAME)

    plan = plan_columns(model, {"age": "float", "zip": "integer"})

    assert kinds_in(plan) == {"zip": "integer", "age": "float"}
    assert plan.names == ("plan", "zip", "age", "note")


@pytest.mark.parametrize(
    ("values", "kind", "dtype"),
    [
        (np.array([[1.5, 2.0], [3.0, 4.0]]), "float", "float32"),
        (np.array([["a", "b"], ["c", "d"]], dtype=object), "text", "string"),
        (np.array([[1, 2], [3, 4]]), "integer", "int64"),
    ],
)
def test_columns_of_one_type_share_one_matrix(values: Any, kind: str, dtype: str) -> None:
    plan = plan_columns(OrdinalEncoder().fit(values), {"left": kind, "right": kind})

    (spec,) = plan.inputs
    assert (spec.name, spec.dtype, spec.shape) == ("features", dtype, (None, 2))
    assert [(c.name, c.index, c.kind) for c in plan.columns] == [
        ("left", 0, kind),
        ("right", 1, kind),
    ]
    assert plan.layout == "matrix"


def test_a_model_without_names_takes_the_data_s_names_in_order() -> None:
    model = StandardScaler().fit(np.ones((3, 2)))

    assert [c.name for c in plan_columns(model, {"b": "float", "a": "integer"}).columns] == [
        "b",
        "a",
    ]
    assert [c.name for c in plan_columns(model, None).columns] == ["x0", "x1"]
    with pytest.raises(DataUnusable, match=r"fitted on 2 columns .* have 3: 'a', 'b', 'c'"):
        plan_columns(model, dict.fromkeys("abc", "float"))


def test_a_model_with_names_finds_them_whatever_else_the_data_have() -> None:
    model = StandardScaler().fit(FRAME[["age", "zip"]])

    plan = plan_columns(model, {**KINDS, "id": "integer"})

    assert [(c.name, c.index) for c in plan.columns] == [("age", 0), ("zip", 1)]
    with pytest.raises(ColumnMissing, match="'zip', the data have 'age'"):
        plan_columns(model, {"age": "float"})


def test_a_matrix_gives_its_columns_by_their_order() -> None:
    model = StandardScaler().fit(FRAME[["age", "zip"]])

    plan = plan_columns(model, {"x0": "float", "x1": "float"})

    assert [c.name for c in plan.columns] == ["age", "zip"]


@pytest.mark.parametrize("given", ["text", "tensor"])
def test_data_of_another_kind_than_learned_are_refused(given: str) -> None:
    model = OneHotEncoder().fit(FRAME[["zip"]])

    with pytest.raises(DataUnusable, match=f"'zip' is {given} .* as integer"):
        plan_columns(model, {"zip": given})


def test_digits_that_the_model_learned_as_text_stay_text() -> None:
    model = OneHotEncoder().fit(np.array([["007"], ["013"]], dtype=object))

    assert kinds_in(plan_columns(model, {"agent": "integer"})) == {"agent": "text"}


@pytest.mark.parametrize("vectorizer", [TfidfVectorizer(), HashingVectorizer()])
def test_a_model_of_documents_reads_one_column(vectorizer: Any) -> None:
    model = make_pipeline(vectorizer, LogisticRegression()).fit(["a good", "a bad"], [0, 1])

    plan = plan_columns(model, {"my review": "text"})

    assert [(c.name, c.kind, c.input) for c in plan.columns] == [
        ("my review", "text", "my_review")
    ]
    assert plan.layout == "documents"
    assert plan_columns(model, None).columns[0].name == "text"
    with pytest.raises(DataUnusable, match="one column of text, the data have 'a', 'b'"):
        plan_columns(model, {"a": "text", "b": "text"})


def test_a_model_that_does_not_say_what_it_reads_is_refused() -> None:
    model = StandardScaler().fit(np.ones((3, 2)))
    del model.n_features_in_

    with pytest.raises(ConversionFailed, match="neither columns of a table nor one text"):
        plan_columns(model, None)


def test_every_part_is_named_by_its_path() -> None:
    model = make_pipeline(table(), LogisticRegression()).fit(FRAME, TARGET)

    paths = [path for path, _ in walk(model)]

    assert paths[:2] == ["columntransformer", "columntransformer/codes"]
    assert "columntransformer/plans/onehotencoder" in paths
    assert paths[-1] == "logisticregression"


def test_members_that_read_other_columns_are_planned_together() -> None:
    codes = ColumnTransformer([("codes", OneHotEncoder(), ["zip"])])
    plans = ColumnTransformer(
        [("age", StandardScaler(), ["age"]), ("p", OneHotEncoder(), ["plan"])]
    )
    parts = [
        ("a", make_pipeline(codes, LogisticRegression())),
        ("b", make_pipeline(plans, LogisticRegression())),
    ]

    plan = plan_columns(VotingClassifier(parts).fit(FRAME, TARGET), KINDS)

    assert kinds_in(plan) == {"plan": "text", "zip": "integer", "age": "float"}


def test_a_column_is_asked_for_if_any_member_reads_it() -> None:
    numbers = FRAME[["zip", "age"]]
    codes = ColumnTransformer([("codes", OneHotEncoder(), ["zip"])])
    parts = [("a", make_pipeline(codes, LogisticRegression())), ("b", LogisticRegression())]

    plan = plan_columns(VotingClassifier(parts).fit(numbers, TARGET), None)

    assert kinds_in(plan) == {"zip": "integer", "age": "float"}


def test_numbers_may_enter_as_float64() -> None:
    model = make_pipeline(table(), LogisticRegression()).fit(FRAME, TARGET)

    inputs = plan_columns(model, KINDS, double=True).inputs

    assert [spec.dtype for spec in inputs] == ["string", "int64", "float64", "string"]
