"""Whether two versions of a model are used alike, and in words where they are not."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edge_runtime.contract.bundle.manifest import Interface
from edge_runtime.contract.tensors import TensorSpec
from edge_runtime.contract.values import Column

_MAX_NAMED = 4


def differences(before: Interface, after: Interface) -> tuple[str, str]:
    """Return in words what only the one interface has, and what only the other has.

    Both are empty where programs written for the one work with the other.
    """
    only_before: list[str] = []
    only_after: list[str] = []
    for part, words in _PARTS.items():
        left, right = words(before), words(after)
        if left != right:
            only_before.append(_told(part, left, right))
            only_after.append(_told(part, right, left))
    return "; ".join(only_before), "; ".join(only_after)


def _told(part: str, own: list[str], other: list[str]) -> str:
    """Return what one side has and the other has not; all where only the order differs."""
    named = [item for item in own if item not in other]
    if not named and sorted(own) == sorted(other):
        named = own
    rest = len(named) - _MAX_NAMED
    more = f" and {rest} more" if rest > 0 else ""
    return f"{part} {', '.join(named[:_MAX_NAMED]) or 'without those'}{more}"


def _specs(specs: Iterable[TensorSpec]) -> list[str]:
    return [f"{spec.name} {spec.text()}" for spec in specs]


def _column(column: Column) -> str:
    place = "" if column.index is None else f"[{column.index}]"
    missing = "may be missing" if column.missing == "allow" else "never missing"
    return f"{column.name} ({column.kind}, {missing}, to {column.input}{place})"


_PARTS: dict[str, Callable[[Interface], list[str]]] = {
    "inputs": lambda interface: _specs(interface.inputs),
    "outputs": lambda interface: _specs(interface.outputs),
    "columns": lambda interface: [_column(column) for column in interface.columns],
    "text that means missing": lambda interface: [
        repr(token) for token in interface.table.missing_tokens
    ],
    "task": lambda interface: [interface.task],
    "roles": lambda interface: [
        f"{role} in {output}" for role, output in sorted(interface.roles.items())
    ],
    "labels": lambda interface: [repr(label) for label in interface.labels],
}
