"""The fitted parts inside a scikit-learn model: finding each, and exchanging some in a copy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectorMixin
from sklearn.pipeline import FeatureUnion, Pipeline

# Where models keep the fitted parts that they hand their rows to.
_SLOTS = (
    "best_estimator_",
    "estimator_",
    "regressor_",
    "estimators_",
    "final_estimator_",
    "calibrated_classifiers_",
)
# Whose own ``estimator`` is fitted; elsewhere it is the pattern that parts were fitted from.
_HOLDERS = frozenset({"FrozenEstimator", "_CalibratedClassifier"})

Change = Callable[[str, Any], Any]


@dataclass(frozen=True)
class _Entry:
    """Where one part stands: in an attribute, and at an index if that is a list."""

    slot: str
    index: int | None
    name: str
    part: Any


def last_step(model: Any) -> Any:
    """Return what answers at the end of a pipeline, or the model itself."""
    while isinstance(model, Pipeline):
        model = model.steps[-1][1]
    return model


def of_trees(model: Any) -> bool:
    """Tell whether a model is a tree or an ensemble of nothing but trees."""
    if hasattr(model, "tree_"):
        return True
    inside = members(model)
    return bool(inside) and all(hasattr(member, "tree_") for member in inside)


def members(model: Any) -> list[Any]:
    """Return the fitted members of an ensemble, in order; of anything else none."""
    found = getattr(model, "estimators_", ())
    return found.ravel().tolist() if isinstance(found, np.ndarray) else list(found)


def every_part(model: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a model by the path "" and every part in it, outermost first.

    An ensemble of trees is one part.
    """
    yield path, model
    for entry in _entries(model):
        yield from every_part(entry.part, _joined(path, entry.name))


def exchanged(model: Any, change: Change, path: str = "") -> Any:
    """Return a model in which ``change`` was asked for every part, outermost first.

    The given model stays as it is; what does not change is shared with it.

    Args:
        model: a fitted estimator.
        change: from a part's path and the part to what shall stand in its place, the part
            itself to leave it. What it puts there is not searched.
        path: the model's own.
    """
    new = change(path, model)
    return new if new is not model else exchanged_inside(model, change, path)


def exchanged_inside(model: Any, change: Change, path: str = "") -> Any:
    """Return what ``exchanged`` does, without asking for the model itself."""
    new = model
    for entry in _entries(model):
        part = exchanged(entry.part, change, _joined(path, entry.name))
        if part is not entry.part:
            new = copy.copy(model) if new is model else new
            _put(new, entry, part)
    return new


def _put(model: Any, entry: _Entry, part: Any) -> None:
    if entry.index is None:
        setattr(model, entry.slot, part)
        return
    entries = list(getattr(model, entry.slot))
    old = entries[entry.index]
    entries[entry.index] = (old[0], part, *old[2:]) if isinstance(old, tuple) else part
    setattr(model, entry.slot, entries)


def _entries(model: Any) -> Iterator[_Entry]:
    for slot in _slots(model):
        value = getattr(model, slot)
        if not isinstance(value, (list, tuple)):
            yield _Entry(slot, None, type(value).__name__, value)
            continue
        names = [
            name for name, part in getattr(model, "estimators", None) or () if part != "drop"
        ]
        for index, item in enumerate(value):
            if isinstance(item, tuple):
                yield _Entry(slot, index, str(item[0]), item[1])
            elif len(names) == len(value):
                yield _Entry(slot, index, str(names[index]), item)
            else:
                yield _Entry(slot, index, f"{type(item).__name__}[{index}]", item)


def _slots(model: Any) -> list[str]:
    if isinstance(model, Pipeline):
        return ["steps"]
    if isinstance(model, FeatureUnion):
        return ["transformer_list"]
    if isinstance(model, ColumnTransformer):
        return ["transformers_"]
    if type(model).__name__ in _HOLDERS:
        return ["estimator"]
    if isinstance(model, (str, SelectorMixin)) or of_trees(model):
        return []
    held = [slot for slot in _SLOTS if _holds_parts(getattr(model, slot, None))]
    if "estimators_" in held and "estimator_" in held:
        held.remove("estimator_")  # the pattern of them
    return held


def _holds_parts(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return bool(value) and hasattr(value[0], "__dict__")
    return hasattr(value, "__dict__") and not isinstance(value, (np.ndarray, type))


def _joined(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
