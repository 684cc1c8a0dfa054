"""How each of scikit-learn's estimators is made for the sweep, and on what it learns."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.experimental import (  # noqa: F401 - they add estimators
    enable_halving_search_cv,
    enable_iterative_imputer,
)
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils import all_estimators, get_tags
from sweep_data import LEARN, Table


@dataclass(frozen=True)
class Case:
    """One estimator of the sweep.

    Attributes:
        name: its class.
        make: makes it, unfitted, with fixed seeds.
        form: what its rows are, a key of ``sweep_data.FORMS``.
        target: what it learns, a key of ``sweep_data.TARGETS``.
        learn: how many rows it learns on.
        missing: whether hard rows have missing values.
    """

    name: str
    make: Callable[[], Any]
    form: str = "floats"
    target: str = "nothing"
    learn: int = LEARN
    missing: bool = False

    def made_with(self) -> str:
        """Return what was chosen beside the defaults."""
        arguments = re.sub(r"\s+", " ", repr(self.make())).partition("(")[2][:-1]
        arguments = re.sub(r"(, )?random_state=0", "", arguments)
        chosen = [arguments] if arguments else []
        chosen += [self.form] if self.form != "floats" else []
        chosen += [self.target] if self.target not in ("classes", "numbers") else []
        chosen += [f"learns on {self.learn} rows"] if self.learn != LEARN else []
        return "; ".join(chosen)


def _logistic() -> Any:
    return LogisticRegression(max_iter=300)


# Arguments of estimators that cannot do without, or that take minutes with their defaults.
_ARGUMENTS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "AdaBoostClassifier": lambda: {"n_estimators": 20},
    "AdaBoostRegressor": lambda: {"n_estimators": 20},
    "BaggingRegressor": lambda: {"n_estimators": 5},
    "BaggingClassifier": lambda: {"n_estimators": 5},
    "ClassifierChain": lambda: {"estimator": _logistic()},
    "CategoricalNB": lambda: {"min_categories": 10},
    "ColumnTransformer": lambda: {
        "transformers": [
            ("word", OneHotEncoder(handle_unknown="ignore"), ["c0"]),
            ("number", StandardScaler(), ["my age (y)", "income"]),
        ]
    },
    "DictionaryLearning": lambda: {"max_iter": 5},
    "FeatureUnion": lambda: {
        "transformer_list": [
            ("scaled", StandardScaler()),
            ("pca", PCA(n_components=2)),
        ]
    },
    "FixedThresholdClassifier": lambda: {"estimator": _logistic(), "threshold": 0.3},
    "FrozenEstimator": lambda: {"estimator": _logistic()},
    "GaussianMixture": lambda: {"n_components": 3},
    "BayesianGaussianMixture": lambda: {"n_components": 3},
    "GaussianProcessRegressor": lambda: {
        "kernel": RBF(3.0) + WhiteKernel(),
        "normalize_y": True,
    },
    "GenericUnivariateSelect": lambda: {"mode": "k_best", "param": 4},
    "GridSearchCV": lambda: {"estimator": _logistic(), "param_grid": {"C": [0.1, 1.0]}},
    "HalvingGridSearchCV": lambda: {"estimator": _logistic(), "param_grid": {"C": [0.1, 1.0]}},
    "HalvingRandomSearchCV": lambda: {
        "estimator": _logistic(),
        "param_distributions": {"C": [0.1, 0.3, 1.0]},
    },
    "RandomizedSearchCV": lambda: {
        "estimator": _logistic(),
        "param_distributions": {"C": [0.1, 1.0]},
        "n_iter": 2,
    },
    "HashingVectorizer": lambda: {"n_features": 64},
    "FeatureHasher": lambda: {"n_features": 16},
    "IsotonicRegression": lambda: {"out_of_bounds": "clip"},
    "KMeans": lambda: {"n_clusters": 3},
    "BisectingKMeans": lambda: {"n_clusters": 3},
    "MiniBatchKMeans": lambda: {"n_clusters": 3, "n_init": 3},
    "LocalOutlierFactor": lambda: {"novelty": True},
    "MultiOutputClassifier": lambda: {"estimator": _logistic()},
    "MultiOutputRegressor": lambda: {"estimator": Ridge()},
    "OneVsOneClassifier": lambda: {"estimator": _logistic()},
    "OneVsRestClassifier": lambda: {"estimator": _logistic()},
    "OutputCodeClassifier": lambda: {"estimator": _logistic()},
    "OneHotEncoder": lambda: {"handle_unknown": "ignore"},
    "OrdinalEncoder": lambda: {"handle_unknown": "use_encoded_value", "unknown_value": -1},
    "Pipeline": lambda: {"steps": [("scale", StandardScaler()), ("model", _logistic())]},
    "FastICA": lambda: {"n_components": 4},
    "IncrementalPCA": lambda: {"n_components": 4},
    "KernelPCA": lambda: {"n_components": 4},
    "LabelPropagation": lambda: {"gamma": 0.3},
    "LabelSpreading": lambda: {"gamma": 0.3},
    "PCA": lambda: {"n_components": 4},
    "PolynomialCountSketch": lambda: {"n_components": 16},
    "QuadraticDiscriminantAnalysis": lambda: {"reg_param": 0.1},
    "SGDRegressor": lambda: {"eta0": 1e-4},
    "SelectPercentile": lambda: {"percentile": 50},
    "QuantileRegressor": lambda: {"alpha": 0.01},
    "RegressorChain": lambda: {"estimator": Ridge()},
    "RFE": lambda: {"estimator": _logistic(), "n_features_to_select": 4},
    "RFECV": lambda: {"estimator": _logistic(), "cv": 3},
    "SelectFromModel": lambda: {"estimator": _logistic()},
    "SelectKBest": lambda: {"k": 4},
    "SelectFpr": lambda: {"alpha": 0.01},
    "SelfTrainingClassifier": lambda: {"estimator": _logistic()},
    "SequentialFeatureSelector": lambda: {"estimator": RidgeClassifier(), "cv": 3},
    "SparseCoder": lambda: {"dictionary": np.eye(8)},
    "SparseRandomProjection": lambda: {"n_components": 4},
    "GaussianRandomProjection": lambda: {"n_components": 4},
    "StackingClassifier": lambda: {
        "estimators": [("tree", DecisionTreeClassifier(max_depth=5)), ("bayes", _logistic())]
    },
    "StackingRegressor": lambda: {
        "estimators": [("tree", DecisionTreeRegressor(max_depth=5)), ("ridge", Ridge())]
    },
    "VotingClassifier": lambda: {
        "estimators": [
            ("tree", DecisionTreeClassifier(max_depth=5)),
            ("logistic", _logistic()),
        ],
        "voting": "soft",
    },
    "VotingRegressor": lambda: {
        "estimators": [("tree", DecisionTreeRegressor(max_depth=5)), ("ridge", Ridge())]
    },
    "TargetEncoder": lambda: {"target_type": "continuous"},
    "TransformedTargetRegressor": lambda: {
        "regressor": Ridge(),
        "func": np.log1p,
        "inverse_func": np.expm1,
    },
    "TunedThresholdClassifierCV": lambda: {"estimator": _logistic(), "cv": 3},
    "RandomForestClassifier": lambda: {"n_estimators": 20},
    "RandomForestRegressor": lambda: {"n_estimators": 20},
    "ExtraTreesClassifier": lambda: {"n_estimators": 20},
    "ExtraTreesRegressor": lambda: {"n_estimators": 20},
    "IsolationForest": lambda: {"n_estimators": 20},
    "RandomTreesEmbedding": lambda: {"n_estimators": 10, "sparse_output": False},
    "RadiusNeighborsClassifier": lambda: {"radius": 1.0, "outlier_label": "most_frequent"},
    "RadiusNeighborsRegressor": lambda: {"radius": 1.0},
    "RadiusNeighborsTransformer": lambda: {"radius": 1.0},
    "SVC": lambda: {"probability": False},
    "MeanShift": lambda: {"bandwidth": 2.0},
    "MLPClassifier": lambda: {"hidden_layer_sizes": (32,), "max_iter": 60},
    "MLPRegressor": lambda: {"hidden_layer_sizes": (32,), "max_iter": 60},
    "KBinsDiscretizer": lambda: {
        "encode": "onehot-dense",
        "quantile_method": "averaged_inverted_cdf",
    },
}

# What they take, where it is not columns of numbers of either sign.
_FORMS = {
    "texts": ("CountVectorizer", "TfidfVectorizer", "HashingVectorizer"),
    "counts": (
        "CategoricalNB",
        "ComplementNB",
        "LatentDirichletAllocation",
        "MultinomialNB",
        "TfidfTransformer",
    ),
    "positive": ("AdditiveChi2Sampler", "MiniBatchNMF", "NMF", "SkewedChi2Sampler"),
    "categories": ("OneHotEncoder", "OrdinalEncoder", "TargetEncoder"),
    "mixed": ("ColumnTransformer",),
    "one column": (
        "IsotonicRegression",
        "RadiusNeighborsClassifier",
        "RadiusNeighborsRegressor",
        "RadiusNeighborsTransformer",
    ),
    "gaps": ("MissingIndicator",),
    "dicts": ("DictVectorizer", "FeatureHasher"),
    "labels": ("LabelBinarizer", "LabelEncoder"),
    "sets": ("MultiLabelBinarizer",),
    "images": ("PatchExtractor",),
}

# What they learn, where it is not the three classes or, for regressors, one number.
_TARGETS = {
    "two classes": (
        "GaussianProcessClassifier",
        "FixedThresholdClassifier",
        "TunedThresholdClassifierCV",
    ),
    "amounts": ("GammaRegressor", "PoissonRegressor", "TransformedTargetRegressor"),
    "numbers": ("TargetEncoder",),
    "several numbers": (
        "CCA",
        "MultiOutputRegressor",
        "MultiTaskElasticNet",
        "MultiTaskElasticNetCV",
        "MultiTaskLasso",
        "MultiTaskLassoCV",
        "PLSCanonical",
        "PLSSVD",
        "RegressorChain",
    ),
    "several classes": ("ClassifierChain", "MultiOutputClassifier"),
    "half labelled": ("LabelPropagation", "LabelSpreading", "SelfTrainingClassifier"),
}

# How many rows they learn on, where the time grows with the square or the cube.
_LEARN = {
    "KernelCenterer": 8,  # its rows are a kernel matrix, which is square
    "AffinityPropagation": 300,
    "ARDRegression": 1000,
    "GaussianProcessClassifier": 200,
    "GaussianProcessRegressor": 300,
    "GraphicalLassoCV": 500,
    "Isomap": 500,
    "KernelPCA": 500,
    "KernelRidge": 1000,
    "LabelPropagation": 500,
    "LabelSpreading": 500,
    "LocallyLinearEmbedding": 500,
    "MeanShift": 500,
    "NeighborhoodComponentsAnalysis": 500,
    "QuantileRegressor": 500,
    "TheilSenRegressor": 500,
}


def cases() -> list[Case]:
    """Return one case for every estimator that scikit-learn lists."""
    return [_case(name, kind) for name, kind in all_estimators()]


def _case(name: str, kind: type) -> Case:
    def make() -> Any:
        arguments = _ARGUMENTS.get(name, dict)()
        if "random_state" in inspect.signature(kind).parameters:
            arguments.setdefault("random_state", 0)
        return kind(**arguments)

    tags = get_tags(make())
    usual = "numbers" if tags.estimator_type == "regressor" else "classes"
    return Case(
        name=name,
        make=make,
        form=_listed(name, _FORMS, "floats"),
        target=_listed(name, _TARGETS, usual),
        learn=_LEARN.get(name, LEARN),
        missing=tags.input_tags.allow_nan,
    )


def _listed(name: str, groups: Mapping[str, tuple[str, ...]], usual: str) -> str:
    return next((group for group, names in groups.items() if name in names), usual)


def fit(case: Case, table: Table) -> Any:
    """Return the case's estimator, fitted on a table."""
    estimator = case.make()
    if isinstance(estimator, FrozenEstimator):
        estimator.estimator.fit(table.rows, table.target)
    elif case.form in ("labels", "sets"):
        estimator.fit(table.rows)
    else:
        estimator.fit(table.rows, table.target)
    return estimator
