"""Held-out rows and answers to them, made up: no model runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_runtime.contract.tensors import Array, Arrays
from packager.scoring import HeldOut

ROLES = {"label": "label", "probability": "probabilities"}


def classified(
    truth: Any, labels: Sequence[Any] = (0, 1), *, roles: dict[str, str] | None = None
) -> HeldOut:
    """Return rows of a classification; the feed is only there to be counted."""
    known = np.asarray(truth)
    feed = {"x": np.zeros((len(known), 1), np.float32)}
    return HeldOut(feed, known, "classification", ROLES if roles is None else roles, labels)


def measured(truth: Any) -> HeldOut:
    """Return rows of a regression."""
    known = np.asarray(truth, np.float64)
    feed = {"x": np.zeros((len(known), 1), np.float32)}
    return HeldOut(feed, known, "regression", {"value": "value"})


def unknown(count: int, roles: dict[str, str]) -> HeldOut:
    """Return rows of which nobody knows the truth."""
    return HeldOut({"x": np.zeros((count, 1), np.float32)}, None, "other", roles)


def by_scores(scores: Any, labels: Sequence[Any] = (0, 1)) -> Arrays:
    """Return answers with these probabilities, whose best one is the label."""
    found = np.asarray(scores, np.float32)
    return {"label": np.asarray(labels)[found.argmax(axis=1)], "probabilities": found}


def drawn_scores(truth: Array, classes: int, *, noise: float, seed: int = 0) -> Array:
    """Return probabilities that are mostly right; the more noise, the less."""
    generator = np.random.default_rng(seed)
    scores = np.eye(classes)[truth] + generator.normal(0, noise, (len(truth), classes))
    scores = np.exp(scores)
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))
