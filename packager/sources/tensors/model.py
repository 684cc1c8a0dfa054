"""What models of bare tensors share in the child, whatever framework computes them."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from edge_runtime.contract.tensors import DTYPES, Array, Arrays, TensorSpec
from packager.errors import ConversionFailed, SourceUnsupported
from packager.graph import OUTPUT_NAMES
from packager.sources.opened import Converted

BATCH = 32  # as many rows as the graph gets at once when both are compared
PROVED_ROWS = 3
# How far an answer may move with the rows beside it: what another order of sums makes.
_RTOL = {"float16": 2e-2, "float32": 1e-3, "float64": 1e-6}

_ADVICE = re.compile(
    r"For more information, run with TORCH_LOGS=\S+\s*"
    r"|(For more information about|For extended logs|The error above occurred when|Caused by:"
    r"|This is an internal miniz).*"
)

Run: TypeAlias = Callable[[Arrays], Arrays]


@dataclass(frozen=True)
class TensorFacts:
    """What a model of bare tensors is.

    Attributes:
        framework: as the parent knows it.
        kind: the model's class.
        inputs: what it takes; the first axis of each is the rows, None where any number fits.
        outputs: what it answers, a row for each row.
        versions: the libraries that take part, by name.
        steps: the class of each part, by its path.
    """

    framework: str
    kind: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    versions: Mapping[str, str]
    steps: Mapping[str, str] = field(default_factory=dict)


class TensorModel(ABC):
    """A model that takes and answers tensors with a row for each row.

    Args:
        facts: what it is.
    """

    def __init__(self, facts: TensorFacts) -> None:
        self.facts = facts

    @abstractmethod
    def graph(self, opset: Mapping[str, int]) -> Converted:
        """Convert it for these operator sets, by domain."""

    @abstractmethod
    def run(self, feed: Arrays) -> Arrays:
        """Return its own answers for one batch, in its own element types."""

    def describe(self) -> dict[str, Any]:
        """Return what it is; a single number a row is a regression, as in an ONNX file."""
        facts = self.facts
        value = is_value(facts.outputs)
        return {
            "framework": facts.framework,
            "kind": facts.kind,
            "task": "regression" if value else "tensors",
            "roles": {"value": facts.outputs[0].name} if value else {},
            "labels": [],
            "steps": [f"{path}: {name}" for path, name in facts.steps.items()],
            "versions": dict(facts.versions),
            "feature_names": [],
            "inputs": [
                {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)}
                for spec in facts.inputs
            ],
        }

    def plan(self, kinds: Mapping[str, str] | None) -> dict[str, Any]:
        """Refuse: the parent plans the columns of bare tensors.

        Raises:
            SourceUnsupported: always.
        """
        raise SourceUnsupported(
            "a model of tensors has no columns of its own to plan",
            hint="Build from a file that only holds the model.",
            expected="tensors",
            found=sorted(kinds or ()),
        )

    def answers(self, rows: Arrays) -> Arrays:
        """Return its own answers in batches, floats as float64 after the model's own type.

        A model of fixed batch gets batches of that length, the last one filled up with copies
        of its last row whose answers are dropped.
        """
        fixed = self.facts.inputs[0].shape[0]
        batch = fixed or BATCH
        total = len(next(iter(rows.values())))
        parts = []
        for start in range(0, max(1, total), batch):
            wanted = np.arange(start, min(start + batch, total))
            filled = np.pad(wanted, (0, batch - len(wanted)), mode="edge") if fixed else wanted
            answers = self.run(_taken(rows, filled))
            parts.append({name: values[: len(wanted)] for name, values in answers.items()})
        return {
            name: _wide(np.concatenate([part[name] for part in parts])) for name in parts[0]
        }

    def probe(self, _rows: Arrays) -> tuple[list[str], Arrays]:
        """Return nothing: tensors have no missing values of their own."""
        return [], {}

    def diagnose(self) -> list[dict[str, str]]:
        """Say of each part what becomes of it.

        Operators convert or not as a whole, so the whole is converted to know it.
        """
        try:
            converted = self.graph({})
        except ConversionFailed as error:
            return [self._step("model", self.facts.kind, "refused", error.message)]
        whole = self._step("model", self.facts.kind, "converts", " ".join(converted.repairs))
        parts = [self._step(path, name) for path, name in self.facts.steps.items()]
        return [whole, *parts]

    def _step(
        self, path: str, name: str, verdict: str = "converts", why: str = ""
    ) -> dict[str, str]:
        return {"path": path, "class": name, "form": "tensors", "verdict": verdict, "why": why}


def is_value(outputs: Sequence[TensorSpec]) -> bool:
    """Tell whether the only output is one float a row."""
    return len(outputs) == 1 and (
        outputs[0].shape[1:] == (1,) and outputs[0].dtype.startswith("float")
    )


def output_names(wanted: Sequence[str], inputs: Iterable[str]) -> list[str]:
    """Make names of outputs distinct from each other and from the names of inputs."""
    taken = {*inputs, *OUTPUT_NAMES.values()}
    names: list[str] = []
    for name in wanted:
        candidate, number = name, 2
        while candidate in taken:
            candidate, number = f"{name}_{number}", number + 1
        taken.add(candidate)
        names.append(candidate)
    return names


def check_dtype(name: str, dtype: str) -> str:
    """Return an element type that devices take.

    Raises:
        ConversionFailed: when it is another.
    """
    if dtype not in DTYPES:
        raise ConversionFailed(
            f"{name!r} must be of {', '.join(DTYPES)}; it is {dtype}",
            hint="Convert the model to float32 before saving it: model.float()",
            expected=list(DTYPES),
            found=dtype,
        )
    return dtype


def check_inputs(inputs: Sequence[TensorSpec]) -> int | None:
    """Return the number of rows that all inputs take at once, None where any will do.

    Raises:
        SourceUnsupported: when there is no input, or one has no rows, or other rows.
    """
    lengths = {spec.shape[0] if spec.shape else 0 for spec in inputs}
    if len(lengths) == 1 and lengths != {0}:
        return lengths.pop()
    shown = ", ".join(f"{spec.name} {spec.text()}" for spec in inputs) or "none"
    raise SourceUnsupported(
        f"the first axis of every input must be its rows, as many in each; the inputs: {shown}",
        hint="Give the model inputs whose first axis is the batch, and keep others inside it.",
        expected="[N, …] for every input",
        found=shown,
    )


def prove_rows(run: Run, feed: Arrays, *, fixed: bool) -> None:
    """Require answers that have a row for each row and depend on nothing else.

    A model that draws at random, looks at the number of its rows or mixes them would answer on
    a device otherwise than here.

    Args:
        run: the model.
        feed: a few rows that it takes, different ones where possible.
        fixed: whether it only takes as many as these.

    Raises:
        SourceUnsupported: when it fails, or its answers are not rows.
        ConversionFailed: when its answer for a row changes.
    """
    count = len(next(iter(feed.values())))
    together = _tried(run, feed, count)
    _compare(together, _tried(run, feed, count), "when it is asked again")
    for rows in () if fixed else range(1, count):
        alone = _tried(run, _taken(feed, np.arange(rows)), rows)
        first = {name: values[:rows] for name, values in together.items()}
        _compare(first, alone, f"among {count} rows and among {rows}")


def agree(left: Array, right: Array) -> bool:
    """Tell whether answers are the same but for the order of sums."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    if left.dtype.kind != "f":
        return bool(np.array_equal(left, right))
    rtol = _RTOL[left.dtype.name]
    size = float(np.max(np.abs(left), initial=0.0, where=np.isfinite(left)))
    wide = left.astype(np.float64), right.astype(np.float64)
    return bool(np.allclose(*wide, rtol=rtol, atol=rtol * size, equal_nan=True))


def _compare(left: Arrays, right: Arrays, when: str) -> None:
    for name, values in left.items():
        if not agree(values, right[name]):
            raise ConversionFailed(
                f"the model must answer a row alike whatever comes with it, but its "
                f"{name!r} differs {when}",
                hint="Export it in evaluation mode (model.eval()), without what draws at "
                "random, counts the rows or mixes them.",
                expected="the same answer",
                found=f"another {name!r} {when}",
            )


def _tried(run: Run, feed: Arrays, rows: int) -> Arrays:
    try:
        answers = run(feed)
    except Exception as error:  # it is the user's model, which may raise anything
        raise SourceUnsupported(
            f"the model must answer {rows} rows, it raised {told(error)}",
            hint="Make the model take any number of rows, and save or describe it so.",
            expected=rows,
            found=type(error).__name__,
        ) from None
    for name, values in answers.items():
        if values.ndim == 0 or len(values) != rows:
            raise SourceUnsupported(
                f"output {name!r} must have a row for each of {rows} rows, "
                f"its shape is {list(values.shape)}",
                hint="Return only tensors whose first axis is the batch.",
                expected=rows,
                found=list(values.shape),
            )
    return answers


def told(error: BaseException) -> str:
    """Return what a library raised, without the advice that it adds for its own developers."""
    text = _ADVICE.sub("", " ".join(str(error).split())).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _taken(rows: Arrays, which: Array) -> Arrays:
    return {name: values[which] for name, values in rows.items()}


def _wide(values: Array) -> Array:
    return values.astype(np.float64) if values.dtype.kind == "f" else values
