"""Converters of classifiers whose labels skl2onnx takes from the wrong figure.

Each writes the comparison that the estimator's own ``predict`` makes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from edge_runtime.contract.tensors import Array
from packager.sources.sklearn_wires import INT64, Wires

Converter: TypeAlias = Callable[[Any, Any, Any], None]


def write_threshold(scope: Any, operator: Any, container: Any) -> None:
    """Write a classifier with a threshold: ``score >= threshold`` decides, as in predict.

    The comparison is made in the precision of the scores: what scikit-learn finds equal stays
    equal when both sides are rounded.
    """
    wires = Wires(scope, operator, container)
    inner = getattr(wires.model, "estimator_", wires.model.estimator)
    probable = hasattr(inner, "predict_proba")
    shown = wires.classifier(inner, raw=not probable)
    method, limit, positive = threshold_rule(wires.model)
    decides = shown
    if probable and method == "decision_function":
        decides = wires.classifier(copy.copy(inner), raw=True)
    column = wires.columns(decides.scores, [positive])
    above = wires.node("GreaterOrEqual", column, wires.number([[limit]]))
    index = wires.cast(wires.node("Reshape", above, wires.axis(-1)), INT64)
    order = [1 - positive, positive]
    wires.labels(index, np.asarray(inner.classes_)[order], wires.output(0))
    wires.node("Identity", shown.scores, out=wires.output(1))


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


def decided_by_scores(original: Converter) -> Converter:
    """Let a linear classifier decide by its scores, which its probabilities may hide.

    ``modified_huber`` clips them, and a sigmoid of float32 reaches 1 for many.
    """

    def convert(scope: Any, operator: Any, container: Any) -> None:
        wires = Wires(scope, operator, container)
        raw = container.get_options(wires.model, {"raw_scores": False})["raw_scores"]
        if raw or not hasattr(wires.model, "predict_proba"):
            original(scope, operator, container)
            return
        other, _ = wires.aside(0)
        original(scope, other, container)
        decided = wires.classifier(copy.copy(wires.model), raw=True)
        wires.node("Identity", decided.label, out=wires.output(0))

    return convert


def breaking_ties(original: Converter) -> Converter:
    """Let a support vector classifier that breaks ties decide by its scores."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        wires = Wires(scope, operator, container)
        model = wires.model
        if not breaks_ties(model):
            original(scope, operator, container)
            return
        other, _ = wires.aside(0)
        original(scope, other, container)
        wires.labels(wires.best(wires.output(1)), np.asarray(model.classes_), wires.output(0))

    return convert


def breaks_ties(model: Any) -> bool:
    """Tell whether a support vector classifier's label is its best score, not the vote."""
    return bool(getattr(model, "break_ties", False)) and len(model.classes_) > 2


def write_one_vs_rest(scope: Any, operator: Any, container: Any) -> None:
    """Write one classifier a class; decisions decide, probabilities are only shown."""
    wires = Wires(scope, operator, container)
    model = wires.model
    members = model.estimators_
    raw = container.get_options(model, {"raw_scores": False})["raw_scores"]
    decisions = [_confidence(wires, member) for member in members]
    scores = decisions[0] if len(members) == 1 else wires.node("Concat", *decisions, axis=1)
    if len(members) == 1:
        above = wires.node("Greater", scores, wires.number([[binary_threshold(members[0])]]))
        index = wires.cast(wires.node("Reshape", above, wires.axis(-1)), INT64)
    else:
        index = wires.best(scores)
    wires.labels(index, np.asarray(model.classes_), wires.output(0))
    if raw or not hasattr(model, "predict_proba"):
        out = scores
        if len(members) == 1:
            out = wires.node("Concat", wires.node("Neg", scores), scores, axis=1)
        wires.node("Identity", out, out=wires.output(1))
        return
    columns = [
        _probability(wires, member) if hasattr(member, "decision_function") else known
        for member, known in zip(members, decisions, strict=True)
    ]
    _show_one_vs_rest(wires, columns)


def _show_one_vs_rest(wires: Wires, columns: list[str]) -> None:
    """Write the share of each class's probability; where all are 0, nothing is divided."""
    if len(columns) == 1:
        rest = wires.node("Sub", wires.number([[1]]), columns[0])
        wires.node("Concat", rest, columns[0], axis=1, out=wires.output(1))
        return
    shown = wires.node("Concat", *columns, axis=1)
    total = wires.row_sums(shown)
    zero = wires.node("Equal", total, wires.number([[0]]))
    divisor = wires.node("Where", zero, wires.number([[1]]), total)
    wires.node("Div", shown, divisor, out=wires.output(1))


def write_two_class_one_vs_one(original: Converter) -> Converter:
    """Write the only pair of a one-vs-one classifier of two classes as scikit-learn scores it.

    Its score is the vote plus ``c / (3 (|c| + 1))`` for the confidence c.
    """

    def convert(scope: Any, operator: Any, container: Any) -> None:
        wires = Wires(scope, operator, container)
        model = wires.model
        if len(model.classes_) != 2:
            original(scope, operator, container)
            return
        member = model.estimators_[0]
        confidence = _confidence(wires, member)
        floats = wires.floats
        voted = wires.classifier(copy.copy(member), raw=True).label
        vote = wires.node("Reshape", wires.cast(voted, floats), wires.number([-1, 1], INT64))
        size = wires.node("Add", wires.node("Abs", confidence), wires.number([[1]]))
        bounded = wires.node("Div", confidence, wires.node("Mul", size, wires.number([[3]])))
        score = wires.node("Add", vote, bounded)
        above = wires.node("Greater", score, wires.number([[binary_threshold(member)]]))
        index = wires.cast(wires.node("Reshape", above, wires.axis(-1)), INT64)
        wires.labels(index, np.asarray(model.classes_), wires.output(0))
        wires.node("Concat", wires.node("Neg", score), score, axis=1, out=wires.output(1))

    return convert


def binary_threshold(member: Any) -> float:
    """Return what the confidence of one of several binary classifiers must exceed."""
    return 0.0 if hasattr(member, "decision_function") else 0.5


def _confidence(wires: Wires, member: Any) -> str:
    """Write how sure a binary classifier is of its second class, by decision if it has one."""
    if not hasattr(member, "decision_function"):
        return _probability(wires, member)
    return wires.columns(wires.classifier(copy.copy(member), raw=True).scores, [-1])


def _probability(wires: Wires, member: Any) -> str:
    return wires.columns(wires.classifier(copy.copy(member)).scores, [1])


def bagged(original: Converter) -> Converter:
    """Write a bag whose members vote, or did not see every class, member by member."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        wires = Wires(scope, operator, container)
        model = wires.model
        if not bag_needs_own_form(model):
            original(scope, operator, container)
            return
        shares = [
            _bag_member(wires, member, features)
            for member, features in zip(
                model.estimators_, model.estimators_features_, strict=True
            )
        ]
        total = shares[0] if len(shares) == 1 else wires.node("Sum", *shares)
        count = wires.number([[len(shares)]])
        wires.node("Div", total, count, out=wires.output(1))
        wires.labels(wires.best(wires.output(1)), np.asarray(model.classes_), wires.output(0))

    return convert


def bag_needs_own_form(model: Any) -> bool:
    """Tell whether a member only votes, or misses a class."""
    return any(
        not hasattr(member, "predict_proba") or len(member.classes_) != len(model.classes_)
        for member in model.estimators_
    )


def _bag_member(wires: Wires, member: Any, features: Array) -> str:
    """Write what one member adds to each class; its own classes are places among the bag's."""
    count = len(wires.model.classes_)
    whole = np.array_equal(features, np.arange(wires.model.n_features_in_))
    answers = wires.classifier(member, columns=None if whole else features.tolist())
    places = np.asarray(member.classes_).astype(np.int64)
    if not hasattr(member, "predict_proba"):
        values = wires.number([0, 1])
        return wires.node("OneHot", answers.label, wires.number(count, INT64), values, axis=1)
    if len(places) == count:
        return answers.scores
    return wires.node("MatMul", answers.scores, wires.number(np.eye(count)[places]))
