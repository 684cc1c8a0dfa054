"""How labels come out of a model: decided by its outputs and what the user asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx import ModelProto, NodeProto

from packager.errors import ConfigInvalid
from packager.graph import OUTPUT_NAMES, Graph
from packager.sources.processing.label_output import LabelOutput

# Where one number decides, the second class begins here unless a threshold is given.
HALF = 0.5

_TWO = 2
# What may stand between the operator that makes probabilities and the output.
_TRANSPARENT = frozenset({"Identity", "Reshape", "Flatten", "Squeeze", "Cast", "Dropout"})


def label_output(graph: Graph, labels: Sequence[str], threshold: float | None) -> LabelOutput:
    """Decide how labels are made of a graph's answers.

    Args:
        graph: the model's own.
        labels: what its classes are called, in its order; nothing where they keep their names.
        threshold: the score from which the second class is answered, if it is given.

    Raises:
        ConfigInvalid: when model, labels and threshold do not go together.
    """
    decide = _of_classifier if "label" in graph.roles else _of_scores
    return decide(graph, labels, threshold)


def _of_classifier(graph: Graph, labels: Sequence[str], threshold: float | None) -> LabelOutput:
    roles = graph.roles
    if threshold is not None and roles.keys().isdisjoint({"probability", "score"}):
        raise _invalid(
            "threshold",
            "a model that answers probabilities or scores",
            f"one that answers {', '.join(spec.name for spec in graph.outputs)}",
            "Leave out --threshold, or save a model with predict_proba or decision_function.",
        )
    _check_probability(roles, threshold)
    return LabelOutput(
        labels=tuple(labels) or graph.labels,
        threshold=threshold,
        inner=roles["label"],
        classes=graph.labels,
        scores=roles.get("probability", roles.get("score", "")),
        roles=roles,
    )


def _of_scores(graph: Graph, labels: Sequence[str], threshold: float | None) -> LabelOutput:
    spec = graph.outputs[0]
    shown = ", ".join(f"{one.name} {one.text()}" for one in graph.outputs)
    width = spec.shape[-1] if len(spec.shape) == _TWO else None
    if len(graph.outputs) > 1 or width is None or not spec.dtype.startswith("float"):
        raise _invalid(
            "labels",
            "a model with one output of floats [?, number of classes]",
            f"one with {shown}",
            "Leave out --labels, or export the model with its scores as the only output.",
        )
    check_count(labels, max(_TWO, width))
    probable = _ends_in_probabilities(graph.model, spec.name, width)
    role = "probability" if probable else "score"
    threshold = _checked(threshold, single=width == 1, probable=probable)
    _check_probability({role: ""}, threshold)
    taken = {one.name for one in graph.inputs}
    return LabelOutput(
        labels=tuple(labels),
        threshold=threshold,
        scores=spec.name,
        single=width == 1,
        roles={wanted: _apart(OUTPUT_NAMES[wanted], taken) for wanted in ("label", role)},
    )


def _apart(wanted: str, taken: set[str]) -> str:
    """Return an output's name that is no input's."""
    return wanted if wanted not in taken else _apart(f"{wanted}_out", taken)


def _checked(threshold: float | None, *, single: bool, probable: bool) -> float | None:
    """Return the threshold that holds for scores that nobody has made labels of yet."""
    if single and threshold is None and not probable:
        raise _invalid(
            "threshold",
            "given where one score decides and the graph does not end with Sigmoid",
            "left out",
            "Give the score from which the second class is answered; 0 for log-odds.",
        )
    if not single and threshold is not None and not probable:
        raise _invalid(
            "threshold",
            "left out where two scores stand for the two classes and are no probabilities",
            repr(threshold),
            "End the model with Softmax, and export it again.",
        )
    return HALF if single and threshold is None else threshold


def check_count(labels: Sequence[str], classes: int) -> None:
    """Require as many labels as the model has classes.

    Raises:
        ConfigInvalid: with both numbers.
    """
    if len(labels) != classes:
        raise _invalid(
            "labels",
            f"{classes} names, one for each class of the model",
            f"{len(labels)}: {', '.join(labels)}",
            "Name every class once, in the order of the model's outputs.",
        )


def check_two(classes: int) -> None:
    """Require that a threshold has two classes to decide between.

    Raises:
        ConfigInvalid: with both numbers.
    """
    if classes != _TWO:
        raise _invalid(
            "threshold",
            f"left out unless the model has {_TWO} classes",
            f"given for one with {classes}",
            "Leave out --threshold: of several classes the best one is answered.",
        )


def _check_probability(roles: Mapping[str, str], threshold: float | None) -> None:
    if threshold is not None and "probability" in roles and not 0 < threshold < 1:
        raise _invalid(
            "threshold",
            "a probability between 0 and 1",
            repr(threshold),
            "Give the probability from which the second class is answered.",
        )


def _invalid(key: str, wanted: str, found: str, hint: str) -> ConfigInvalid:
    return ConfigInvalid(
        f"{key} must be {wanted}; it is {found}",
        hint=hint,
        key=key,
        expected=wanted,
        found=found,
    )


def _ends_in_probabilities(model: ModelProto, output: str, width: int) -> bool:
    """Tell whether an output is made by Softmax, or as a single number by Sigmoid.

    Operators that only move or copy numbers may stand between.  Behind a change of shape it is
    the second or the last axis that must have been normalised.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    node = makers.get(output)
    while node is not None and node.op_type in _TRANSPARENT:
        node = makers.get(node.input[0])
    if node is None or node.domain not in ("", "ai.onnx"):
        return False
    if width == 1:
        return bool(node.op_type == "Sigmoid")
    return bool(node.op_type == "Softmax") and _axis(node) in (1, -1)


def _axis(node: NodeProto) -> int:
    return next((item.i for item in node.attribute if item.name == "axis"), -1)
