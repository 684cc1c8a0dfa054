"""Searches for the variants of real models, by the library rather than the command line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trained import Trained

from packager.budgets import Budgets
from packager.graph import Graph, SourceFacts
from packager.record import Record
from packager.report.facts import DataFacts
from packager.scoring import choose_metric
from packager.search.task import Task
from packager.stages.evaluate import host_is
from packager.target import load_profile
from packager.understanding import Rows
from packager.workspace import Workspace

# A target that this host is not: nothing is timed, so that every run chooses alike.
OTHER = load_profile("arm64-cpu" if host_is("x86-64") else "x86-64-cpu")
# One more that promises no CPU model, so that nothing is emulated.
ALONE = replace(OTHER, cpu_models=())
HERE = replace(load_profile("x86-64-cpu" if host_is("x86-64") else "arm64-cpu"), cpu_models=())

_SOURCE = SourceFacts("own", "tests", "0" * 64, {}, (), "")
_DATA = DataFacts("rows.csv", "", 1, "", "", 1, 1, 0, "")


def task_of(
    model: Trained, workspace: Workspace, *, rows: bool = True, ruin: float = 1, **changed: Any
) -> Task:
    """Return the search for a model's variants on ``ALONE``.

    Args:
        model: a fitted model.
        workspace: where weights lie.
        rows: whether there are calibration and held-out rows.
        ruin: what the calibration rows are multiplied by.
        changed: fields of the task that are otherwise.
    """
    held_out = model.held_out()
    feed = {name: array * ruin for name, array in model.calibration.items()}
    known = Rows(_DATA, feed, held_out, choose_metric(None, held_out))
    labels = tuple(held_out.labels)
    task = Task(
        profile=ALONE,
        graph=Graph(model.graph, (), (), (), model.task, model.roles, labels, _SOURCE),
        rows=known if rows else None,
        pool={name: array[:96] for name, array in held_out.feed.items()},
        budgets=Budgets(),
        effort="normal",
        jobs=None,
        single=False,
        record=Record(),
        workspace=workspace,
        say=lambda *_: None,
    )
    return replace(task, **changed)
