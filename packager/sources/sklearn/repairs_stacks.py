"""Stacks of models over several inputs: pipelines in them read the columns by themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from packager.sources.sklearn.causes import BINARY
from packager.sources.sklearn.wires import Given, Wires

Converter: TypeAlias = Callable[[Any, Any, Any], None]


def stacked(original: Converter) -> Converter:
    """Hand every member all inputs, and the final model what they answer."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        if len(operator.inputs) == 1:
            original(scope, operator, container)
            return
        wires = Wires(scope, operator, container)
        model = wires.model
        together = _together(wires, _answers(wires))
        if not hasattr(model, "classes_"):
            value = wires.regressor(model.final_estimator_, together)
            wires.node("Identity", value, out=wires.output(0))
            return
        raw = not hasattr(model, "predict_proba")
        final = wires.classifier(model.final_estimator_, raw=raw, given=together)
        wires.node("Identity", final.label, out=wires.output(0))
        wires.node("Identity", final.scores, out=wires.output(1))

    return convert


def _answers(wires: Wires) -> list[Given]:
    """Write the members' answers, each of as many columns as scikit-learn takes of it."""
    model = wires.model
    methods = [method for method in model.stack_method_ if method is not None]
    return [
        _member(wires, member, method)
        for member, method in zip(model.estimators_, methods, strict=True)
    ]


def _member(wires: Wires, member: Any, method: str) -> Given:
    if method == "predict" and not hasattr(member, "classes_"):
        return Given(wires.regressor(member), 1)
    answers = wires.classifier(member, raw=method == "decision_function")
    if method == "predict":
        numbers = wires.cast(answers.label, wires.floats)
        return Given(wires.node("Reshape", numbers, wires.column_shape()), 1)
    width = len(wires.model.classes_)
    if width == BINARY:
        return Given(wires.columns(answers.scores, [-1]), 1)
    return Given(answers.scores, width)


def _together(wires: Wires, answers: list[Given]) -> Given:
    names = [answer.name for answer in answers]
    name = names[0] if len(names) == 1 else wires.node("Concat", *names, axis=1)
    return Given(name, sum(answer.width for answer in answers))
