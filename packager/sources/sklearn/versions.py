"""What scikit-learn 1.2 and later have under different names, or not at all; in the child."""

from __future__ import annotations

from typing import Any

from sklearn import model_selection, preprocessing, utils


def _class(module: Any, name: str) -> Any:
    """Return a class, or one without instances where this version has none of that name."""
    return getattr(module, name, None) or type(name, (), {})


FixedThresholdClassifier = _class(model_selection, "FixedThresholdClassifier")  # 1.5
TunedThresholdClassifierCV = _class(model_selection, "TunedThresholdClassifierCV")  # 1.5
TargetEncoder = _class(preprocessing, "TargetEncoder")  # 1.3

_HAS_TAGS = hasattr(utils, "get_tags")  # from 1.6 on


def estimator_type(model: Any) -> str | None:
    """Return what an estimator says it is: ``classifier``, ``regressor`` and so on."""
    if _HAS_TAGS:
        found = utils.get_tags(model).estimator_type
    else:
        found = getattr(model, "_estimator_type", None)
        found = "density_estimator" if found == "DensityEstimator" else found
    return None if found is None else str(found)


def takes_nan(model: Any) -> bool:
    """Return whether an estimator says that a NaN may stand among its numbers."""
    if _HAS_TAGS:
        return bool(utils.get_tags(model).input_tags.allow_nan)
    return bool(model._get_tags()["allow_nan"])
