"""What a quantized variant does to answers, side by side with float32: tables for the page."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from packager.report.facts import Effect

# More classes than this make a table that nobody reads: the cells that differ are listed.
MAX_CLASSES = 12
MAX_CHANGES = 20


def effect_view(effect: Effect) -> dict[str, Any]:
    """Return what the template shows of a variant's effect: cells, bars or changes."""
    view: dict[str, Any] = {"kind": effect.kind, "variant": effect.variant}
    if effect.kind == "residuals":
        return {**view, "bars": _bars(effect)}
    if len(effect.names) > MAX_CLASSES:
        return {**view, "kind": "changes", **_changes(effect)}
    return {**view, "names": effect.names, "cells": _cells(effect)}


def _cells(effect: Effect) -> list[list[dict[str, Any]]]:
    """Return a row of cells for each true class; heat is the share of the class's rows."""
    return [
        [
            {
                "before": before,
                "after": after,
                "change": _signed(after - before),
                "heat": round(after / (sum(row_after) or 1), 2),
                "right": row == column,
            }
            for column, (before, after) in enumerate(zip(row_before, row_after, strict=True))
        ]
        for row, (row_before, row_after) in enumerate(
            zip(effect.before, effect.after, strict=True)
        )
    ]


def _changes(effect: Effect) -> dict[str, Any]:
    """Return the cells that differ most, with the names of their classes."""
    found: list[dict[str, Any]] = [
        {"true": true, "answered": answered, "cell": cell}
        for true, row in zip(effect.names, _cells(effect), strict=True)
        for answered, cell in zip(effect.names, row, strict=True)
        if cell["change"]
    ]
    found.sort(key=lambda one: -abs(one["cell"]["after"] - one["cell"]["before"]))
    return {"changes": found[:MAX_CHANGES], "more": max(0, len(found) - MAX_CHANGES)}


def _bars(effect: Effect) -> list[dict[str, Any]]:
    """Return a bar before and after for each bin of residuals."""
    before, after = effect.before[0], effect.after[0]
    tallest = max(*before, *after, 1)
    return [
        {
            "bin": name,
            "before": one,
            "after": other,
            "change": _signed(other - one),
            "width_before": round(100 * one / tallest, 1),
            "width_after": round(100 * other / tallest, 1),
        }
        for name, one, other in zip(_bins(effect), before, after, strict=True)
    ]


def _bins(effect: Effect) -> list[str]:
    names = list(effect.names)
    if len(names) == len(effect.before[0]) + 1:
        return [f"{low} to {high}" for low, high in pairwise(names)]
    return names


def _signed(change: int) -> str:
    return f"{change:+,}" if change else ""
