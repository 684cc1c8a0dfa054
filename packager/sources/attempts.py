"""Asking a model for rows that it may refuse, in the child: which it answered, and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edge_runtime.contract.tensors import Array, Arrays


def attempt(
    answers: Callable[[Arrays], Arrays], rows: Arrays, blocks: Sequence[int]
) -> tuple[list[int], Arrays]:
    """Ask for all rows at once; where that fails by blocks, and in a refused block by rows.

    Args:
        answers: the model's own answers; whatever it raises is a refusal.
        rows: arrays of equally many rows.
        blocks: how many rows belong together, block by block; rows of a block are alike.

    Returns:
        The numbers of the refused rows, and the answers to all others in their order; no
        arrays at all where every row was refused.
    """
    together = _answered(answers, rows)
    if together is not None:
        return [], together
    refused: list[int] = []
    parts: list[Arrays] = []
    start = 0
    for size in blocks:
        block = np.arange(start, start + size)
        start += size
        whole = _answered(answers, _taken(rows, block))
        if whole is not None:
            parts.append(whole)
            continue
        for row in block.tolist():
            alone = _answered(answers, _taken(rows, np.array([row]))) if size > 1 else None
            if alone is None:
                refused.append(row)
            else:
                parts.append(alone)
    names = parts[0] if parts else {}
    return refused, {name: np.concatenate([part[name] for part in parts]) for name in names}


def _taken(rows: Arrays, which: Array) -> Arrays:
    return {name: values[which] for name, values in rows.items()}


def _answered(answers: Callable[[Arrays], Arrays], rows: Arrays) -> Arrays | None:
    """Return the answers; None where the model raises, and nobody knows what it may raise."""
    try:
        return answers(rows)
    except MemoryError:
        raise
    except Exception:  # a library's refusal has no type that all of them share
        return None
