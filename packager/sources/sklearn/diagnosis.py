"""What becomes of each part of a scikit-learn model, told in the child without converting."""

from __future__ import annotations

from typing import Any

from skl2onnx._supported_operators import sklearn_operator_name_map
from sklearn.base import BaseEstimator
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)

from packager.sources.boosters.trees import SLOWER, library_of
from packager.sources.sklearn.parts import every_part

_BOOSTED = (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
_SLOWER = (
    "a row at a time the graph is faster than scikit-learn, in batches of a thousand rows it "
    "can be slower (0.7 to 0.9 of its speed)"
)


def diagnose(model: Any) -> list[dict[str, str]]:
    """Return one entry for each part of a fitted model, outermost first.

    Keys: ``path``, ``class``, ``form``, ``verdict`` and ``why``; see ``OpenedModel``.
    """
    from packager.sources.sklearn.forms import register
    from packager.sources.sklearn.repairs import applicable, refusals

    register()
    mended, refused = _by_path(applicable(model)), _by_path(refusals(model))
    return [
        _entry(path, part, mended.get(path, ""), refused.get(path, ""))
        for path, part in every_part(model)
    ]


def _by_path(found: list[tuple[str, str]]) -> dict[str, str]:
    told: dict[str, str] = {}
    for path, sentence in found:
        told[path] = f"{told[path]}; {sentence}" if path in told else sentence
    return told


def _entry(path: str, part: Any, mended: str, refused: str) -> dict[str, str]:
    form = sklearn_operator_name_map.get(type(part), "")
    if refused:
        verdict, why = "refused", refused
    elif not form and isinstance(part, BaseEstimator):
        verdict, why = "refused", "it has no form in ONNX"
    elif mended:
        verdict, why = "repaired", mended
    elif isinstance(part, _BOOSTED):
        verdict, why = "slower", _SLOWER
    elif slower := SLOWER.get(library_of(part) or ""):
        verdict, why = "slower", slower
    else:
        verdict, why = "converts", ""
    name = part if isinstance(part, str) else type(part).__name__
    return {"path": path, "class": name, "form": form, "verdict": verdict, "why": why}
