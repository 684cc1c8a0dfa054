"""What in a fitted part a plain conversion does not follow, told by what the part holds."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, SGDClassifier

from packager.sources.sklearn.parts import members, of_trees
from packager.sources.sklearn.versions import takes_nan

BINARY = 2  # classes


def breaks_ties(model: Any) -> bool:
    """Tell whether a support vector classifier's label is its best score, not the vote."""
    return bool(getattr(model, "break_ties", False)) and len(model.classes_) > BINARY


def bag_needs_own_form(model: Any) -> bool:
    """Tell whether a member only votes, or misses a class."""
    return any(
        not hasattr(member, "predict_proba") or len(member.classes_) != len(model.classes_)
        for member in model.estimators_
    )


def binary_threshold(member: Any) -> float:
    """Return what the confidence of one of several binary classifiers must exceed."""
    return 0.0 if hasattr(member, "decision_function") else 0.5


def threshold_rule(model: Any) -> tuple[str, float, int]:
    """Return what a classifier with a threshold asks, its threshold and its positive class.

    Returns:
        The method, the threshold, and the index of the class that it is the score of.
    """
    inner = getattr(model, "estimator_", model.estimator)
    methods = np.atleast_1d(model._get_response_method()).tolist()
    method = next(name for name in methods if hasattr(inner, name))
    tuned = hasattr(model, "best_threshold_")
    limit = model.best_threshold_ if tuned else model.threshold
    if isinstance(limit, str):
        limit = 0.5 if method == "predict_proba" else 0.0
    label = model._curve_scorer._get_pos_label() if tuned else model.pos_label
    classes = np.asarray(inner.classes_)
    positive = 1 if label is None else int(np.flatnonzero(classes == label)[0])
    return method, float(limit), positive


def trees_of(model: Any) -> list[Any]:
    """Return the trees of a tree or a forest, in the order of the ensemble's numbers."""
    if hasattr(model, "tree_"):
        return [model.tree_]
    return [member.tree_ for member in members(model)]


def logarithmic(model: Any) -> bool:
    """Tell whether a regressor's loss is in logarithms, as Poisson's and Gamma's are."""
    link = getattr(getattr(model, "_loss", None), "link", None)
    return hasattr(model, "_predictors") and type(link).__name__ == "LogLink"


def fills_nan(model: Any) -> bool:
    """Tell whether a missing number is a NaN to an imputer."""
    missing = model.missing_values
    return isinstance(missing, float) and bool(np.isnan(missing))


def weighs_by_distance(model: Any) -> bool:
    """Tell whether a model of nearest neighbours weighs them by euclidean distance."""
    return (
        euclidean(model)
        and hasattr(model, "n_neighbors")
        and isinstance(getattr(model, "weights", None), str)
        and model.weights == "distance"
        and np.ndim(model._y) == 1
    )


def learned_missing(model: Any) -> bool:
    """Tell whether trees learned where rows without a value go, and take such rows."""
    if not of_trees(model) or not takes_nan(model):
        return False
    return any(np.any(tree.missing_go_to_left) for tree in trees_of(model))


def hides_decision(model: Any) -> bool:
    """Tell whether a linear classifier's probabilities may hide which score is best."""
    return isinstance(model, SGDClassifier) and hasattr(model, "predict_proba")


def logistic(model: Any) -> bool:
    """Tell whether a binary classifier's probability is the sigmoid of its decision."""
    losses = isinstance(model, SGDClassifier) and model.loss == "log_loss"
    return losses or isinstance(model, (LogisticRegression, LogisticRegressionCV))


def by_votes(model: Any) -> bool:
    """Tell whether a model is a bag of classifiers that it needs a form of its own for."""
    return (
        hasattr(model, "estimators_features_")
        and hasattr(model, "classes_")
        and bag_needs_own_form(model)
    )


def euclidean(model: Any) -> bool:
    """Tell whether a model of neighbours measures euclidean distances."""
    return getattr(model, "effective_metric_", None) == "euclidean"


def compares_distances(model: Any) -> bool:
    """Tell whether a predictor's neighbours are those that euclidean distances choose."""
    counted = hasattr(model, "n_neighbors") or hasattr(model, "radius")
    return counted and euclidean(model) and hasattr(model, "predict")


def keeps_sparse_rows(model: Any) -> bool:
    """Tell whether a model of neighbours learned from a sparse matrix."""
    return bool(sparse.issparse(getattr(model, "_fit_X", None)))
