"""Converters of classifiers whose labels skl2onnx takes from the wrong figure.

Each writes the comparison that the estimator's own ``predict`` makes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from edge_runtime.contract.tensors import Array
from packager.sources.sklearn.causes import (
    BINARY,
    bag_needs_own_form,
    binary_threshold,
    breaks_ties,
    logistic,
    threshold_rule,
)
from packager.sources.sklearn.wires import DOUBLE, INT64, Given, Wires

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
        decides = wires.classifier(inner, raw=True)
    column = wires.columns(decides.scores, [positive])
    above = wires.node("GreaterOrEqual", column, wires.number([[limit]]))
    index = wires.cast(wires.node("Reshape", above, wires.axis(-1)), INT64)
    order = [1 - positive, positive]
    wires.labels(index, np.asarray(inner.classes_)[order], wires.output(0))
    wires.node("Identity", shown.scores, out=wires.output(1))


def decided_by_scores(original: Converter) -> Converter:
    """Let a linear classifier decide by its scores, which its probabilities may hide.

    ``modified_huber`` clips them, and sigmoids of float32 reach 0 and 1 for many.
    """

    def convert(scope: Any, operator: Any, container: Any) -> None:
        wires = Wires(scope, operator, container)
        raw = container.get_options(wires.model, {"raw_scores": False})["raw_scores"]
        if raw or not hasattr(wires.model, "predict_proba"):
            original(scope, operator, container)
            return
        decided = wires.classifier(wires.model, raw=True)
        wires.node("Identity", decided.label, out=wires.output(0))
        scores = decided.scores
        binary = len(wires.model.classes_) == BINARY
        one = wires.columns(scores, [-1]) if binary else scores
        share = _sigmoid if wires.model.loss == "log_loss" else _clipped
        _show_shares(wires, share(wires, wires.cast(one, DOUBLE)), binary=binary, even=True)

    return convert


def _sigmoid(wires: Wires, score: str) -> str:
    """Write ``1 / (1 + exp(-score))`` in float64, where it hardly reaches 0."""
    one = wires.number([[1]], DOUBLE)
    power = wires.node("Exp", wires.node("Neg", score))
    return wires.node("Reciprocal", wires.node("Add", one, power))


def _clipped(wires: Wires, score: str) -> str:
    """Write ``(clip(score, -1, 1) + 1) / 2``."""
    one = wires.number([[1]], DOUBLE)
    low = wires.node("Max", score, wires.number([[-1]], DOUBLE))
    raised = wires.node("Add", wires.node("Min", low, one), one)
    return wires.node("Mul", raised, wires.number([[0.5]], DOUBLE))


def _show_shares(wires: Wires, shares: str, *, binary: bool, even: bool) -> None:
    """Write probabilities out of float64 for each class, which need not add up to 1.

    Where all are 0, each class gets the same if they are to be ``even``, or they stay 0.
    """
    one = wires.number([[1]], DOUBLE)
    if binary:
        shown = wires.node("Concat", wires.node("Sub", one, shares), shares, axis=1)
    else:
        total = wires.row_sums(shares)
        zero = wires.node("Equal", total, wires.number([[0]], DOUBLE))
        count = wires.number([[len(wires.model.classes_) if even else 1]], DOUBLE)
        above = wires.node("Where", zero, one, shares) if even else shares
        shown = wires.node("Div", above, wires.node("Where", zero, count, total))
    wires.cast(shown, wires.floats, out=wires.output(1))


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


def one_vs_rest(original: Converter) -> Converter:
    """Let the members' decisions decide where they have any; probabilities are only shown."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        if operator.raw_operator.multilabel_:
            original(scope, operator, container)
        else:
            _write_one_vs_rest(Wires(scope, operator, container), container)

    return convert


def _write_one_vs_rest(wires: Wires, container: Any) -> None:
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
        _shown(wires, member, known) for member, known in zip(members, decisions, strict=True)
    ]
    shares = columns[0] if len(columns) == 1 else wires.node("Concat", *columns, axis=1)
    _show_shares(wires, shares, binary=len(columns) == 1, even=False)


def _shown(wires: Wires, member: Any, decision: str) -> str:
    """Write one member's probability in float64, which may be what decided already."""
    if logistic(member):
        return _sigmoid(wires, wires.cast(decision, DOUBLE))
    decides = hasattr(member, "decision_function")
    return wires.cast(_probability(wires, member) if decides else decision, DOUBLE)


def write_one_vs_one(scope: Any, operator: Any, container: Any) -> None:
    """Write one classifier a pair of classes: a class's score is its votes and a bounded sum.

    With S the sum of the confidences for a class, that is ``votes + S / (3 (|S| + 1))``. Of two
    classes only the second's score is shown, and compared with a threshold.
    """
    wires = Wires(scope, operator, container)
    model = wires.model
    members, classes = model.estimators_, np.asarray(model.classes_)
    first, second = np.triu_indices(len(classes), k=1)
    names = np.eye(len(classes))
    pairs = [_pair(wires, member) for member in members]
    votes, confidences = (_side_by_side(wires, list(side)) for side in zip(*pairs, strict=True))
    total = wires.node("MatMul", confidences, wires.number(names[second] - names[first]))
    lead = wires.node("MatMul", votes, wires.number(names[second] - names[first]))
    lead = wires.node("Add", lead, wires.number(names[first].sum(axis=0)[None]))
    size = wires.node("Add", wires.node("Abs", total), wires.number([[1]]))
    bounded = wires.node("Div", total, wires.node("Mul", size, wires.number([[3]])))
    scores = wires.node("Add", lead, bounded)
    if len(members) > 1:
        wires.labels(wires.best(scores), classes, wires.output(0))
        wires.node("Identity", scores, out=wires.output(1))
        return
    score = wires.columns(scores, [1])
    above = wires.node("Greater", score, wires.number([[binary_threshold(members[0])]]))
    index = wires.cast(wires.node("Reshape", above, wires.axis(-1)), INT64)
    wires.labels(index, classes, wires.output(0))
    wires.node("Concat", wires.node("Neg", score), score, axis=1, out=wires.output(1))


def _pair(wires: Wires, member: Any) -> tuple[str, str]:
    """Write a member of a pair: 1 where it answers the second class, and how sure it is."""
    answers = wires.classifier(member, raw=hasattr(member, "decision_function"))
    vote = wires.node("Reshape", wires.cast(answers.label, wires.floats), wires.column_shape())
    return vote, wires.columns(answers.scores, [-1])


def _side_by_side(wires: Wires, columns: list[str]) -> str:
    return columns[0] if len(columns) == 1 else wires.node("Concat", *columns, axis=1)


def _confidence(wires: Wires, member: Any) -> str:
    """Write how sure a binary classifier is of its second class, by decision if it has one."""
    if not hasattr(member, "decision_function"):
        return _probability(wires, member)
    return wires.columns(wires.classifier(member, raw=True).scores, [-1])


def _probability(wires: Wires, member: Any) -> str:
    return wires.columns(wires.classifier(member).scores, [1])


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


def _bag_member(wires: Wires, member: Any, features: Array) -> str:
    """Write what one member adds to each class; its own classes are places among the bag's."""
    count = len(wires.model.classes_)
    whole = np.array_equal(features, np.arange(wires.model.n_features_in_))
    some = None
    if not whole:
        taken = wires.columns(wires.matrix(), features.tolist())
        some = Given(taken, len(features))
    answers = wires.classifier(member, given=some)
    places = np.asarray(member.classes_).astype(np.int64)
    if not hasattr(member, "predict_proba"):
        values = wires.number([0, 1])
        return wires.node("OneHot", answers.label, wires.number(count, INT64), values, axis=1)
    if len(places) == count:
        return answers.scores
    return wires.node("MatMul", answers.scores, wires.number(np.eye(count)[places]))
