"""The inverses of what a regression's target went through, as nodes in float64.

Formulas: the ``inverse_transform`` of each class in scikit-learn's documentation; for
Yeo and Johnson's and Box and Cox's power transforms see doi:10.1093/biomet/87.4.954.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from packager.errors import ConversionFailed
from packager.sources.sklearn_wires import DOUBLE, Wires
