"""XGBoost's models in the child: opening their files, and reading the rule out of them.

The rule is read from the model's own JSON, whose numbers are exact. Formulas: XGBoost's
documentation of its parameters, and ``src/objective`` of its sources.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from packager.errors import SourceUnreadable
from packager.sources.boosters.trees import Ensemble, Trees, refused
from packager.sources.extras import need

_IDENTITY = frozenset(
    {
        "reg:squarederror",
        "reg:squaredlogerror",
        "reg:pseudohubererror",
        "reg:absoluteerror",
        "reg:quantileerror",
        "reg:linear",
        "rank:pairwise",
        "rank:ndcg",
        "rank:map",
    }
)
_EXP = frozenset({"count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft"})
_SIGMOID = frozenset({"binary:logistic", "reg:logistic"})
_SOFTMAX = frozenset({"multi:softprob", "multi:softmax"})
_TREES = ("gbtree", "dart")
_PLACE = re.compile(r"^\[[0-9:]+\] \S+:\d+: ")


def open_file(path: Path) -> Any:
    """Open a file that ``save_model`` wrote, as the estimator that answers as it does.

    Raises:
        HostExtraMissing: when XGBoost is not installed.
        SourceUnreadable: when the file holds none of its models.
    """
    xgboost = need("xgboost", "xgboost")
    booster = xgboost.Booster()
    try:
        booster.load_model(str(path))
    except (xgboost.core.XGBoostError, ValueError, TypeError) as error:
        raise SourceUnreadable(
            f"{path.name} must hold an XGBoost model: {_first_line(error)}",
            hint="Save it again with model.save_model('model.ubj').",
            expected="an XGBoost model",
            found=_first_line(error),
        ) from None
    return estimator_of(booster)


def estimator_of(model: Any) -> Any:
    """Return the estimator of a booster or a ranker; any other estimator as it is.

    A booster that no estimator saved uses all its rounds, also after early stopping.
    """
    xgboost = need("xgboost", "xgboost")
    ranks = isinstance(model, xgboost.XGBRanker)
    if isinstance(model, xgboost.XGBModel) and not ranks:
        return model
    booster = model.get_booster() if ranks else model
    if not ranks and booster.attr("scikit_learn") is None:
        booster.set_attr(best_iteration=None, best_score=None)
    objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
    classifies = objective.startswith(("binary:", "multi:"))
    estimator = (xgboost.XGBClassifier if classifies else xgboost.XGBRegressor)()
    estimator.load_model(booster.save_raw("ubj"))
    return estimator


def feature_names(estimator: Any) -> tuple[str, ...]:
    """Return the names that it learned; none where it was fitted on bare numbers."""
    return tuple(map(str, estimator.get_booster().feature_names or ()))


def objective_of(estimator: Any) -> str:
    """Return what it was trained for."""
    return str(_learner(estimator.get_booster())["objective"]["name"])


def ensemble_of(estimator: Any) -> Ensemble:
    """Read the rule of an estimator.

    Raises:
        ConversionFailed: naming what has no faithful form.
    """
    booster = estimator.get_booster()
    _check_kind(estimator, _learner(booster))
    best = getattr(estimator, "best_iteration", None)
    learner = _learner(booster if best is None else booster[: best + 1])
    link = _link(estimator, learner["objective"]["name"])
    gradient = learner["gradient_booster"]
    model = gradient.get("gbtree", gradient)["model"]
    factors = gradient.get("weight_drop", [1.0] * len(model["trees"]))
    trees = Trees()
    for number, tree in enumerate(model["trees"]):
        _add(trees, number, tree, (model["tree_info"][number], factors[number]))
    told = learner["learner_model_param"]
    sums = max(1, int(told["num_class"]), int(told["num_target"]))
    missing = getattr(estimator, "missing", math.nan)
    return Ensemble(
        trees=trees,
        base=_base(told["base_score"], link, sums),
        double=False,
        link=link,
        empty=math.nan if missing is None else float(missing),
    )


def width_of(estimator: Any) -> int:
    """Return how many numbers it answers a row as a regressor."""
    return int(_learner(estimator.get_booster())["learner_model_param"]["num_target"])


def _learner(booster: Any) -> Mapping[str, Any]:
    learner: Mapping[str, Any] = json.loads(booster.save_raw("json"))["learner"]
    return learner


def _check_kind(estimator: Any, learner: Mapping[str, Any]) -> None:
    kind = learner["gradient_booster"]["name"]
    if kind not in _TREES:
        raise refused(estimator, f"its booster is {kind}, which has no trees")
    if "c" in learner.get("feature_types", ()):
        raise refused(estimator, "it splits on categories (enable_categorical)")
    model = learner["gradient_booster"]
    trees = model.get("gbtree", model)["model"]["trees"]
    if not trees:
        raise refused(estimator, "it holds no tree", "Train it for at least one round.")
    if hasattr(estimator, "classes_") and int(learner["learner_model_param"]["num_target"]) > 1:
        raise refused(estimator, "it answers several labels a row", "Train one model a label.")
    if any(int(tree["tree_param"]["size_leaf_vector"]) > 1 for tree in trees):
        raise refused(estimator, "its leaves hold several targets (multi_output_tree)")


def _link(estimator: Any, objective: str) -> str:
    for names, link in (
        (_IDENTITY, "identity"),
        (_EXP, "exp"),
        (_SIGMOID, "sigmoid"),
        (_SOFTMAX, "softmax"),
    ):
        if objective in names:
            return link
    raise refused(estimator, f"its objective {objective!r} is none whose answers are known")


def _base(told: str, link: str, sums: int) -> tuple[float, ...]:
    """Return what each sum starts from; XGBoost stores it as an answer."""
    scores = np.atleast_1d(np.array(json.loads(told), dtype=np.float32))
    if link == "sigmoid":
        scores = -np.log(np.float32(1) / scores - np.float32(1))
    elif link == "exp":
        scores = np.log(scores)
    return tuple(np.resize(scores, sums).astype(np.float64).tolist())


def _add(trees: Trees, number: int, tree: Mapping[str, Any], what: tuple[int, float]) -> None:
    """Add the nodes that can be reached: pruned ones stay behind in the arrays."""
    target, factor = what
    for node in _reached(tree["left_children"], tree["right_children"]):
        place = number, node
        value = tree["split_conditions"][node]
        if tree["left_children"][node] < 0:
            weight = float(np.float32(value) * np.float32(factor))
            trees.leaf(place, [(target, weight)])
            continue
        test = tree["split_indices"][node], "BRANCH_LT", value
        ways = tree["left_children"][node], tree["right_children"][node]
        trees.split(place, test, ways, missing=bool(tree["default_left"][node]))


def _reached(left: Sequence[int], right: Sequence[int]) -> Iterator[int]:
    waiting = [0]
    while waiting:
        node = waiting.pop()
        yield node
        if left[node] >= 0:
            waiting += [right[node], left[node]]


def _first_line(error: Exception) -> str:
    """Return what it says, without the places in its sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return _PLACE.sub("", lines[0]) if lines else type(error).__name__
