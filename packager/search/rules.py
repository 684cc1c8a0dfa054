"""Rules: recipes that are known to be hopeless for a model or a target, and why."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import psutil
from onnx import ModelProto

from edge_runtime.contract.versions import at_least
from packager.graphs.model_files import ModelFiles, Weights
from packager.graphs.prepared import CONVOLUTIONS, DENSE, weighted_nodes
from packager.graphs.weight_only import LAYERS, TABLE, constant_bytes, large_bytes
from packager.recipes import (
    EFFORTS,
    FLOAT16,
    FLOAT32,
    FULL,
    INT4,
    INT8_DYNAMIC,
    INT8_WEIGHTS,
    NORMAL,
    Recipe,
)
from packager.record import Record, fingerprint
from packager.target import TargetProfile
from packager.target_rules import CPU
from packager.variant import Skipped

# Per-channel weights need a DequantizeLinear with an axis.
MIN_OPSET = 13
# The first operator set of ai.onnx.ml with the operator TreeEnsemble, and the first engine:
# 1.20 loads the set and has no kernel for the operator.
ML, TREE_OPSET, TREE_ENGINE = "ai.onnx.ml", 5, "1.21"
# What the tools hold at their worst, in sizes of the weights.
PEAK = 4
# What a graph in one piece may have, and what a rung leaves of the weights.
MAX_MESSAGE = (2 << 30) - 1
# What is skipped by this rule is looked at again once it is known what others lose.
NO_NEED = "no-need"
_SHRINKS = {FLOAT16: 2}
_ALREADY = ("QuantizeLinear", "DequantizeLinear", "MatMulInteger", "ConvInteger")


@dataclass(frozen=True)
class Case:
    """What rules judge a recipe by.

    Attributes:
        profile: the target.
        model: its plain float32 graph.
        weights: what the graph reads beside it.
        effort: one of ``EFFORTS``.
        losing: families whose plain recipe was made and lost too much quality.
        record: keeps what a replay must not decide anew.
    """

    profile: TargetProfile
    model: ModelProto
    weights: Weights | None
    effort: str
    losing: Collection[str]
    record: Record


def against(recipe: Recipe, case: Case) -> Skipped | None:
    """Return the first rule that speaks against trying a recipe; None where none does."""
    for name, rule in RULES.items():
        reason = rule(recipe, case)
        if reason is not None:
            return Skipped(recipe.name, reason, name)
    return None


def _not_in_profile(recipe: Recipe, case: Case) -> str | None:
    if recipe.family in case.profile.precisions:
        return None
    return f"the profile {case.profile.name} does not list {recipe.family}"


def _accelerator(recipe: Recipe, case: Case) -> str | None:
    """Operators that the CPU's kernels fuse may not be there on an accelerator."""
    if recipe.family != FLOAT32 or case.profile.providers[0] == CPU:
        return None
    return f"this form is made for the CPU, the target runs on {case.profile.providers[0]}"


def _effort(recipe: Recipe, case: Case) -> str | None:
    needed = NORMAL if recipe.remedy else recipe.effort
    if EFFORTS.index(needed) <= EFFORTS.index(case.effort):
        return None
    where = f" where {recipe.family} loses too much" if recipe.remedy else ""
    return f"it is tried with --effort {needed}{where}, this build has {case.effort}"


def _no_need(recipe: Recipe, case: Case) -> str | None:
    if not recipe.remedy or case.effort == FULL or recipe.family in case.losing:
        return None
    return (
        f"it mends what {recipe.family} loses, which did not miss the quality budget; "
        f"--effort {FULL} tries it all the same"
    )


def _already_quantized(recipe: Recipe, case: Case) -> str | None:
    if recipe.family != FLOAT32 and _operators(case.model).intersection(_ALREADY):
        return "the source model is quantized already"
    return None


def _nothing_to_quantize(recipe: Recipe, case: Case) -> str | None:
    if recipe.family == FLOAT32:
        return None
    kinds = _kinds(recipe)
    if any(node.op_type in kinds for node in weighted_nodes(case.model)):
        return None
    return (
        f"there is nothing to quantize: no {' or '.join(kinds)} carries weights, "
        f"the graph is made of {', '.join(sorted(_operators(case.model)))}"
    )


def _kinds(recipe: Recipe) -> tuple[str, ...]:
    """Return the operators whose weights a recipe makes small."""
    if recipe.family == INT8_WEIGHTS:
        return (*LAYERS, TABLE)
    dense_alone = recipe.family in (INT8_DYNAMIC, INT4) or recipe.dense_only
    return DENSE if dense_alone else DENSE + CONVOLUTIONS


def _few_weights(recipe: Recipe, case: Case) -> str | None:
    """Weights that floats are made of again only spare bytes: too few of them spare none."""
    if recipe.family not in (INT8_WEIGHTS, INT4):
        return None
    kinds = _kinds(recipe)
    small, whole = large_bytes(case.model, kinds), constant_bytes(case.model)
    if small * 2 >= whole:
        return None
    return (
        f"{small:,} of {whole:,} bytes of constants stand in matrices of "
        f"{' or '.join(kinds)} that could be made small: less than half"
    )


def _old_opset(recipe: Recipe, case: Case) -> str | None:
    version = next((item.version for item in case.model.opset_import if not item.domain), 0)
    if recipe.family in (FLOAT32, FLOAT16) or version >= MIN_OPSET:
        return None
    return f"int8 weights per channel need opset {MIN_OPSET}, the graph has {version}"


def _no_trees(recipe: Recipe, case: Case) -> str | None:
    if recipe.form != "trees":
        return None
    newest, engine = case.profile.opset[ML], case.profile.min_engine
    if newest < TREE_OPSET or not at_least(engine, TREE_ENGINE):
        return (
            f"this form needs {ML} {TREE_OPSET} and engine {TREE_ENGINE}, "
            f"the target has {ML} {newest} and engine {engine}"
        )
    found = any(name.startswith("TreeEnsemble") for name in _operators(case.model))
    return None if found else "there are no trees in the graph"


def _no_room(recipe: Recipe, case: Case) -> str | None:
    """Say why weights beside a graph are too many for tools that hold them all at once."""
    if case.weights is None or recipe.family == FLOAT32:
        return None
    size, shrinks = case.weights.content.size, _SHRINKS.get(recipe.family, 4)
    if size > shrinks * MAX_MESSAGE:
        return (
            f"{size / 1e9:.1f} GB of weights would stay more than the {MAX_MESSAGE:,} bytes "
            "that the tools can write"
        )
    needed, free = PEAK * size, psutil.virtual_memory().available
    # A replay goes by what the build found, for the rung is in the bundle or it is not.
    fits = case.record.measured(
        f"room/{recipe.name}/{fingerprint(ModelFiles.of(case.model, case.weights).mark)}",
        lambda: bool(needed <= free),
        lambda *_: None,
    )
    if fits:
        return None
    return (
        f"the tools need about {needed / 1e9:.1f} GB of memory for "
        f"{size / 1e9:.1f} GB of weights, which this machine did not have free"
    )


def _operators(model: ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


RULES: Mapping[str, Callable[[Recipe, Case], str | None]] = {
    "not-in-profile": _not_in_profile,
    "accelerator": _accelerator,
    "effort": _effort,
    "quantized-already": _already_quantized,
    "nothing-to-quantize": _nothing_to_quantize,
    "few-weights": _few_weights,
    "old-opset": _old_opset,
    "no-trees": _no_trees,
    NO_NEED: _no_need,
    "no-room": _no_room,
}
