"""XGBoost, LightGBM and CatBoost by themselves: their graphs answer as they do, or refuse."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from onnx import ModelProto
from sources import convert, engine_answers, kinds_of, raw, worst_difference
from tensor_models import Children
from tree_cases import same

from packager.errors import (
    ColumnMissing,
    ConversionFailed,
    DataUnusable,
    PickleRefused,
    SourceFailed,
    SourceUnreadable,
)
from packager.graph import Graph
from packager.sources.child_source import ChildSource
from packager.sources.options import SourceOptions
from packager.stages.convert import open_source
from packager.stages.optimise import optimise
from packager.stages.trees import as_tree_ensemble

xgboost = pytest.importorskip("xgboost")
lightgbm = pytest.importorskip("lightgbm")
catboost = pytest.importorskip("catboost")

NAMES = ["age", "my weight", "größe", "d", "e"]
TREES = 20


def _table(rows: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    values = random.normal(size=(rows, len(NAMES)))
    values[random.random(values.shape) < 0.1] = np.nan
    return pd.DataFrame(values, columns=NAMES)


ROWS = _table(600, 0)
HELD_OUT = _table(300, 1)
SCORE = ROWS["age"].fillna(0.3) + ROWS["my weight"].fillna(-0.5) / 2
TWO = (SCORE > 0).to_numpy().astype(int)
THREE = TWO + (SCORE > 0.8).to_numpy()
WORDS = np.array(["klein", "größer", "大"])[THREE]
AMOUNT = np.exp(SCORE).to_numpy()
SHARE = TWO * 0.8 + 0.1
PAIR = np.c_[AMOUNT, SCORE]


def xgb(kind: str = "XGBClassifier", **options: Any) -> Any:
    return getattr(xgboost, kind)(n_estimators=TREES, max_depth=4, **options)


def lgbm(kind: str = "LGBMClassifier", **options: Any) -> Any:
    return getattr(lightgbm, kind)(n_estimators=TREES, verbose=-1, **options)


def cat(kind: str = "CatBoostClassifier", **options: Any) -> Any:
    quiet = {"verbose": 0, "allow_writing_files": False}
    return getattr(catboost, kind)(iterations=TREES, depth=4, **quiet, **options)


def converted(source: ChildSource, table: pd.DataFrame = HELD_OUT) -> Graph:
    return convert(source, table).accepting_missing(list(table))


def distance(source: ChildSource, graph: Graph, table: pd.DataFrame = HELD_OUT) -> float:
    """Return how far the graph stands from its source; labels must be the same."""
    expected = source.reference(raw(table))
    for values in expected.values():
        assert len(np.unique(values)) > 1
    sizes = [float(np.abs(v).max()) for v in expected.values() if v.dtype.kind == "f"]
    return worst_difference(expected, engine_answers(graph, raw(table))) / max(1, *sizes)


EXACT: dict[str, Callable[[], Any]] = {
    "xgboost, two classes": lambda: xgb().fit(ROWS, TWO),
    "xgboost, three classes": lambda: xgb().fit(ROWS, THREE),
    "xgboost, classes by softmax": lambda: xgb(objective="multi:softmax").fit(ROWS, THREE),
    "xgboost, parallel trees": lambda: xgb(num_parallel_tree=3, subsample=0.5).fit(ROWS, THREE),
    "xgboost, random forest": lambda: xgb("XGBRFClassifier").fit(ROWS, TWO),
    "xgboost, dart": lambda: xgb(booster="dart", rate_drop=0.5).fit(ROWS, TWO),
    "xgboost, pruned": lambda: xgb(tree_method="exact", gamma=2).fit(ROWS, TWO),
    "xgboost, base score": lambda: xgb(base_score=0.2).fit(ROWS, TWO),
    "xgboost, zeros missing": lambda: xgb(missing=0.0).fit(ROWS.round(), TWO),
    "xgboost, squared error": lambda: xgb("XGBRegressor").fit(ROWS, AMOUNT),
    "xgboost, poisson": lambda: xgb("XGBRegressor", objective="count:poisson").fit(
        ROWS, AMOUNT
    ),
    "xgboost, gamma": lambda: xgb("XGBRegressor", objective="reg:gamma").fit(ROWS, AMOUNT),
    "xgboost, tweedie": lambda: xgb("XGBRegressor", objective="reg:tweedie").fit(ROWS, AMOUNT),
    "xgboost, cox": lambda: xgb("XGBRegressor", objective="survival:cox").fit(ROWS, AMOUNT),
    "xgboost, logistic": lambda: xgb("XGBRegressor", objective="reg:logistic").fit(ROWS, SHARE),
    "xgboost, two targets": lambda: xgb("XGBRegressor").fit(ROWS, PAIR),
    "xgboost, ranks": lambda: xgb("XGBRanker").fit(ROWS, THREE, qid=np.arange(600) // 20),
    "lightgbm, two classes": lambda: lgbm().fit(ROWS, TWO),
    "lightgbm, words": lambda: lgbm().fit(ROWS, WORDS),
    "lightgbm, one against all": lambda: lgbm(objective="multiclassova").fit(ROWS, THREE),
    "lightgbm, random forest": lambda: lgbm(
        boosting_type="rf", bagging_freq=1, bagging_fraction=0.6
    ).fit(ROWS, TWO),
    "lightgbm, dart": lambda: lgbm(boosting_type="dart").fit(ROWS, TWO),
    "lightgbm, steep sigmoid": lambda: lgbm(sigmoid=2.0).fit(ROWS, TWO),
    "lightgbm, no missing values": lambda: lgbm(use_missing=False).fit(ROWS, TWO),
    "lightgbm, trained complete": lambda: lgbm().fit(ROWS.fillna(0.1), TWO),
    "lightgbm, squared error": lambda: lgbm("LGBMRegressor").fit(ROWS, AMOUNT),
    "lightgbm, poisson": lambda: lgbm("LGBMRegressor", objective="poisson").fit(ROWS, AMOUNT),
    "lightgbm, square root": lambda: lgbm("LGBMRegressor", reg_sqrt=True).fit(ROWS, SCORE),
    "lightgbm, cross entropy": lambda: lgbm(
        "LGBMRegressor", objective="cross_entropy_lambda"
    ).fit(ROWS, SHARE),
    "lightgbm, ranks": lambda: lgbm("LGBMRanker").fit(ROWS, THREE, group=[20] * 30),
    "catboost, two classes": lambda: cat().fit(ROWS, TWO),
    "catboost, words": lambda: cat().fit(ROWS, WORDS),
    "catboost, truth": lambda: cat().fit(ROWS, TWO == 1),
    "catboost, two classes by softmax": lambda: cat(loss_function="MultiClass").fit(ROWS, TWO),
    "catboost, one against all": lambda: cat(loss_function="MultiClassOneVsAll").fit(
        ROWS, THREE
    ),
    "catboost, missing are largest": lambda: cat(nan_mode="Max").fit(ROWS, TWO),
    "catboost, squared error": lambda: cat("CatBoostRegressor").fit(ROWS, AMOUNT),
    "catboost, poisson": lambda: cat("CatBoostRegressor", loss_function="Poisson").fit(
        ROWS, AMOUNT
    ),
    "catboost, two targets": lambda: cat("CatBoostRegressor", loss_function="MultiRMSE").fit(
        ROWS, PAIR
    ),
}


@pytest.mark.parametrize("fitted", EXACT.values(), ids=EXACT.keys())
def test_graph_and_booster_answer_alike(
    pickled: Callable[[Any], ChildSource], fitted: Callable[[], Any]
) -> None:
    model = fitted()
    source = pickled(model)
    graph = converted(source)
    table = HELD_OUT.round() if getattr(model, "missing", None) == 0 else HELD_OUT
    assert distance(source, graph, table) < 2e-6
    assert graph.source.framework == type(model).__module__.partition(".")[0]
    assert graph.source.framework in graph.source.versions
    _check_smaller_forms(graph, table)


def _check_smaller_forms(graph: Graph, table: pd.DataFrame) -> None:
    """Its trees may be stripped and said otherwise, and answer with the same bits."""
    answers = engine_answers(graph, raw(table))
    stripped = optimise(graph.model, opset={}, ir=graph.model.ir_version)
    assert stripped.ByteSize() < graph.model.ByteSize()
    for form in (stripped, as_tree_ensemble(stripped)):
        if isinstance(form, ModelProto):
            assert same(answers, engine_answers(replace(graph, model=form), raw(table)))


def _saved(model: Any, path: Path) -> Path:
    getattr(model, "booster_", model).save_model(str(path))
    return path


@pytest.mark.parametrize(
    ("fitted", "name"),
    [
        (lambda: xgb().fit(ROWS, THREE), "model.json"),
        (lambda: xgb().fit(ROWS, TWO), "model.ubj"),
        (lambda: xgb("XGBRegressor", objective="reg:gamma").fit(ROWS, AMOUNT), "gamma.ubj"),
        (lambda: lgbm().fit(ROWS, THREE), "model.txt"),
        (lambda: lgbm("LGBMRegressor", objective="tweedie").fit(ROWS, AMOUNT), "tweedie.txt"),
        (lambda: cat().fit(ROWS, WORDS), "model.cbm"),
        (lambda: cat("CatBoostRegressor", loss_function="Poisson").fit(ROWS, AMOUNT), "p.cbm"),
    ],
    ids=["json", "ubj", "gamma", "txt", "tweedie", "cbm", "poisson"],
)
def test_a_librarys_own_file_needs_no_trust_and_answers_alike(
    tmp_path: Path, fitted: Callable[[], Any], name: str
) -> None:
    model = fitted()
    with open_source(_saved(model, tmp_path / name)) as source:
        graph = convert(source, HELD_OUT).accepting_missing(NAMES)  # type: ignore[arg-type]
        assert distance(source, graph) < 1e-6  # type: ignore[arg-type]
        answers = source.reference(raw(HELD_OUT))
        assert answers is not None
        told = source.describe(kinds_of(HELD_OUT))
    if hasattr(model, "predict_proba"):
        np.testing.assert_allclose(
            answers["probabilities"], model.predict_proba(HELD_OUT), atol=1e-6
        )
    else:
        np.testing.assert_allclose(
            answers["value"][:, 0], model.predict(HELD_OUT.to_numpy()), rtol=1e-6
        )
    assert [column.name for column in told.columns] == NAMES
    assert graph.source.containment


def test_a_bare_booster_in_a_pickle_answers_as_its_estimator(
    pickled: Callable[[Any], ChildSource],
) -> None:
    for model in (xgb().fit(ROWS, TWO), lgbm().fit(ROWS, TWO)):
        inner = model.get_booster() if hasattr(model, "get_booster") else model.booster_
        source = pickled(inner)
        assert distance(source, converted(source)) < 1e-6
        expected = model.predict_proba(HELD_OUT)
        np.testing.assert_allclose(
            source.reference(raw(HELD_OUT))["probabilities"], expected, atol=1e-6
        )


def test_early_stopping_counts_for_an_estimator_and_not_for_a_bare_booster(
    tmp_path: Path,
) -> None:
    model = xgboost.XGBClassifier(n_estimators=200, early_stopping_rounds=3, learning_rate=0.7)
    model.fit(ROWS[:400], THREE[:400], eval_set=[(ROWS[400:], THREE[400:])], verbose=False)
    booster = model.get_booster()
    assert booster.num_boosted_rounds() > model.best_iteration + 1
    booster.save_model(tmp_path / "bare.json")
    model.save_model(tmp_path / "estimator.json")
    rows = xgboost.DMatrix(HELD_OUT)
    wanted = {"bare": booster.predict(rows), "estimator": model.predict_proba(HELD_OUT)}
    assert np.abs(wanted["bare"] - wanted["estimator"]).max() > 1e-3
    for name, expected in wanted.items():
        with open_source(tmp_path / f"{name}.json") as source:
            graph = convert(source, HELD_OUT).accepting_missing(NAMES)  # type: ignore[arg-type]
            found = engine_answers(graph, raw(HELD_OUT))["probabilities"]
        np.testing.assert_allclose(found, expected, atol=1e-6)


def _thresholds(model: Any) -> list[list[float]]:
    """Return each feature's thresholds, as the library holds them."""
    if hasattr(model, "get_booster"):
        table = model.get_booster().trees_to_dataframe().dropna(subset=["Split"])
        pairs = zip(table["Feature"].map(NAMES.index), table["Split"], strict=True)
    elif hasattr(model, "booster_"):
        table = model.booster_.trees_to_dataframe().dropna(subset=["split_feature"])
        order = model.booster_.feature_name()
        pairs = zip(table["split_feature"].map(order.index), table["threshold"], strict=True)
    else:
        return [model.get_borders()[index] for index in range(len(NAMES))]
    found: list[list[float]] = [[] for _ in NAMES]
    for feature, value in pairs:
        found[feature].append(value)
    return found


@pytest.mark.parametrize("make", [xgb, lgbm, cat], ids=["xgboost", "lightgbm", "catboost"])
@pytest.mark.parametrize("grain", [np.float32, np.float64], ids=["float32", "float64"])
def test_rows_at_and_next_to_thresholds_take_the_same_way(
    pickled: Callable[[Any], ChildSource], make: Callable[[], Any], grain: Any
) -> None:
    model = make().fit(ROWS, THREE)
    random = np.random.default_rng(2)
    table = _table(2000, 3)
    for feature, values in enumerate(_thresholds(model)):
        finite = [value for value in values if abs(value) < 1e30]
        at = random.choice(np.array(finite, dtype=grain), len(table))
        step = random.choice([-np.inf, 0, np.inf], len(table))
        moved = np.where(step == 0, at, np.nextafter(at, step.astype(grain)))
        there = random.random(len(table)) < 0.8
        table[NAMES[feature]] = np.where(there, moved.astype(float), table[NAMES[feature]])
    source = pickled(model)
    assert distance(source, converted(source), table) < 1e-6


def test_labels_of_ties_are_the_boosters_own(pickled: Callable[[Any], ChildSource]) -> None:
    halves = pd.DataFrame({"a": np.tile([0.0, 1.0], 20), "b": np.repeat([0.0, 1.0], 20)})
    labels = np.tile([0, 1, 1, 0], 10)
    for model in (xgb(base_score=0.5, max_leaves=1), lgbm(min_child_samples=1), cat()):
        model.fit(halves, labels)
        source = pickled(model)
        graph = converted(source, halves)
        found = engine_answers(graph, raw(halves))
        np.testing.assert_array_equal(found["label"], np.ravel(model.predict(halves)))


def test_a_threshold_of_catboost_decides_inside_the_graph(
    pickled: Callable[[Any], ChildSource],
) -> None:
    model = cat().fit(ROWS, TWO)
    default = model.predict(HELD_OUT)
    model.set_probability_threshold(0.2)
    assert (model.predict(HELD_OUT) != default).any()
    source = pickled(model)
    assert distance(source, converted(source)) < 1e-6


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "gblinear": (lambda: xgb("XGBRegressor", booster="gblinear").fit(ROWS, AMOUNT), "gblinear"),
    "hinge": (lambda: xgb(objective="binary:hinge").fit(ROWS, TWO), "binary:hinge"),
    "vector leaves": (
        lambda: xgb("XGBRegressor", multi_strategy="multi_output_tree").fit(ROWS, PAIR),
        "several targets",
    ),
    "several labels": (lambda: xgb().fit(ROWS, np.c_[TWO, THREE > 1]), "several labels"),
    "xgboost's categories": (
        lambda: xgb(enable_categorical=True).fit(categories(), TWO),
        "categories",
    ),
    "lightgbm's categories": (lambda: lgbm().fit(categories(), TWO), "categories"),
    "zeros are missing": (
        lambda: lgbm(zero_as_missing=True).fit(ROWS.round(), TWO),
        "zero_as_missing",
    ),
    "linear leaves": (
        lambda: lgbm("LGBMRegressor", linear_tree=True).fit(ROWS.fillna(0), AMOUNT),
        "linear_tree",
    ),
    "catboost's categories": (
        lambda: cat(cat_features=["e"]).fit(categories(str), TWO),
        "categories",
    ),
    "catboost's asymmetric trees": (
        lambda: cat(grow_policy="Lossguide").fit(ROWS, TWO),
        "oblivious",
    ),
    "uncertainty": (
        lambda: cat("CatBoostRegressor", loss_function="RMSEWithUncertainty").fit(ROWS, AMOUNT),
        "RMSEWithUncertainty",
    ),
    "fractional labels": (lambda: cat().fit(ROWS, TWO * 1.5), "fractions"),
}


def categories(kind: Any = "category") -> pd.DataFrame:
    named = pd.Series(np.where(ROWS["e"] > 0, "a", "b")).astype(kind)
    return ROWS.assign(e=named)


@pytest.mark.parametrize(("fitted", "cause"), REFUSED.values(), ids=REFUSED.keys())
def test_what_has_no_faithful_form_is_refused_by_its_cause(
    pickled: Callable[[Any], ChildSource], fitted: Callable[[], Any], cause: str
) -> None:
    with pytest.raises(ConversionFailed, match=cause):
        convert(pickled(fitted()), HELD_OUT)


def test_an_objective_of_ones_own_gives_numbers_and_no_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "def custom(truth, found):\n    return found - truth, truth * 0 + 1\n"
    (tmp_path / "objectives.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    custom = import_module("objectives").custom
    options = SourceOptions(trust_pickle=True, modules=(tmp_path,))
    path = tmp_path / "model.joblib"
    joblib.dump(lgbm("LGBMRegressor", objective=custom).fit(ROWS, AMOUNT), path)
    with open_source(path, options) as source:
        graph = convert(source, HELD_OUT).accepting_missing(NAMES)  # type: ignore[arg-type]
        assert distance(source, graph) < 1e-6  # type: ignore[arg-type]
    joblib.dump(lgbm(objective=custom).fit(ROWS, TWO), path)
    with (
        open_source(path, options) as source,
        pytest.raises(ConversionFailed, match="its objective is a function"),
    ):
        convert(source, HELD_OUT)  # type: ignore[arg-type]


def test_the_doctor_hears_the_same_cause(pickled: Callable[[Any], ChildSource]) -> None:
    (good,) = pickled(xgb().fit(ROWS, TWO)).diagnose()
    assert (good["verdict"], good["form"]) == ("slower", "TreeEnsembleRegressor, sigmoid")
    assert "batches of thousands" in good["why"]
    (even,) = pickled(lgbm("LGBMRegressor").fit(ROWS, AMOUNT)).diagnose()
    assert (even["verdict"], even["form"]) == ("converts", "TreeEnsembleRegressor")
    (bad,) = pickled(xgb("XGBRegressor", booster="gblinear").fit(ROWS, AMOUNT)).diagnose()
    assert bad["verdict"] == "refused"
    assert "gblinear" in bad["why"]


# --- columns -------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [xgb, lgbm, cat], ids=["xgboost", "lightgbm", "catboost"])
def test_columns_are_found_by_name_and_without_names_by_order(
    pickled: Callable[[Any], ChildSource], make: Callable[[], Any]
) -> None:
    shuffled = HELD_OUT[NAMES[::-1]]
    named = pickled(make().fit(ROWS, TWO))
    graph = converted(named, shuffled)
    assert {column.name for column in graph.columns} == set(NAMES)
    found = engine_answers(graph, raw(HELD_OUT))
    assert worst_difference(named.reference(raw(shuffled)), found) < 1e-6

    bare = pickled(make().fit(ROWS.to_numpy(), TWO))
    graph = converted(bare)
    assert [column.name for column in graph.columns] == NAMES
    assert distance(bare, graph) < 1e-6


@pytest.mark.parametrize("make", [xgb, lgbm, cat], ids=["xgboost", "lightgbm", "catboost"])
def test_other_columns_and_texts_are_refused(
    pickled: Callable[[Any], ChildSource], make: Callable[[], Any]
) -> None:
    source = pickled(make().fit(ROWS, TWO))
    with pytest.raises(ColumnMissing, match="größe"):
        source.describe(kinds_of(HELD_OUT.drop(columns="größe")))
    with pytest.raises(DataUnusable, match="'d' is text"):
        source.describe(kinds_of(HELD_OUT.assign(d="x")))
    bare = pickled(make().fit(ROWS.to_numpy(), TWO))
    with pytest.raises(DataUnusable, match="5 columns"):
        bare.describe(kinds_of(HELD_OUT.drop(columns="größe")))


# --- bad files -----------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["json", "ubj", "txt", "cbm"])
def test_a_truncated_file_is_told_and_opens_nothing(
    children: Children, directory: Path, end: str
) -> None:
    make = {"json": xgb, "ubj": xgb, "txt": lgbm, "cbm": cat}[end]
    form = {xgb: "xgboost", lgbm: "lightgbm", cat: "catboost"}[make]
    path = _saved(make().fit(ROWS, THREE), directory / f"truncated.{end}")
    whole = path.read_bytes()
    for length in (0, 1, len(whole) // 3, len(whole) * 9 // 10, len(whole) - 2):
        path.write_bytes(whole[:length])
        with pytest.raises((SourceUnreadable, SourceFailed), match="truncated"):
            children.open(path, form)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("notes.txt", "Dear diary,\n"),
        ("notes.txt", "tree\nversion=v4\nnum_class=1\n"),
        ("config.json", '{"learner": {"gradient_booster": {"name": "gbtree"}}}'),
        ("config.json", '{"a": 1}'),
        ("config.json", "[" * 100_000),
        ("config.ubj", "{" * 1000),
        ("model.cbm", "CBM1" + "\x7f" * 64),
    ],
)
def test_a_file_that_holds_no_booster_is_told(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises((SourceUnreadable, SourceFailed)) as caught, open_source(path):
        pass
    assert name in str(caught.value)
    assert "/src/" not in str(caught.value)


def test_a_pickled_booster_needs_trust(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    joblib.dump(xgb().fit(ROWS, TWO), path)
    with pytest.raises(PickleRefused), open_source(path):
        pass
    with open_source(path, SourceOptions(trust_pickle=True)) as source:
        assert source.describe().source.kind == "XGBClassifier"


def test_a_plain_model_imports_no_booster() -> None:
    program = (
        "import sys; from packager.sources.sklearn import forms; forms.register(); "
        "print(sorted({'xgboost', 'lightgbm', 'catboost', 'onnxmltools'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
