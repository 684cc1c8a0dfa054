"""Conversions that are known to go wrong easily; each must agree or be refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    BaggingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.feature_selection import RFE, SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sweep_cases import Case

Make = Callable[[], Any]


def _scaled(model: Any) -> Pipeline:
    return make_pipeline(StandardScaler(), model)


def _voting(**options: Any) -> VotingClassifier:
    members = [("bayes", GaussianNB()), ("tree", DecisionTreeClassifier(max_depth=5))]
    return VotingClassifier(members, **options)


def _texts(**options: Any) -> Pipeline:
    return make_pipeline(TfidfVectorizer(**options), LogisticRegression(max_iter=300))


def _imputing() -> Pipeline:
    return make_pipeline(
        SimpleImputer(add_indicator=True), StandardScaler(), LogisticRegression(max_iter=300)
    )


# In words: what is made of what; then the form of the rows and the target.
_CLASSES: Mapping[str, Make] = {
    "one-vs-rest of SVC": lambda: OneVsRestClassifier(SVC()),
    "one-vs-one of LinearSVC": lambda: OneVsOneClassifier(LinearSVC(random_state=0)),
    "bagging of SVC": lambda: BaggingClassifier(SVC(), n_estimators=3, random_state=0),
    "bagging of LinearSVC": lambda: BaggingClassifier(
        LinearSVC(random_state=0), n_estimators=3, random_state=0
    ),
    "SGD with modified_huber": lambda: _scaled(
        SGDClassifier(loss="modified_huber", random_state=0)
    ),
    "SGD with log_loss": lambda: _scaled(SGDClassifier(loss="log_loss", random_state=0)),
    "SVC that breaks ties": lambda: SVC(break_ties=True, decision_function_shape="ovr"),
    "SVC, one against one": lambda: SVC(decision_function_shape="ovo"),
    "neighbours by distance, classes": lambda: KNeighborsClassifier(weights="distance"),
    "neighbours after a scaler": lambda: _scaled(KNeighborsClassifier()),
    "isotonic calibration": lambda: CalibratedClassifierCV(
        LogisticRegression(max_iter=300), method="isotonic"
    ),
    "sigmoid calibration of LinearSVC": lambda: CalibratedClassifierCV(
        LinearSVC(random_state=0), method="sigmoid"
    ),
    "a scaler before a tree": lambda: _scaled(DecisionTreeClassifier(random_state=0)),
    "a scaler before a forest": lambda: _scaled(
        RandomForestClassifier(n_estimators=20, random_state=0)
    ),
    "bins before a tree": lambda: make_pipeline(
        KBinsDiscretizer(encode="ordinal", quantile_method="averaged_inverted_cdf"),
        DecisionTreeClassifier(random_state=0),
    ),
    "hard votes": lambda: _voting(voting="hard"),
    "soft votes with weights": lambda: _voting(voting="soft", weights=[2, 1]),
    "a search over a pipeline": lambda: GridSearchCV(
        _scaled(LogisticRegression(max_iter=300)), {"logisticregression__C": [0.1, 1.0]}
    ),
    "RFE that predicts, of a tree": lambda: RFE(
        DecisionTreeClassifier(random_state=0), n_features_to_select=3
    ),
    "a selector that keeps one column": lambda: SelectKBest(k=1),
    "the largest value as the norm": lambda: make_pipeline(
        Normalizer("max"), LogisticRegression(max_iter=300)
    ),
}
_NUMBERS: Mapping[str, Make] = {
    "neighbours by distance, numbers": lambda: KNeighborsRegressor(weights="distance"),
    "a scaler before a regression tree": lambda: _scaled(DecisionTreeRegressor(random_state=0)),
}
_AMOUNTS: Mapping[str, Make] = {
    "histogram boosting with a Poisson loss": lambda: HistGradientBoostingRegressor(
        loss="poisson", max_iter=30
    ),
    "histogram boosting with a gamma loss": lambda: HistGradientBoostingRegressor(
        loss="gamma", max_iter=30
    ),
}
_MISSING: Mapping[str, Make] = {
    "a tree that learned missing values": lambda: DecisionTreeClassifier(random_state=0),
    "a forest that learned missing values": lambda: RandomForestClassifier(
        n_estimators=20, random_state=0
    ),
    "bagging that learned missing values": lambda: BaggingClassifier(
        n_estimators=5, random_state=0
    ),
    "an isolation forest that learned missing values": lambda: IsolationForest(
        n_estimators=20, random_state=0
    ),
    "histogram boosting that learned missing values": lambda: HistGradientBoostingClassifier(
        max_iter=30
    ),
    "an imputer with its indicator": lambda: SimpleImputer(add_indicator=True),
    "an imputer with its indicator, in a pipeline": _imputing,
    "an imputer of the most frequent value": lambda: SimpleImputer(strategy="most_frequent"),
}
_TEXTS: Mapping[str, Make] = {
    "texts: the default words": _texts,
    "texts: sublinear frequencies": lambda: _texts(sublinear_tf=True),
    "texts: pairs with one-letter words": lambda: _texts(
        ngram_range=(1, 2),
        token_pattern=r"(?u)\b\w+\b",  # noqa: S106 - no password
    ),
    "texts: pairs of words": lambda: _texts(ngram_range=(1, 2)),
    "texts: stop words": lambda: _texts(stop_words=["the", "in", "is"]),
    "texts: stop words and pairs": lambda: _texts(ngram_range=(1, 2), stop_words=["the", "in"]),
    "texts: letters": lambda: _texts(analyzer="char", ngram_range=(1, 3)),
    "texts: letters within words": lambda: _texts(analyzer="char_wb", ngram_range=(2, 3)),
    "texts: accents taken off": lambda: _texts(strip_accents="unicode"),
    "texts: case kept, presence alone": lambda: make_pipeline(
        CountVectorizer(lowercase=False, binary=True), LogisticRegression(max_iter=300)
    ),
}
_CATEGORIES: Mapping[str, Make] = {
    "one-hot codes of rare categories": lambda: OneHotEncoder(
        min_frequency=400, handle_unknown="infrequent_if_exist"
    ),
    "one-hot codes without the first": lambda: OneHotEncoder(
        drop="first", handle_unknown="ignore"
    ),
    "numbers of categories, missing ones too": lambda: OrdinalEncoder(
        encoded_missing_value=-2, handle_unknown="use_encoded_value", unknown_value=-1
    ),
}


def traps() -> list[Case]:
    """Return one case for each."""
    categorical = HistGradientBoostingClassifier(
        categorical_features=[0, 1, 2], max_iter=30, random_state=0
    )
    return [
        *_cases(_CLASSES, "floats", "classes"),
        *_cases(_NUMBERS, "floats", "numbers"),
        *_cases(_AMOUNTS, "floats", "amounts"),
        *_cases(_MISSING, "gaps", "classes"),
        *_cases(_TEXTS, "texts", "classes"),
        *_cases(_CATEGORIES, "categories", "classes", missing=True),
        Case("histogram boosting with categories", lambda: categorical, "counts", "classes"),
        Case(
            "missing values where the model takes none",
            lambda: LogisticRegression(max_iter=300),
            "late gaps",
            "classes",
        ),
        Case("ridge regression of several targets", Ridge, "floats", "several numbers"),
    ]


def _cases(
    makes: Mapping[str, Make], form: str, target: str, *, missing: bool = False
) -> list[Case]:
    return [Case(name, make, form, target, missing=missing) for name, make in makes.items()]
