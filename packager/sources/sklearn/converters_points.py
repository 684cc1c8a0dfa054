"""Estimators that take the nearest of some points, or the distance from one."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model._base import LinearClassifierMixin
from sklearn.multiclass import _ConstantPredictor

from edge_runtime.contract.tensors import Array
from packager.sources.sklearn.exact import ExactWires
from packager.sources.sklearn.wires import INT64


def write_nearest_centre(scope: Any, operator: Any, container: Any) -> None:
    """Write the number of the nearest cluster centre, and the distances to all."""
    wires = ExactWires(scope, operator, container)
    _nearest(wires, np.asarray(wires.model.cluster_centers_, dtype=np.float64), None)


def write_birch(scope: Any, operator: Any, container: Any) -> None:
    """Write the cluster of the nearest subcluster, and the distances to all of these."""
    wires = ExactWires(scope, operator, container)
    model = wires.model
    centres = np.asarray(model.subcluster_centers_, dtype=np.float64)
    _nearest(wires, centres, np.asarray(model.subcluster_labels_))


def _nearest(wires: ExactWires, centres: Any, labels: Any) -> None:
    squares = wires.squared_distances(wires.matrix(), centres)
    wires.answer(wires.node("Sqrt", squares), 1)
    place = wires.node("ArgMin", squares, axis=1, keepdims=0)
    wires.labels(place, np.arange(len(centres)) if labels is None else labels, wires.output(0))


def write_bisecting(scope: Any, operator: Any, container: Any) -> None:
    """Write the way down a tree of clusters: at each fork to the nearer centre."""
    wires = ExactWires(scope, operator, container)
    model = wires.model
    matrix = wires.matrix()
    offset = np.asarray(getattr(model, "_X_mean", 0.0))

    def cluster(node: Any) -> str:
        if node.left is None:
            return wires.number([node.label], INT64)
        forks = np.vstack((node.left.center, node.right.center)) + offset
        squares = wires.squared_distances(matrix, forks)
        right = wires.node("ArgMin", squares, axis=1, keepdims=0)
        left = wires.node("Equal", right, wires.number([0], INT64))
        return wires.node("Where", left, cluster(node.left), cluster(node.right))

    wires.node("Identity", cluster(model._bisecting_tree), out=wires.output(0))
    distances = wires.squared_distances(matrix, np.asarray(model.cluster_centers_))
    wires.answer(wires.node("Sqrt", distances), 1)


def write_nearest_centroid(scope: Any, operator: Any, container: Any) -> None:
    """Write the class of the nearest centroid, and the shares that its discriminants give.

    With equal priors the label is by plain distance, as scikit-learn has it; the shares, and
    with unequal priors the label too, are by distance in units of the spread within classes
    (T. Hastie et al., The Elements of Statistical Learning, eq. 18.2).
    """
    wires = ExactWires(scope, operator, container)
    model = wires.model
    classes, centroids = np.asarray(model.classes_), np.asarray(model.centroids_)
    matrix = wires.matrix()
    plain = wires.squared_distances(matrix, centroids)
    if not hasattr(model, "class_prior_"):  # scikit-learn below 1.6 knows no shares
        wires.labels(_first_least(wires, plain), classes, wires.output(0))
        return
    priors = np.asarray(model.class_prior_)
    spread = np.asarray(model.within_class_std_dev_, dtype=np.float64)
    spread = np.where(spread == 0, 1, spread)
    squares = wires.squared_distances(
        wires.node("Div", matrix, wires.number(spread[None])), centroids / spread
    )
    scores = wires.node("Sub", wires.number(2 * np.log(priors)[None]), squares)
    uniform = np.isclose(priors, 1 / len(classes)).all()
    place = _first_least(wires, plain) if uniform else wires.best(scores)
    wires.labels(place, classes, wires.output(0))
    wires.answer(wires.node("Softmax", scores, axis=1), 1)


def _first_least(wires: ExactWires, squares: str) -> str:
    return wires.node("ArgMin", squares, axis=1, keepdims=0)


def write_output_code(scope: Any, operator: Any, container: Any) -> None:
    """Write error-correcting codes of linear classifiers: the nearest code names the class."""
    wires = ExactWires(scope, operator, container)
    model = wires.model
    linear = [_linear(part, model.n_features_in_) for part in model.estimators_]
    weights = np.vstack([row for row, _ in linear]).T
    offsets = np.concatenate([offset for _, offset in linear])
    codes = wires.affine(wires.matrix(), weights, offsets)
    squares = wires.squared_distances(codes, np.asarray(model.code_book_, dtype=np.float64))
    wires.labels(_first_least(wires, squares), np.asarray(model.classes_), wires.output(0))
    wires.answer(wires.scaled(squares, -1.0), 1)


def _linear(part: Any, features: int) -> tuple[Array, Array]:
    """Return the weights and the offset of one bit of a code."""
    if isinstance(part, _ConstantPredictor):
        return np.zeros((1, features)), np.ravel(part.y_).astype(np.float64)
    return np.asarray(part.coef_), np.asarray(part.intercept_)


def linear_bit(part: Any) -> bool:
    """Tell whether one bit of a code is a linear function of the row, or the same for all."""
    return isinstance(part, (LinearClassifierMixin, _ConstantPredictor))


def write_elliptic(scope: Any, operator: Any, container: Any) -> None:
    """Write the squared Mahalanobis distance from the centre, against the offset."""
    wires = ExactWires(scope, operator, container)
    model = wires.model
    moved = wires.node("Sub", wires.matrix(), wires.number(model.location_[None]))
    turned = wires.node("MatMul", moved, wires.number(model.get_precision()))
    distance = wires.row_sums(wires.node("Mul", turned, moved))
    score = wires.node("Sub", wires.number([[-model.offset_]]), distance)
    wires.answer(score, 1)
    inside = wires.cast(wires.node("GreaterOrEqual", score, wires.number(0.0)), INT64)
    flat = wires.node("Reshape", inside, wires.axis(-1))
    wires.labels(flat, np.array([-1, 1]), wires.output(0))


def write_mixture(scope: Any, operator: Any, container: Any) -> None:
    """Write the component of a Gaussian mixture, and the shares of all of them.

    The logarithm of a component's density falls with half the squared Mahalanobis distance
    from its mean, where the model itself tells its height.
    """
    wires = ExactWires(scope, operator, container)
    model = wires.model
    means = np.asarray(model.means_)
    heights = np.diag(model._estimate_weighted_log_prob(means))
    matrix = wires.matrix()
    squares = []
    for mean, turn in zip(means, _whitenings(model), strict=True):
        moved = wires.node("Sub", matrix, wires.number(mean[None]))
        white = wires.node("MatMul", moved, wires.number(turn))
        squares.append(wires.row_sums(wires.node("Mul", white, white)))
    fall = wires.scaled(wires.node("Concat", *squares, axis=1), -0.5)
    scores = wires.node("Add", fall, wires.number(heights[None]))
    wires.labels(wires.best(scores), np.arange(len(means)), wires.output(0))
    wires.answer(wires.node("Softmax", scores, axis=1), 1)


def _whitenings(model: Any) -> list[Array]:
    """Return, for each component, the matrix after which its covariance is the identity."""
    found = np.asarray(model.precisions_cholesky_)
    count, features = model.means_.shape
    if model.covariance_type == "full":
        return list(found)
    if model.covariance_type == "tied":
        return [found] * count
    if model.covariance_type == "diag":
        return [np.diag(one) for one in found]
    return [one * np.eye(features) for one in found]
