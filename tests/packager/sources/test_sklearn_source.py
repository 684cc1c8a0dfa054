"""Real models of many kinds: the graph in the engine answers as the model in the child does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from packager.errors import (
    ColumnMissing,
    ConversionFailed,
    DataUnusable,
    SourceUnreadable,
    SourceUnsupported,
)
from packager.graph import DEFAULT_OPSET
from packager.sources.sandbox import Sandbox
from packager.sources.sklearn_source import SklearnSource
from tests.packager.sources.conftest import (
    Opener,
    convert,
    dumped,
    engine_answers,
    raw,
    worst_difference,
)
