"""Every fitted part of a model is found, and exchanged in copies alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from packager.sources.sklearn.parts import (
    every_part,
    exchanged,
    last_step,
    members,
    of_trees,
)

X = np.arange(80.0).reshape(40, 2)
Y = np.arange(40) % 2


def paths(model: Any) -> list[str]:
    return [path for path, _ in every_part(model)]


def nested() -> Any:
    columns = ColumnTransformer(
        [("a", make_pipeline(StandardScaler()), [0])], remainder="passthrough"
    )
    votes = VotingClassifier([("lr", LogisticRegression()), ("rf", RandomForestClassifier(3))])
    return make_pipeline(FeatureUnion([("c", columns), ("s", MinMaxScaler())]), votes).fit(X, Y)


def test_parts_are_named_by_their_paths() -> None:
    assert paths(nested()) == [
        "",
        "featureunion",
        "featureunion/c",
        "featureunion/c/a",
        "featureunion/c/a/standardscaler",
        "featureunion/c/remainder",
        "featureunion/s",
        "votingclassifier",
        "votingclassifier/lr",
        "votingclassifier/rf",
    ]


def test_members_without_names_are_numbered() -> None:
    bag = BaggingClassifier(LogisticRegression(), 2).fit(X, Y)
    calibrated = CalibratedClassifierCV(LogisticRegression(), cv=2).fit(X, Y)

    assert paths(bag) == ["", "LogisticRegression[0]", "LogisticRegression[1]"]
    assert "_CalibratedClassifier[1]/LogisticRegression" in paths(calibrated)


def test_every_kind_of_holder_is_opened() -> None:
    search = GridSearchCV(LogisticRegression(), {"C": [1]}, cv=2).fit(X, Y)
    stack = StackingClassifier([("lr", LogisticRegression())], cv=2).fit(X, Y)
    target = TransformedTargetRegressor(Ridge()).fit(X, Y)

    assert paths(search) == ["", "LogisticRegression"]
    assert paths(stack) == ["", "lr", "LogisticRegression"]
    assert paths(target) == ["", "Ridge"]


def test_selectors_and_ensembles_of_trees_are_one_part() -> None:
    selector = SelectFromModel(RandomForestClassifier(3)).fit(X, Y)
    boosting = GradientBoostingClassifier(n_estimators=3).fit(X, Y)

    assert paths(selector) == [""]
    assert paths(boosting) == [""]
    assert of_trees(boosting)
    assert len(members(boosting)) == 3


def test_a_forest_in_a_vote_does_not_make_the_vote_one_of_trees() -> None:
    votes = VotingClassifier([("rf", RandomForestClassifier(3))]).fit(X, Y)

    assert not of_trees(votes)
    assert of_trees(votes.estimators_[0])
    assert of_trees(DecisionTreeClassifier().fit(X, Y))
    assert not of_trees(LogisticRegression().fit(X, Y))


def test_exchanging_leaves_the_model_as_it_is() -> None:
    model = nested()
    before = [id(part) for _, part in every_part(model)]
    replacement = StandardScaler().fit(X)

    def change(path: str, part: Any) -> Any:
        return replacement if path == "featureunion/s" else part

    new = exchanged(model, change)

    assert [id(part) for _, part in every_part(model)] == before
    assert dict(every_part(new))["featureunion/s"] is replacement
    assert last_step(new) is last_step(model)  # what did not change is shared


def test_a_model_without_changes_is_itself() -> None:
    model = nested()

    assert exchanged(model, lambda _, part: part) is model
