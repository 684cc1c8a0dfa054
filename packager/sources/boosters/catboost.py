"""CatBoost's models in the child: opening their files, and reading the rule out of them.

The trees come from CatBoost's own ONNX export; what it leaves out is read from the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnx import helper

from packager.errors import SourceUnreadable
from packager.sources.boosters.trees import Ensemble, Trees, refused
from packager.sources.extras import need

# Two classes share one sum; the export gives it to one and its negative to the other.
_ONE_SUM = frozenset({"Logloss", "CrossEntropy"})
_SIGMOID = _ONE_SUM | {"MultiClassOneVsAll"}
_EXP = frozenset({"Poisson", "Tweedie"})
_UNKNOWN = frozenset(
    {"RMSEWithUncertainty", "MultiLogloss", "MultiCrossEntropy", "SurvivalAft"}
)


def open_file(path: Path) -> Any:
    """Open a file that ``save_model`` wrote, as the estimator that answers as it does.

    Raises:
        HostExtraMissing: when CatBoost is not installed.
        SourceUnreadable: when the file holds none of its models.
    """
    catboost = need("catboost", "catboost")
    try:
        bare = catboost.CatBoost().load_model(str(path))
        return estimator_of(bare)
    except catboost.CatBoostError as error:
        raise SourceUnreadable(
            f"{path.name} must hold a CatBoost model: {error}",
            hint="Save it again with model.save_model('model.cbm').",
            expected="a CatBoost model",
            found=str(error),
        ) from None


def estimator_of(model: Any) -> Any:
    """Return a model as the class that its answers ask for."""
    catboost = need("catboost", "catboost")
    if isinstance(model, (catboost.CatBoostClassifier, catboost.CatBoostRegressor)):
        return model
    kind = catboost.CatBoostClassifier if len(model.classes_) else catboost.CatBoostRegressor
    # Not kept in the bytes, and predict of a regressor asks for it.
    estimator = kind(loss_function=objective_of(model))
    estimator.load_model(blob=model._serialize_model())
    restore_count(estimator)
    return estimator


def restore_count(model: Any) -> None:
    """Let a loaded model tell how many features it reads: its file does not keep that."""
    if not model.n_features_in_:
        model._n_features_in = len(model.feature_names_)


def feature_names(estimator: Any) -> tuple[str, ...]:
    """Return the names that it learned; none where it was fitted on bare numbers."""
    names = tuple(map(str, estimator.feature_names_))
    return () if names == tuple(map(str, range(len(names)))) else names


def objective_of(estimator: Any) -> str:
    """Return what it was trained for."""
    return str(estimator.get_all_params().get("loss_function", ""))


def ensemble_of(estimator: Any) -> Ensemble:
    """Read the rule of an estimator.

    Raises:
        ConversionFailed: naming what has no faithful form.
    """
    catboost = need("catboost", "catboost")
    _check_features(estimator)
    loss = objective_of(estimator).partition(":")[0]
    if loss in _UNKNOWN:
        raise refused(estimator, f"its loss {loss} is none whose answers are known")
    try:
        exported = _exported(estimator)
    except catboost.CatBoostError as error:
        raise refused(estimator, str(error).partition(": ")[2] or str(error)) from None
    given = {
        attribute.name: helper.get_attribute_value(attribute)
        for attribute in exported.graph.node[0].attribute
    }
    _, bias = estimator.get_scale_and_bias()
    base = tuple(bias) if isinstance(bias, Sequence) else (float(bias),)
    both = loss in _ONE_SUM
    sums = 1 if both else max(given.get("class_ids", [0])) + 1
    return Ensemble(
        trees=_trees(given, estimator._object._get_nan_treatments(), both=both),
        base=base if len(base) == sums else base * sums,
        double=False,
        link=_link(estimator, loss),
        threshold=float(estimator.get_probability_threshold()) if both else 0.5,
    )


def _check_features(estimator: Any) -> None:
    for kind, found in (
        ("categories", estimator.get_cat_feature_indices()),
        ("texts", estimator.get_text_feature_indices()),
        ("embeddings", estimator.get_embedding_feature_indices()),
    ):
        if len(found):
            raise refused(estimator, f"it computes features from {kind} ({len(found)} columns)")


def _exported(estimator: Any) -> Any:
    """Return CatBoost's own export of a copy whose classes are numbers: it takes no others."""
    catboost, utils = need("catboost", "catboost"), need("catboost.utils", "catboost")
    copied = catboost.CatBoost().load_model(blob=estimator._serialize_model())
    told = copied.get_metadata()
    if "class_params" in list(told.keys()):  # it is no mapping of Python's
        classes = json.loads(told["class_params"])
        numbers = list(range(len(estimator.classes_)))
        told["class_params"] = json.dumps(
            {**classes, "class_names": numbers, "class_label_type": "Integer"}
        )
    return utils.convert_to_onnx_object(copied)


def _link(estimator: Any, loss: str) -> str:
    if len(getattr(estimator, "classes_", ())):
        return "sigmoid" if loss in _SIGMOID else "softmax"
    return "exp" if loss in _EXP else "identity"


def _trees(given: Mapping[str, Any], treatments: Mapping[int, str], *, both: bool) -> Trees:
    """Read the exported arrays; missing values go where each feature's treatment says."""
    trees = Trees()
    names = (
        "treeids",
        "nodeids",
        "featureids",
        "modes",
        "values",
        "truenodeids",
        "falsenodeids",
    )
    leaves = _leaves(given, both=both)
    for tree, node, feature, mode, value, yes, no in zip(
        *(given[f"nodes_{name}"] for name in names), strict=True
    ):
        if mode == b"LEAF":
            trees.leaf((tree, node), leaves.get((tree, node), []))
            continue
        missing = treatments.get(feature) == "AsTrue"
        trees.split((tree, node), (feature, mode.decode(), value), (yes, no), missing=missing)
    return trees


def _leaves(
    given: Mapping[str, Any], *, both: bool
) -> dict[tuple[int, int], list[tuple[int, float]]]:
    kind = "class" if "class_ids" in given else "target"
    arrays = (given[f"{kind}_{name}"] for name in ("treeids", "nodeids", "ids", "weights"))
    leaves: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for tree, node, target, weight in zip(*arrays, strict=True):
        if both and target == 0:
            continue
        leaves.setdefault((tree, node), []).append((0 if both else target, weight))
    return leaves


def width_of(estimator: Any) -> int:
    """Return how many numbers it answers a row as a regressor."""
    _, bias = estimator.get_scale_and_bias()
    return len(bias) if isinstance(bias, Sequence) else 1
