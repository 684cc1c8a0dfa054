"""LightGBM's models in the child: opening their files, and reading the rule out of them.

Formulas: ``include/LightGBM/tree.h`` and ``src/objective`` of its sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from edge_runtime.contract.tensors import Array
from packager.errors import SourceUnreadable
from packager.sources.boosters.trees import Ensemble, Trees, refused
from packager.sources.extras import need

_LINKS = {
    "regression": "identity",
    "regression_l1": "identity",
    "huber": "identity",
    "fair": "identity",
    "quantile": "identity",
    "mape": "identity",
    "lambdarank": "identity",
    "rank_xendcg": "identity",
    "poisson": "exp",
    "gamma": "exp",
    "tweedie": "exp",
    "binary": "sigmoid",
    "multiclassova": "sigmoid",
    "cross_entropy": "sigmoid",
    "cross_entropy_lambda": "softplus",
    "multiclass": "softmax",
}
_CLASSIFY = frozenset({"binary", "multiclass", "multiclassova"})
_UNNAMED = "Column_"
_CUSTOM = "custom"
_END = b"\nend of trees\n"


class LightgbmRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A bare booster as a regressor.

    Attributes:
        booster_library: whose it is.
        booster_: it.
        n_features_in_: how many features it reads.
    """

    booster_library = "lightgbm"

    def __init__(self, booster: Any = None) -> None:
        self.booster = booster
        self.booster_ = booster
        self.n_features_in_ = booster.num_feature()

    def predict(self, rows: Array) -> Array:
        """Return the booster's own answers."""
        return np.asarray(self.booster_.predict(rows))


class LightgbmClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A bare booster as a classifier; its labels are the numbers of its classes.

    Attributes:
        booster_library: whose it is.
        booster_: it.
        n_features_in_: how many features it reads.
        classes_: its labels.
    """

    booster_library = "lightgbm"

    def __init__(self, booster: Any = None) -> None:
        self.booster = booster
        self.booster_ = booster
        self.n_features_in_ = booster.num_feature()
        self.classes_ = np.arange(max(2, booster.num_model_per_iteration()))

    def predict_proba(self, rows: Array) -> Array:
        """Return the booster's own probabilities, a column a class."""
        found = np.asarray(self.booster_.predict(rows))
        return found if found.ndim > 1 else np.stack([1 - found, found], axis=1)

    def predict(self, rows: Array) -> Array:
        """Return the most probable class, the first of equals."""
        return np.asarray(self.classes_[self.predict_proba(rows).argmax(axis=1)])


def open_file(path: Path) -> Any:
    """Open a file that ``save_model`` wrote, as the estimator that answers as it does.

    Raises:
        HostExtraMissing: when LightGBM is not installed.
        SourceUnreadable: when the file holds none of its models.
    """
    lightgbm = need("lightgbm", "lightgbm")
    text = path.read_bytes()  # the parser ends the process where a file is cut off
    if not text.startswith(b"tree\n") or _END not in text:
        raise _no_model(path, f"no line {_END.strip().decode()!r} after a first line 'tree'")
    try:
        booster = lightgbm.Booster(model_file=str(path))
    except (lightgbm.basic.LightGBMError, ValueError) as error:
        raise _no_model(path, str(error)) from None
    return estimator_of(booster)


def _no_model(path: Path, found: str) -> SourceUnreadable:
    return SourceUnreadable(
        f"{path.name} must hold a LightGBM model: {found}",
        hint="Save it again with booster.save_model('model.txt').",
        expected="a LightGBM model",
        found=found,
    )


def estimator_of(model: Any) -> Any:
    """Return the estimator of a bare booster or a ranker; any other estimator as it is."""
    ranks = type(model).__name__ == "LGBMRanker"
    if hasattr(model, "booster_") and not ranks:
        return model
    booster = model.booster_ if ranks else model
    objective = _objective(booster.dump_model(num_iteration=1))
    return (LightgbmClassifier if objective in _CLASSIFY else LightgbmRegressor)(booster)


def feature_names(estimator: Any) -> tuple[str, ...]:
    """Return the names that it learned; none where it was fitted on bare numbers."""
    names = tuple(map(str, estimator.booster_.feature_name()))
    return () if names == tuple(f"{_UNNAMED}{i}" for i in range(len(names))) else names


def objective_of(estimator: Any) -> str:
    """Return what it was trained for."""
    return _objective(estimator.booster_.dump_model(num_iteration=1))


def ensemble_of(estimator: Any) -> Ensemble:
    """Read the rule of an estimator.

    Raises:
        ConversionFailed: naming what has no faithful form.
    """
    told = estimator.booster_.dump_model()
    link, slope = _link(estimator, told)
    if told.get("pandas_categorical"):
        raise refused(estimator, "it splits on categories of a data frame")
    sums = told["num_tree_per_iteration"]
    rounds = len(told["tree_info"]) // sums
    if not rounds:
        raise refused(estimator, "it holds no tree", "Train it for at least one round.")
    share = 1 / rounds if told["average_output"] else 1.0
    trees = Trees()
    for number, tree in enumerate(told["tree_info"]):
        _add(estimator, trees, number, tree, (number % sums, share))
    return Ensemble(trees, (0.0,) * sums, double=True, link=link, slope=slope)


def _objective(told: Mapping[str, Any]) -> str:
    return str(told.get("objective", "")).partition(" ")[0]


def _link(estimator: Any, told: Mapping[str, Any]) -> tuple[str, float]:
    """Return the link and its slope, from a text such as ``binary sigmoid:1``."""
    name, *words = str(told.get("objective", "")).split() or [_CUSTOM]
    if name == _CUSTOM and not hasattr(estimator, "classes_"):
        return "identity", 1.0
    if name == _CUSTOM:
        raise refused(estimator, "its objective is a function, so it answers no classes")
    if name not in _LINKS:
        raise refused(estimator, f"its objective {name!r} is none whose answers are known")
    if "sqrt" in words:
        return "signed square", 1.0
    slope = next((float(word[8:]) for word in words if word.startswith("sigmoid:")), 1.0)
    return _LINKS[name], slope


def _add(
    estimator: Any,
    trees: Trees,
    number: int,
    tree: Mapping[str, Any],
    what: tuple[int, float],
) -> None:
    target, share = what
    waiting = [(0, tree["tree_structure"])]
    known = 1
    while waiting:
        name, node = waiting.pop()
        if "leaf_features" in node or "leaf_coeff" in node:
            raise refused(estimator, "its leaves hold linear models (linear_tree)")
        if "split_feature" not in node:
            trees.leaf((number, name), [(target, node["leaf_value"] * share)])
            continue
        test = node["split_feature"], "BRANCH_LEQ", float(_threshold(estimator, node))
        trees.split((number, name), test, (known, known + 1), missing=_missing(estimator, node))
        waiting += [(known + 1, node["right_child"]), (known, node["left_child"])]
        known += 2


def _threshold(estimator: Any, node: Mapping[str, Any]) -> Any:
    if node["decision_type"] != "<=":
        raise refused(estimator, "it splits on categories (categorical_feature)")
    return node["threshold"]


def _missing(estimator: Any, node: Mapping[str, Any]) -> bool:
    """Tell whether a row without a value goes left.

    A split that saw none in training reads NaN as 0.
    """
    if node["missing_type"] == "Zero":
        raise refused(estimator, "it takes zeros for missing values (zero_as_missing)")
    if node["missing_type"] == "NaN":
        return bool(node["default_left"])
    return float(node["threshold"]) >= 0


def width_of(_: Any) -> int:
    """Return how many numbers it answers a row as a regressor."""
    return 1
