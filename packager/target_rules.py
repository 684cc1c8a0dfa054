"""What the keys of a target profile take, each by itself and together."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from edge_runtime.contract.bundle.manifest import (
    MAX_FLAGS,
    PROVIDER_OPTIONS,
    SESSION_OPTIONS,
    is_cpu_flag,
    is_name,
)
from edge_runtime.contract.versions import at_least
from packager.recipes import (
    FAMILIES,
    FLOAT16,
    FLOAT32,
    INT4,
    INT8_DYNAMIC,
    INT8_STATIC,
    INT8_WEIGHTS,
)

CPU = "CPUExecutionProvider"
ARCHITECTURES = ("x86-64", "arm64")


class Ceiling(NamedTuple):
    """The newest graphs that an engine loads: ONNX's operator set, ``ai.onnx.ml``'s, and IR."""

    opset: int
    opset_ml: int
    ir: int


# Since which ONNX Runtime, measured. 1.20 loads ai.onnx.ml 5 as well, but has no kernel for the
# one operator that came with it, TreeEnsemble.
CEILINGS = {
    "1.20": Ceiling(21, 4, 10),
    "1.21": Ceiling(21, 5, 10),
    "1.22": Ceiling(22, 5, 10),
    "1.23": Ceiling(23, 5, 11),
    "1.25": Ceiling(26, 5, 13),
    "1.32": Ceiling(28, 5, 14),
}


@dataclass(frozen=True)
class Rule:
    """What one key of a profile must hold: in words, and as a test."""

    wanted: str
    fits: Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _whole(low: int, high: int) -> Rule:
    return Rule(
        f"an integer from {low} to {high}",
        lambda value: type(value) is int and low <= value <= high,
    )


def _one_of(*values: str) -> Rule:
    return Rule(f"one of {', '.join(values)}", lambda value: value in values)


def _texts(wanted: str, fits: Callable[[str], bool]) -> Rule:
    def holds(value: Any) -> bool:
        is_list = isinstance(value, list) and all(map(_text, value))
        return is_list and 0 < len(set(value)) == len(value) and all(map(fits, value))

    return Rule(f"a list of different {wanted}", holds)


def _options(known: frozenset[str]) -> Rule:
    def holds(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and value.keys() <= known
            and all(map(_text, value.values()))
        )

    return Rule(f"a table of texts with keys out of {', '.join(sorted(known))}", holds)


def _cpus(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(item, dict)
            and item.keys() == {"name", "qemu"}
            and all(map(_text, item.values()))
            for item in value
        )
    )


def _flag_groups(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= MAX_FLAGS
        and all(
            isinstance(group, list)
            and 0 < len(group) <= MAX_FLAGS
            and all(_text(flag) and is_cpu_flag(flag) for flag in group)
            for group in value
        )
    )


_FLAG = Rule("true or false", lambda value: isinstance(value, bool))
_VERSION = re.compile(r"1\.[0-9]{1,3}(\.[0-9]{1,3})?")

RULES: Mapping[str, Rule] = {
    "name": Rule(
        "a name of lower-case letters, digits, dots, dashes and underscores",
        lambda value: _text(value) and is_name(value),
    ),
    "description": Rule("one line of text", lambda value: _text(value) and "\n" not in value),
    "priority": _whole(0, 1000),
    "platform.os": _one_of("linux"),
    "platform.architecture": _one_of(*ARCHITECTURES),
    "platform.cpus": Rule("a list of tables, each with the texts name and qemu", _cpus),
    "platform.cpu-flags": Rule(
        "a list of lists of flags as /proc/cpuinfo names them", _flag_groups
    ),
    "platform.wheel-tags": _texts("platform tags", lambda tag: "linux" in tag),
    "engine.minimum": Rule(
        f"a version of ONNX Runtime, {min(CEILINGS)} or newer, as text",
        lambda value: (
            _text(value)
            and _VERSION.fullmatch(value) is not None
            and at_least(value, min(CEILINGS))
        ),
    ),
    "engine.providers": _texts(
        "providers by their full names", lambda name: name.endswith("ExecutionProvider")
    ),
    "engine.provider-options": _options(PROVIDER_OPTIONS),
    "engine.session-options": _options(SESSION_OPTIONS),
    "graph.opset": _whole(13, max(one.opset for one in CEILINGS.values())),
    "graph.opset-ml": _whole(1, max(one.opset_ml for one in CEILINGS.values())),
    "graph.ir": _whole(7, max(one.ir for one in CEILINGS.values())),
    "variants.precisions": _texts(
        f"families out of {', '.join(FAMILIES)}", lambda family: family in FAMILIES
    ),
    "variants.reduce-range": _FLAG,
    "variants.cpu-rung": _FLAG,
    "budget.memory-mb": _whole(1, 1_000_000),
    "budget.bundle-mb": _whole(1, 1_000_000),
    "threads.intra-op": _whole(1, 256),
}


def conflict(flat: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the first key that does not go with the others and what it must be, if any does.

    Args:
        flat: every key with its value, each of which fits its rule.
    """
    engine = flat["engine.minimum"]
    newest = next(
        ceiling for since, ceiling in reversed(CEILINGS.items()) if at_least(engine, since)
    )
    ceilings = {
        "graph.opset": newest.opset,
        "graph.opset-ml": newest.opset_ml,
        "graph.ir": newest.ir,
    }
    families, on_cpu = flat["variants.precisions"], flat["engine.providers"][0] == CPU
    barred = {FLOAT16} if on_cpu else {INT8_STATIC, INT8_DYNAMIC, INT8_WEIGHTS, INT4}
    for key, wrong, wanted in (
        *(
            (key, flat[key] > ceiling, f"at most {ceiling} for engine {engine}")
            for key, ceiling in ceilings.items()
        ),
        ("variants.precisions", families[-1] != FLOAT32, f"a list that ends with {FLOAT32}"),
        (
            "variants.precisions",
            not barred.isdisjoint(families),
            f"a list without {' or '.join(sorted(barred))} on {flat['engine.providers'][0]}",
        ),
        ("variants.cpu-rung", on_cpu and flat["variants.cpu-rung"], f"false on {CPU}"),
    ):
        if wrong:
            return key, wanted
    return None
