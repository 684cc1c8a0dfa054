"""What is mended so that a graph answers as its scikit-learn model does, and what cannot be.

Each entry is known by what the fitted part holds. The doctor reads both tables without
converting; the converter carries out the first and raises from the second.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.feature_selection import SelectorMixin
from sklearn.pipeline import Pipeline

from packager.errors import ConversionFailed
from packager.sources.boosters.converters import cause_of as booster_cause
from packager.sources.sklearn import causes
from packager.sources.sklearn.formless import FORMLESS
from packager.sources.sklearn.inverses import invertible
from packager.sources.sklearn.parts import every_part, exchanged, exchanged_inside, last_step
from packager.sources.sklearn.precision import why_double, with_casts
from packager.sources.sklearn.text import is_vectorizer, refused_words


@dataclass(frozen=True)
class Repair:
    """One thing that is mended.

    Attributes:
        why: what is done and for whose sake, as a sentence without a full stop.
        applies: whether a fitted part needs it.
        instead: what stands in the part's place in the copy that is converted; None where a
            converter or an option of its own does it.
    """

    why: str
    applies: Callable[[Any], bool]
    instead: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class Refusal:
    """One thing that no graph can do exactly.

    Attributes:
        cause: what a fitted part has that cannot be, None where it has no such thing.
        hint: what to change.
    """

    cause: Callable[[Any], str | None]
    hint: str


@dataclass(frozen=True)
class Prepared:
    """A model as the converter takes it.

    Attributes:
        model: the copy to convert; it shares what did not have to change.
        repairs: what was mended, a sentence each.
    """

    model: Any
    repairs: tuple[str, ...]


def applicable(estimator: Any) -> list[tuple[str, str]]:
    """Return what will be mended in a fitted estimator: the part's path, and a sentence."""
    model, found = _unwrapped(estimator)
    found += [
        (path, repair.why)
        for path, part in every_part(model)
        for repair in REPAIRS
        if repair.applies(part)
    ]
    precision = why_double(model)
    return [*found, *([("", precision)] if precision else [])]


def refusals(estimator: Any) -> list[tuple[str, str]]:
    """Return what a fitted estimator has that no graph does exactly: path and cause."""
    return [(path, cause) for path, cause, _ in _refused(_unwrapped(estimator)[0])]


def reads_double(estimator: Any) -> bool:
    """Tell whether the graph of a fitted estimator reads float64."""
    return why_double(_unwrapped(estimator)[0]) is not None


def prepare(estimator: Any) -> Prepared:
    """Return a copy of a fitted estimator that converts to what the estimator answers.

    Raises:
        ConversionFailed: when it has something that no graph does exactly.
    """
    model, _ = _unwrapped(estimator)
    for path, cause, hint in _refused(model):
        part = path or type(model).__name__
        raise ConversionFailed(
            f"{part} has no exact form in ONNX: {cause}",
            hint=hint,
            expected="a form in ONNX",
            found=cause,
            part=part,
        )
    told = tuple(dict.fromkeys(why for _, why in applicable(estimator)))
    double = why_double(model) is not None
    model = exchanged(model, _instead)
    return Prepared(with_casts(model) if double else model, told)


def _refused(model: Any) -> list[tuple[str, str, str]]:
    return [
        (path, cause, refusal.hint)
        for path, part in every_part(model)
        for refusal in REFUSALS
        if (cause := refusal.cause(part)) is not None
    ]


# --- what only wraps the model that answers ------------------------------------------------


def _unwrapped(model: Any) -> tuple[Any, list[tuple[str, str]]]:
    """Take off what only wraps a fitted model, until nothing does."""
    found: list[tuple[str, str]] = []

    def change(path: str, part: Any) -> Any:
        for repair in WRAPPERS:
            if repair.instead and repair.applies(part):
                found.append((path, repair.why))
                return exchanged(repair.instead(part), change, path)
        return part

    model = exchanged(model, change)
    last = last_step(model)
    if not (isinstance(last, SelectorMixin) and hasattr(last, "predict")):
        return model, found
    found.append(("", "the estimator that chose the features answers on those it chose"))
    both = Pipeline([("select", last), ("answer", last.estimator_)])
    return exchanged(model, lambda _, part: both if part is last else part), found


def _has(attribute: str) -> Callable[[Any], bool]:
    return lambda part: hasattr(part, attribute)


def _named(*names: str) -> Callable[[Any], bool]:
    return lambda part: type(part).__name__ in names


WRAPPERS = (
    Repair(
        "the estimator that the search found is converted",
        _has("best_estimator_"),
        lambda part: part.best_estimator_,
    ),
    Repair(
        "the frozen estimator itself is converted",
        _named("FrozenEstimator"),
        lambda part: part.estimator,
    ),
    Repair(
        "the estimator that self-training fitted last is converted",
        _named("SelfTrainingClassifier"),
        lambda part: part.estimator_,
    ),
)


# --- repairs -------------------------------------------------------------------------------


def _instead(path: str, part: Any) -> Any:
    new = part
    for repair in REPAIRS:
        if repair.instead and repair.applies(new):
            new = repair.instead(new)
    return new if new is part else exchanged_inside(new, _instead, path)


def _votes(part: Any) -> bool:
    return hasattr(part, "flatten_transform") or isinstance(
        getattr(part, "weights", None), list
    )


def _with_array(part: Any) -> Any:
    """Return a copy of a voting model with what the converter takes."""
    new = copy.copy(part)
    if hasattr(new, "flatten_transform"):
        new.flatten_transform = False  # concerns transform alone; True is not implemented
    if new.weights is not None:
        new.weights = np.asarray(new.weights)  # the converter asks a list for its sum()
    return new


def _with_dense_rows(part: Any) -> Any:
    new = copy.copy(part)
    new._fit_X = part._fit_X.toarray()
    return new


def _thresholded(part: Any) -> bool:
    return hasattr(part, "best_threshold_") or (
        hasattr(part, "_get_response_method") and hasattr(part, "pos_label")
    )


def _inverts(part: Any) -> bool:
    return hasattr(part, "regressor_") and hasattr(part, "transformer_")


def _isotonic(part: Any) -> bool:
    return hasattr(part, "calibrated_classifiers_") and part.method == "isotonic"


def _tempered(part: Any) -> bool:
    return hasattr(part, "calibrated_classifiers_") and part.method == "temperature"


def _sublinear(part: Any) -> bool:
    return bool(getattr(part, "sublinear_tf", False))


def _largest(part: Any) -> bool:
    return getattr(part, "norm", None) == "max" and not hasattr(part, "idf_")


def _fills(part: Any) -> bool:
    return hasattr(part, "statistics_") and causes.fills_nan(part)


def _decides(part: Any) -> bool:
    members = getattr(part, "estimators_", None)
    rest = type(part).__name__ == "OneVsRestClassifier"
    return rest and any(hasattr(member, "decision_function") for member in members or ())


def _one_pair(part: Any) -> bool:
    return hasattr(part, "pairwise_indices_") and len(part.classes_) == causes.BINARY


REPAIRS = (
    Repair("a voting model's weights are given as an array", _votes, _with_array),
    Repair("missing values go where the trees learned to send them", causes.learned_missing),
    Repair("added the exp that the loss of the boosted trees needs", causes.logarithmic),
    Repair("the threshold decides inside the graph", _thresholded),
    Repair("added the inverse of the target's transformation", _inverts),
    Repair("distances to the neighbours come from one operator", causes.euclidean),
    Repair("neighbours are kept as a dense matrix", causes.keeps_sparse_rows, _with_dense_rows),
    Repair("neighbours weigh by their distance", causes.weighs_by_distance),
    Repair(
        "texts are cut into the same words in Unicode, by a locale that devices have",
        is_vectorizer,
    ),
    Repair("term frequencies grow with the logarithm of counts above 0", _sublinear),
    Repair("rows are divided by their largest absolute value", _largest),
    Repair("missing values are filled by operators of any precision, marks included", _fills),
    Repair("isotonic calibration is read off the lines between its points", _isotonic),
    Repair("the temperature scales the scores inside the graph", _tempered),
    Repair("the best score decides, as break_ties asks", causes.breaks_ties),
    Repair("scores decide, which probabilities may hide", causes.hides_decision),
    Repair("the members' decisions decide, not their probabilities", _decides),
    Repair("the only pair of classes is scored as in scikit-learn", _one_pair),
    Repair("the bag's members vote one by one", causes.by_votes),
)


# --- refusals ------------------------------------------------------------------------------


def _categories(part: Any) -> str | None:
    known = getattr(part, "is_categorical_", None)
    if not hasattr(part, "_predictors") or known is None or not np.any(known):
        return None
    count = int(np.sum(known))
    return (
        f"{count} categorical feature{'s' * (count > 1)} decided by sets of categories, "
        "for which the tree operator has no comparison"
    )


def _target(part: Any) -> str | None:
    if not _inverts(part) or invertible(part.transformer_):
        return None
    told = getattr(part.transformer_, "inverse_func", None) or part.transformer_
    name = getattr(told, "__name__", type(told).__name__)
    return f"the inverse of the target's transformation, {name}, has no known operator"


def _neighbours(part: Any) -> str | None:
    weights = getattr(part, "weights", "uniform")
    if not hasattr(part, "effective_metric_") or not hasattr(part, "predict"):
        return None
    if callable(weights):
        return "its weights are a function of Python"
    if weights == "distance" and not causes.weighs_by_distance(part):
        told = "of several targets" if np.ndim(part._y) > 1 else part.effective_metric_
        return f"neighbours weigh by distance, {told}"
    return None


def _ties(part: Any) -> str | None:
    if causes.breaks_ties(part) and hasattr(part, "predict_proba"):
        return "break_ties decides by scores, and probability=True shows other figures"
    return None


def _both(part: Any) -> str | None:
    if not isinstance(part, Pipeline):
        return None
    for name, step in part.steps[:-1]:
        if hasattr(step, "predict") and not isinstance(step, SelectorMixin):
            return f"the step {name!r} stands before the last, and it predicts as well"
    return None


REFUSALS = (
    Refusal(
        _categories, "Encode these columns before it, with OneHotEncoder or TargetEncoder."
    ),
    Refusal(
        _target, "Use a numpy function such as expm1 as inverse, or a scaler as transformer."
    ),
    Refusal(_neighbours, "Use weights='uniform', or the euclidean distance."),
    Refusal(_ties, "Train it with break_ties=False or probability=False."),
    Refusal(
        refused_words, "Use analyzer='word' with a token_pattern of ASCII classes, or \\w."
    ),
    Refusal(_both, "Save the steps before and after it as two models."),
    Refusal(booster_cause, "Train it without this, or export it to ONNX yourself."),
    *(Refusal(cause, hint) for cause, hint in FORMLESS),
)
