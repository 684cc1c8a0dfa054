"""Regressors whose target was transformed answer in the target's own units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeRegressor
from sklearn_graphs import assert_agree, both

from packager.errors import ConversionFailed
from packager.sources.sklearn.inverses import invertible

DATA = load_diabetes()
X, Y = DATA.data, DATA.target

FUNCTIONS = [
    (np.log1p, np.expm1),
    (np.log, np.exp),
    (np.log2, np.exp2),
    (np.exp2, np.log2),
    (np.expm1, np.log1p),
    (np.exp, np.log),
    (np.sqrt, np.square),
    (np.square, np.sqrt),
    (np.negative, np.negative),
    (np.reciprocal, np.reciprocal),
    (np.cbrt, lambda y: y),
    (lambda y: y**3, np.cbrt),
    (lambda y: 10**y, np.log10),
    (np.abs, np.abs),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("function", "inverse"), FUNCTIONS)
def test_numpy_s_functions_are_undone(function: Any, inverse: Any) -> None:
    size = Y / 100
    model = TransformedTargetRegressor(
        DecisionTreeRegressor(max_depth=4),
        func=function,
        inverse_func=inverse,
        check_inverse=False,
    ).fit(X[:300], size[:300])

    if inverse in (np.log1p, np.log, np.log2, np.log10, np.cbrt) or isinstance(
        inverse, np.ufunc
    ):
        assert_agree(both(model, X[300:]))
    else:
        with pytest.raises(ConversionFailed, match="has no known operator"):
            both(model, X[300:])


TRANSFORMERS = {
    "standard": StandardScaler(),
    "spread alone": StandardScaler(with_mean=False),
    "mean alone": StandardScaler(with_std=False),
    "range": MinMaxScaler((-1, 1)),
    "largest": MaxAbsScaler(),
    "robust": RobustScaler(),
    "middle alone": RobustScaler(with_scaling=False),
    "power": PowerTransformer(),
    "power of positive": PowerTransformer("box-cox", standardize=False),
    "quantiles": QuantileTransformer(n_quantiles=40),
    "normal quantiles": QuantileTransformer(n_quantiles=40, output_distribution="normal"),
    "two steps": make_pipeline(FunctionTransformer(np.log1p, np.expm1), StandardScaler()),
    "nothing": None,
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_are_undone(name: str) -> None:
    model = TransformedTargetRegressor(Ridge(0.01), transformer=TRANSFORMERS[name])
    model.fit(X[:300], Y[:300])

    found = both(model, X[300:])

    assert_agree(found)
    assert any("inverse" in sentence for sentence in found.repairs)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, -0.7, 2.6])
@pytest.mark.parametrize("method", ["yeo-johnson", "box-cox"])
def test_every_branch_of_the_power_transforms_is_undone(method: str, exponent: float) -> None:
    power = PowerTransformer(method, standardize=False).fit(Y[:, None])
    power.lambdas_ = np.array([exponent])
    model = TransformedTargetRegressor(LinearRegression(), transformer=power).fit(X, Y)
    model.transformer_.lambdas_ = np.array([exponent])
    inner = model.regressor_
    inner.coef_, inner.intercept_ = inner.coef_ / np.abs(inner.coef_).max(), 0.05

    with np.errstate(invalid="ignore"):
        assert_agree(both(model, X))


def test_several_targets_are_undone_each() -> None:
    targets = np.c_[Y, Y**2]
    for transformer in (
        StandardScaler(),
        PowerTransformer(),
        QuantileTransformer(n_quantiles=9),
    ):
        model = TransformedTargetRegressor(Ridge(0.01), transformer=transformer)

        found = both(model.fit(X, targets), X)

        assert_agree(found)
        assert found.actual["value"].shape == (len(X), 2)


def test_what_cannot_be_undone_is_told_before() -> None:
    own = FunctionTransformer(np.log, np.exp, inv_kw_args={"casting": "unsafe"})

    assert not invertible(own)
    assert not invertible(make_pipeline(own, StandardScaler()))
    assert not invertible(FunctionTransformer(inverse_func=[].append))
    assert invertible(FunctionTransformer())
