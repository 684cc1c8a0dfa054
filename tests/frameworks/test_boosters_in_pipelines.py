"""Boosters inside scikit-learn: after scalers and encoders, in searches and combinations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sources import convert, engine_answers, raw, worst_difference

from packager.errors import ConversionFailed
from packager.sources.child_source import ChildSource

xgboost = pytest.importorskip("xgboost")
lightgbm = pytest.importorskip("lightgbm")
catboost = pytest.importorskip("catboost")

NUMBERS = ["age", "my weight", "größe", "d"]


def _table(rows: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    values = random.normal(loc=50, scale=20, size=(rows, len(NUMBERS)))
    values[random.random(values.shape) < 0.1] = np.nan
    places = random.choice(["Köln", "大阪", "", "Bonn"], size=rows)
    return pd.DataFrame(values, columns=NUMBERS).assign(place=places.astype(object))


ROWS = _table(500, 0)
HELD_OUT = _table(400, 1).replace("Bonn", "nowhere")
SCORE = (
    ROWS["age"].fillna(50) + ROWS["my weight"].fillna(50) / 2 + 9 * (ROWS["place"] == "大阪")
)
TWO = (SCORE.median() < SCORE).astype(int)
THREE = TWO + (SCORE.quantile(0.8) < SCORE)

CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "xgboost": lambda: xgboost.XGBClassifier(n_estimators=15, max_depth=4),
    "lightgbm": lambda: lightgbm.LGBMClassifier(n_estimators=15, verbose=-1),
    "catboost": lambda: catboost.CatBoostClassifier(
        iterations=15, depth=4, verbose=0, allow_writing_files=False
    ),
}
REGRESSORS: dict[str, Callable[[], Any]] = {
    "xgboost": lambda: xgboost.XGBRegressor(n_estimators=15),
    "lightgbm": lambda: lightgbm.LGBMRegressor(n_estimators=15, verbose=-1),
    "catboost": lambda: catboost.CatBoostRegressor(
        iterations=15, verbose=0, allow_writing_files=False
    ),
}
LIBRARIES = list(CLASSIFIERS)


def agree(source: ChildSource, rows: pd.DataFrame = HELD_OUT) -> None:
    """Require the graph's answers to be the source's, on rows that it never saw."""
    graph = convert(source, rows).accepting_missing(list(rows))
    expected = source.reference(raw(rows))
    for values in expected.values():
        assert len(np.unique(values)) > 1
    sizes = [float(np.abs(v).max()) for v in expected.values() if v.dtype.kind == "f"]
    distance = worst_difference(expected, engine_answers(graph, raw(rows)))
    assert distance < 1e-6 * max(1, *sizes)


def prepared(last: Any) -> Pipeline:
    scaled = make_pipeline(SimpleImputer(), StandardScaler())
    encoder = OneHotEncoder(handle_unknown="ignore")
    parts = [("numbers", scaled, NUMBERS), ("place", encoder, ["place"])]
    return make_pipeline(ColumnTransformer(parts), last)


@pytest.mark.parametrize("library", LIBRARIES)
def test_after_imputers_scalers_and_encoders(
    pickled: Callable[[Any], ChildSource], library: str
) -> None:
    agree(pickled(prepared(CLASSIFIERS[library]()).fit(ROWS, THREE)))
    agree(pickled(prepared(REGRESSORS[library]()).fit(ROWS, SCORE)))


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_scaler_moves_no_row_over_a_threshold(
    pickled: Callable[[Any], ChildSource], library: str
) -> None:
    """Rows of few values meet the thresholds of a scaled column again and again."""
    rows = ROWS[NUMBERS].round()
    model = make_pipeline(StandardScaler(), CLASSIFIERS[library]()).fit(rows, THREE)
    agree(pickled(model), pd.concat([rows, HELD_OUT[NUMBERS].round(), rows + 0.5]))


@pytest.mark.parametrize("library", LIBRARIES)
def test_in_searches_inside_and_outside(
    pickled: Callable[[Any], ChildSource], library: str
) -> None:
    inside = GridSearchCV(CLASSIFIERS[library](), {"learning_rate": [0.1, 0.4]}, cv=2)
    agree(pickled(prepared(inside).fit(ROWS, TWO)))
    outside = GridSearchCV(prepared(CLASSIFIERS[library]()), {}, cv=2)
    agree(pickled(outside.fit(ROWS, TWO)))
    alone = GridSearchCV(CLASSIFIERS[library](), {"learning_rate": [0.1, 0.4]}, cv=2)
    agree(pickled(alone.fit(ROWS[NUMBERS].to_numpy(), TWO)), HELD_OUT[NUMBERS])


@pytest.mark.parametrize("library", LIBRARIES)
def test_calibrated_and_one_against_the_rest(
    pickled: Callable[[Any], ChildSource], library: str
) -> None:
    calibrated = CalibratedClassifierCV(CLASSIFIERS[library](), cv=2)
    agree(pickled(prepared(calibrated).fit(ROWS, TWO)))
    rest = OneVsRestClassifier(CLASSIFIERS[library]())
    agree(pickled(prepared(rest).fit(ROWS, THREE)))


def test_several_libraries_vote_and_stand_on_each_other(
    pickled: Callable[[Any], ChildSource],
) -> None:
    members = [(library, CLASSIFIERS[library]()) for library in ("xgboost", "lightgbm")]
    agree(pickled(prepared(VotingClassifier(members, voting="soft")).fit(ROWS, THREE)))
    stacked = StackingClassifier(members, LogisticRegression(), cv=2)
    agree(pickled(prepared(stacked).fit(ROWS, TWO)))
    last = StackingClassifier([("line", LogisticRegression())], members[0][1], cv=2)
    agree(pickled(prepared(last).fit(ROWS, TWO)))


def test_what_is_refused_alone_is_refused_by_the_same_cause_inside(
    pickled: Callable[[Any], ChildSource],
) -> None:
    linear = xgboost.XGBRegressor(booster="gblinear")
    source = pickled(prepared(linear).fit(ROWS, SCORE))
    with pytest.raises(ConversionFailed, match=r"xgbregressor has no exact form.*gblinear"):
        convert(source, HELD_OUT)
    last = source.diagnose()[-1]
    assert (last["class"], last["verdict"]) == ("XGBRegressor", "refused")
    assert "gblinear" in last["why"]
