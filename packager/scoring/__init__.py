"""What answers are worth: metrics, agreement with float32, and how sure the rows make us."""

from __future__ import annotations

from packager.scoring.held_out import HeldOut, classes
from packager.scoring.judging import MIN_ROWS, Judge, worst
from packager.scoring.metric import Metric, choose_metric, named_metric

__all__ = [
    "MIN_ROWS",
    "HeldOut",
    "Judge",
    "Metric",
    "choose_metric",
    "classes",
    "named_metric",
    "worst",
]
