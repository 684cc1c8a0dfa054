"""Making candidates: the graphs of several recipes at once, and none of them twice."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from joblib import Parallel, delayed
from onnx import ModelProto

from edge_runtime.contract.bundle.digests import sha256_hex
from edge_runtime.contract.tensors import Arrays
from edge_runtime.engine.session import CPU
from packager.graphs.model_files import MAPPED, ModelFiles, Weights
from packager.graphs.prepared import Ranges
from packager.recipes import FLOAT32, INT8_STATIC, PLAIN, Recipe
from packager.record import Record
from packager.search.rules import Case, against
from packager.stages.calibrate import calibrate
from packager.stages.node_errors import spare
from packager.stages.optimise import fused
from packager.stages.quantize import quantize
from packager.stages.trees import as_tree_ensemble
from packager.target import TargetProfile
from packager.variant import Candidate, Skipped
from packager.workspace import Workspace

# As joblib counts: all processors of this host, or of the cluster that took over.
ALL = -1


@dataclass(frozen=True)
class Order:
    """All that a graph is made of: nothing in it needs the record or this machine.

    Attributes:
        recipe: how to make it.
        model: the plain float32 graph.
        weights: what that reads beside it.
        reduce_range: whether weights take 7 bits.
        ranges: of a static recipe, by tensor; else empty.
        kept: names of nodes that stay float32.
    """

    recipe: Recipe
    model: ModelProto
    weights: Weights | None
    reduce_range: bool
    ranges: Ranges = field(default_factory=dict)
    kept: Sequence[str] = ()


def carry_out(order: Order) -> ModelProto | Skipped:
    """Make a graph, or say why it cannot be made; a pure function of a value that pickles."""
    recipe = order.recipe
    if recipe.family == FLOAT32:
        form = recipe.form
        made = (
            fused(order.model, order.weights)
            if form == "fused"
            else as_tree_ensemble(order.model)
        )
        return Skipped(recipe.name, made) if isinstance(made, str) else made
    return quantize(
        recipe,
        order.model,
        ranges=order.ranges,
        kept=order.kept,
        reduce_range=order.reduce_range,
        weights=order.weights,
    )


@dataclass(frozen=True)
class Maker:
    """Makes the candidates of one target.

    Attributes:
        profile: the target.
        model: its plain float32 graph.
        weights: what the graph reads beside it.
        calibration: rows that ranges are measured on; None where there are none.
        effort: one of ``EFFORTS``.
        jobs: how many graphs are made at once; None for all processors.
        record: keeps what was measured on the way.
        workspace: where weights of candidates lie.
        seen: the names of graphs by their digest.
        warnings: what the user should know of the calibration rows, as sentences, each once.
    """

    profile: TargetProfile
    model: ModelProto
    weights: Weights | None
    calibration: Arrays | None
    effort: str
    jobs: int | None
    record: Record
    workspace: Workspace
    seen: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, None] = field(default_factory=dict)

    def plain(self) -> Candidate:
        """Return plain float32, which is what everything else is made of."""
        files = ModelFiles.of(self.model, self.weights)
        self.seen[sha256_hex(files.graph)] = PLAIN.name
        return self._candidate(PLAIN, files)

    def beside(self) -> list[Candidate]:
        """Return the same graph for the CPU, where the profile wants it beside another's."""
        if not self.profile.cpu_rung:
            return []
        recipe = Recipe(f"{FLOAT32}-cpu", FLOAT32, form="plain")
        files = ModelFiles.of(self.model, self.weights)
        options = session_options(self.profile, files, CPU)
        return [Candidate(recipe.name, recipe, CPU, files, options)]

    def make(
        self, recipes: Sequence[Recipe], losing: Collection[str] = ()
    ) -> tuple[list[Candidate], list[Skipped]]:
        """Make what no rule speaks against.

        Args:
            recipes: what to try.
            losing: families whose plain recipe lost too much quality.

        Raises:
            ReplayMismatch: when a value does not agree with the one to be replayed.
        """
        # What runs a model does so here and in turn: it is measured, and the record keeps it.
        orders = [self._order(recipe, losing) for recipe in recipes]
        wanted = [one for one in orders if isinstance(one, Order)]
        # Tools hold large weights several times over: then one after the other.
        jobs = 1 if self.weights else self.jobs or ALL
        with _switches_kept():
            graphs = Parallel(n_jobs=jobs, prefer="threads")(map(delayed(carry_out), wanted))
        made = iter([self._placed(*pair) for pair in zip(wanted, graphs, strict=True)])
        found = [next(made) if isinstance(one, Order) else one for one in orders]
        return (
            [one for one in found if isinstance(one, Candidate)],
            [one for one in found if isinstance(one, Skipped)],
        )

    def _order(self, recipe: Recipe, losing: Collection[str]) -> Order | Skipped:
        case = Case(self.profile, self.model, self.weights, self.effort, losing, self.record)
        hopeless = against(recipe, case)
        if hopeless is not None:
            return hopeless
        ranges: Ranges = {}
        if recipe.family == INT8_STATIC:
            found = calibrate(
                recipe, self.model, self.calibration, weights=self.weights, record=self.record
            )
            if isinstance(found, Skipped):
                return found
            ranges = found.ranges
            self.warnings.update(dict.fromkeys(found.warnings))
        order = Order(recipe, self.model, self.weights, self.profile.reduce_range, ranges)
        return self._sparing(order) if recipe.sparing else order

    def _sparing(self, order: Order) -> Order | Skipped:
        """Leave those nodes as they are whose int8 form errs most."""
        kept = spare(
            order.recipe,
            self.model,
            self.calibration,
            lambda names: carry_out(replace(order, kept=names)),
            weights=self.weights,
            record=self.record,
        )
        return kept if isinstance(kept, Skipped) else replace(order, kept=kept)

    def _placed(self, order: Order, graph: ModelProto | Skipped) -> Candidate | Skipped:
        """Return a graph as files, unless another recipe made the same one."""
        if isinstance(graph, Skipped):
            return graph
        recipe = order.recipe
        first = self.seen.setdefault(
            sha256_hex(graph.SerializeToString(deterministic=True)), recipe.name
        )
        if first != recipe.name:
            return Skipped(recipe.name, f"its graph is that of {first}", "same-graph")
        kept = order.weights if recipe.family == FLOAT32 else None  # others took theirs in
        files = self.workspace.files(graph, kept, target=self.profile.name, rung=recipe.name)
        return self._candidate(recipe, files)

    def _candidate(self, recipe: Recipe, files: ModelFiles) -> Candidate:
        profile = self.profile
        provider = profile.providers[0]
        options = session_options(profile, files, provider)
        return Candidate(
            recipe.name, recipe, provider, files, options, profile.provider_options
        )


def session_options(profile: TargetProfile, files: ModelFiles, provider: str) -> dict[str, str]:
    """Return the profile's, and leave weights mapped that a private copy of is too large.

    The CPU's kernels want weights packed in their own way. For small batches that gains
    nothing, and where it takes more than half of the memory granted it is not worth it.
    """
    size = files.weights.content.size if files.weights else 0
    mapped = provider == CPU and 2 * size > profile.memory_bytes
    return {**profile.session_options, **(MAPPED if mapped else {})}


@contextmanager
def _switches_kept() -> Iterator[None]:
    """Leave warnings and logging as they are found.

    Tools that silence themselves do so for the whole process; of two threads that do, the last
    to end may restore what the other had set.
    """
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        try:
            yield
        finally:
            logging.disable(before)
