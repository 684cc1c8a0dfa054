"""Directories as MLflow 3.17.2 writes them: opened without MLflow, held to their signature."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import yaml
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sources import DEFAULT_OPSET, engine_answers, kinds_of, raw, worst_difference

from packager.errors import (
    ColumnMissing,
    DataUnusable,
    PickleRefused,
    SourceUnreadable,
    SourceUnsupported,
)
from packager.sources.mlflow import Field, read_mlflow
from packager.sources.options import SourceOptions
from packager.stages.convert import open_source

os.environ["KERAS_BACKEND"] = "torch"
TRUSTED = SourceOptions(trust_pickle=True)

NAMES = ["age", "my weight", "größe"]
ROWS = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 3)), columns=NAMES)
LABELS = (ROWS["age"] > ROWS["größe"]).astype(int)
COLUMNS = [{"type": "double", "name": name, "required": True} for name in NAMES]
EXAMPLE = {"columns": NAMES, "data": ROWS[:5].to_numpy().tolist()}
TENSOR = [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}]


def written(
    directory: Path,
    flavour: str,
    told: Mapping[str, Any],
    *,
    inputs: Any = None,
    example: Any = None,
) -> Path:
    """Write what stands around the model, as MLflow does."""
    directory.mkdir(exist_ok=True)
    model: dict[str, Any] = {
        "flavors": {
            "python_function": {"loader_module": f"mlflow.{flavour}", "python_version": "3.11"},
            flavour: {"code": None, **told},
        },
        "mlflow_version": "3.17.2",
        "model_uuid": "da86e3403ff14433aa5dc346573be470",
        "run_id": "0123456789abcdef",
        "utc_time_created": "2026-11-22 21:40:07.134058",
    }
    if inputs is not None:
        outputs = [{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]
        model["signature"] = {
            "inputs": json.dumps(inputs),
            "outputs": json.dumps(outputs),
            "params": None,
        }
    if example is not None:
        kind = {"type": "dataframe", "pandas_orient": "split"}
        if not isinstance(example, dict):
            kind = {"type": "ndarray"}
        model["saved_input_example_info"] = {"artifact_path": "input_example.json", **kind}
        (directory / "input_example.json").write_text(json.dumps(example))
    (directory / "MLmodel").write_text(yaml.safe_dump(model))
    return directory


def _sklearn(directory: Path) -> Mapping[str, Any]:
    joblib.dump(LogisticRegression().fit(ROWS, LABELS), directory / "model.pkl")
    return {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}


def _sklearn_skops(directory: Path) -> Mapping[str, Any]:
    skops.io.dump(LogisticRegression().fit(ROWS, LABELS), directory / "model.skops")
    return {"pickled_model": "model.skops", "serialization_format": "skops"}


def _xgboost(directory: Path) -> Mapping[str, Any]:
    xgboost = pytest.importorskip("xgboost")
    xgboost.XGBClassifier(n_estimators=5).fit(ROWS, LABELS).save_model(directory / "model.ubj")
    return {"data": "model.ubj", "model_class": "xgboost.sklearn.XGBClassifier"}


def _lightgbm(directory: Path) -> Mapping[str, Any]:
    lightgbm = pytest.importorskip("lightgbm")
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(ROWS, LABELS)
    model.booster_.save_model(directory / "model.lgb")
    return {"data": "model.lgb", "model_class": "lightgbm.basic.Booster"}


def _lightgbm_skops(directory: Path) -> Mapping[str, Any]:
    lightgbm = pytest.importorskip("lightgbm")
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(ROWS, LABELS)
    skops.io.dump(model, directory / "model.skops")
    return {"data": "model.skops", "serialization_format": "skops"}


def _catboost(directory: Path) -> Mapping[str, Any]:
    catboost = pytest.importorskip("catboost")
    model = catboost.CatBoostClassifier(iterations=5, verbose=0, allow_writing_files=False)
    model.fit(ROWS, LABELS).save_model(str(directory / "model.cb"))
    return {"data": "model.cb", "model_type": "CatBoostClassifier", "save_format": "cbm"}


TABLES: dict[str, tuple[str, Callable[[Path], Mapping[str, Any]], str]] = {
    "sklearn": ("sklearn", _sklearn, "scikit-learn"),
    "sklearn in skops": ("sklearn", _sklearn_skops, "scikit-learn"),
    "xgboost": ("xgboost", _xgboost, "xgboost"),
    "lightgbm": ("lightgbm", _lightgbm, "lightgbm"),
    "lightgbm in skops": ("lightgbm", _lightgbm_skops, "lightgbm"),
    "catboost": ("catboost", _catboost, "catboost"),
}


@pytest.mark.parametrize(("flavour", "save", "framework"), TABLES.values(), ids=TABLES.keys())
def test_a_model_of_tables_opens_and_agrees_on_its_own_example(
    tmp_path: Path, flavour: str, save: Callable[[Path], Mapping[str, Any]], framework: str
) -> None:
    written(tmp_path, flavour, save(tmp_path), inputs=COLUMNS, example=EXAMPLE)
    with open_source(tmp_path, TRUSTED) as source:
        described = source.describe()
        example = source.example()
        assert example is not None
        graph = source.graph(DEFAULT_OPSET)
        reference = source.reference(example)
    assert reference is not None
    assert list(example) == [column.name for column in graph.columns]
    assert all(len(values) == 5 for values in example.values())
    assert worst_difference(reference, engine_answers(graph, example)) < 1e-6
    assert graph.source.framework == framework
    assert graph.source.versions["mlflow"] == "3.17.2"
    assert graph.source == described.source


def test_a_pickle_inside_needs_trust_and_nothing_else_does(tmp_path: Path) -> None:
    written(tmp_path, "sklearn", _sklearn(tmp_path))
    with pytest.raises(PickleRefused, match=r"model\.pkl"), open_source(tmp_path):
        pass
    written(tmp_path, "sklearn", _sklearn_skops(tmp_path))
    with open_source(tmp_path) as source:
        assert source.describe().feature_names == tuple(NAMES)
        assert source.example() is None


def test_texts_and_missing_values_of_an_example_reach_the_model(tmp_path: Path) -> None:
    rows = ROWS.assign(place=np.where(LABELS == 1, "Köln", "大阪"))
    parts = ColumnTransformer(
        [
            ("n", StandardScaler(), NAMES),
            ("t", OneHotEncoder(handle_unknown="ignore"), ["place"]),
        ]
    )
    model = make_pipeline(parts, LogisticRegression()).fit(rows, LABELS)
    skops.io.dump(model, tmp_path / "model.skops")
    told = {"pickled_model": "model.skops", "serialization_format": "skops"}
    inputs = [*COLUMNS, {"type": "string", "name": "place", "required": True}]
    example = {"columns": [*NAMES, "place"], "data": [[1, 2.5, 3, "大阪"], [0, 0, 0, "?"]]}
    written(tmp_path, "sklearn", told, inputs=inputs, example=example)
    with open_source(tmp_path) as source:
        kinds = {column.name: column.kind for column in source.describe().columns}
        held = source.example()
        assert held is not None
        graph = source.graph(DEFAULT_OPSET)
        reference = source.reference(held)
    assert kinds == dict.fromkeys(NAMES, "float") | {"place": "text"}
    assert held["place"].tolist() == ["大阪", "?"]
    assert reference is not None
    assert worst_difference(reference, engine_answers(graph, held)) < 1e-6

    example["data"] = [[None, 2.5, 3, None]]
    written(tmp_path, "sklearn", told, inputs=inputs, example=example)
    with open_source(tmp_path) as source:
        held = source.example()
    assert held is not None
    assert np.isnan(held["age"]).tolist() == [True]
    assert held["place"].tolist() == [""]


def test_a_model_without_names_takes_those_of_the_signature(tmp_path: Path) -> None:
    model = LogisticRegression().fit(ROWS.to_numpy(), LABELS)
    skops.io.dump(model, tmp_path / "model.skops")
    told = {"pickled_model": "model.skops"}
    written(tmp_path, "sklearn", told, inputs=COLUMNS, example=EXAMPLE)
    with open_source(tmp_path) as source:
        assert [column.name for column in source.describe().columns] == NAMES
        shuffled = ROWS[NAMES[::-1]].assign(other=1.0)
        described = source.describe(kinds_of(shuffled))
        assert [column.name for column in described.columns] == NAMES
        graph = source.graph(DEFAULT_OPSET)
        found = engine_answers(graph, raw(shuffled))
        with pytest.raises(ColumnMissing, match=r"'größe'; the data have 'age', 'my weight'"):
            source.describe(kinds_of(ROWS.drop(columns="größe")))
    np.testing.assert_array_equal(found["label"], model.predict(ROWS.to_numpy()))

    written(tmp_path, "sklearn", told, inputs=TENSOR, example=ROWS[:2].to_numpy().tolist())
    with open_source(tmp_path) as source:
        assert [column.name for column in source.describe().columns] == ["x0", "x1", "x2"]
        held = source.example()
    assert held is not None
    np.testing.assert_array_equal(held["x1"], ROWS["my weight"][:2])


def test_a_signature_that_contradicts_the_model_is_refused_naming_both(tmp_path: Path) -> None:
    told = _sklearn_skops(tmp_path)
    other = [{"type": "double", "name": name} for name in ["age", "höhe", "my weight"]]
    written(tmp_path, "sklearn", told, inputs=other)
    with open_source(tmp_path) as source, pytest.raises(ColumnMissing) as caught:
        source.describe()
    assert "'größe'" in str(caught.value)
    assert "'höhe'" in str(caught.value)

    skops.io.dump(LogisticRegression().fit(ROWS.to_numpy(), LABELS), tmp_path / "model.skops")
    written(tmp_path, "sklearn", told, inputs=COLUMNS[:2])
    with open_source(tmp_path) as source, pytest.raises(DataUnusable, match="3 columns"):
        source.describe()


def test_an_onnx_model_opens_from_its_directory(tmp_path: Path) -> None:
    written(tmp_path, "sklearn", _sklearn_skops(tmp_path))
    with open_source(tmp_path) as source:
        graph = source.graph(DEFAULT_OPSET)
    (tmp_path / "model.onnx").write_bytes(graph.to_bytes())
    written(tmp_path, "onnx", {"data": "model.onnx", "onnx_version": "1.23.2"}, inputs=COLUMNS)
    with open_source(tmp_path) as source:
        described = source.describe()
    assert described.source.framework == "onnx"
    assert [column.name for column in described.columns] == NAMES


def test_a_network_of_pytorch_opens_from_its_directory(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    rows = torch.export.Dim("rows")
    program = torch.export.export(
        network.eval(), (torch.zeros(2, 3),), dynamic_shapes=({0: rows},)
    )
    (tmp_path / "data").mkdir()
    torch.export.save(program, tmp_path / "data" / "model.pt2")
    told = {"model_data": "data", "pytorch_version": "2.13.0", "serialization_format": "pt2"}
    example = ROWS[:4].to_numpy().tolist()
    written(tmp_path, "pytorch", told, inputs=TENSOR, example=example)
    with open_source(tmp_path) as source:
        source.describe()
        held = source.example()
        assert held is not None
        reference = source.reference(held)
    (values,) = held.values()
    assert reference is not None
    (answers,) = reference.values()
    expected = network(torch.tensor(ROWS[:4].to_numpy(), dtype=torch.float32))
    assert values.dtype == np.float32
    np.testing.assert_allclose(answers, expected.detach().numpy(), atol=1e-6)


def test_a_network_of_keras_opens_from_its_directory(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    (tmp_path / "data").mkdir()
    network.save(tmp_path / "data" / "model.keras")
    written(tmp_path, "keras", {"data": "data", "keras_backend": "torch"}, inputs=TENSOR)
    with open_source(tmp_path) as source:
        assert source.describe().source.framework == "keras"


def test_the_reader_tells_what_the_directory_says(tmp_path: Path) -> None:
    inputs = [*COLUMNS, {"type": "long", "name": "n"}, {"type": "datetime", "name": "t"}]
    written(tmp_path, "sklearn", _sklearn_skops(tmp_path), inputs=inputs)
    model = read_mlflow(tmp_path)
    assert (model.flavour, model.form, model.path.name) == ("sklearn", "skops", "model.skops")
    assert model.facts == {"mlflow": "3.17.2", "run": "0123456789abcdef"}
    assert model.signature[2:] == (
        Field("größe", "float"),
        Field("n", "integer"),
        Field("t", ""),
    )
    assert model.kinds() is None  # no kind of ours holds a time
    written(tmp_path, "sklearn", _sklearn_skops(tmp_path), inputs=TENSOR)
    assert read_mlflow(tmp_path).signature == (Field("", "tensor", (-1, 3)),)


# --- what cannot be opened -----------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["../secret.skops", "/etc/hostname", "link.skops", "gone.skops", "", "a\0b", 7, ["a"]],
)
def test_paths_that_lead_out_or_nowhere_are_refused(tmp_path: Path, path: Any) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    skops.io.dump(LogisticRegression().fit(ROWS, LABELS), tmp_path / "secret.skops")
    (directory / "link.skops").symlink_to(tmp_path / "secret.skops")
    written(directory, "sklearn", {"pickled_model": path})
    with pytest.raises(SourceUnreadable), open_source(directory, TRUSTED):
        pass
    told = _sklearn_skops(directory)
    written(directory, "sklearn", told, example=EXAMPLE)
    text = (directory / "MLmodel").read_text().replace("input_example.json", "../secret.skops")
    (directory / "MLmodel").write_text(text)
    with pytest.raises(SourceUnreadable, match="input example"), open_source(directory):
        pass


@pytest.mark.parametrize(
    "text",
    [
        "",
        "just text",
        "- a list",
        "flavors: [1, 2]",
        "flavors: {sklearn: model.pkl}",
        "flavors: {sklearn: {pickled_model: model.skops}}\nsignature: {inputs: '[{'}",
        "flavors: {sklearn: {pickled_model: model.skops}}\nsignature: {inputs: '{}'}",
        "flavors: {sklearn: {}}\nsignature: {inputs: '[{\"name\": 7}]'}",
        "flavors: !!python/object/apply:os.system ['true']",
        "flavors: *nobody",
        "a: &a {b: 1}\nflavors: {<<: [*a, *a]}",
        "[" * 5000,
        "\t:",
        "flavors: \x00",
        "x: " + "a" * (2 << 20),
    ],
)
def test_a_marker_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    _sklearn_skops(tmp_path)
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(SourceUnreadable), open_source(tmp_path, TRUSTED):
        pass


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"columns": ["a"]}', '{"columns": ["a"], "data": [[1, 2]]}', "[" * 99999],
)
def test_an_example_that_is_damaged_is_told(tmp_path: Path, text: str) -> None:
    written(tmp_path, "sklearn", _sklearn_skops(tmp_path), example=EXAMPLE)
    (tmp_path / "input_example.json").write_text(text)
    with pytest.raises(SourceUnreadable, match="input example"), open_source(tmp_path):
        pass


def test_unknown_flavours_and_formats_are_refused_naming_them(tmp_path: Path) -> None:
    written(tmp_path, "spark", {"model_data": "sparkml"})
    with pytest.raises(SourceUnsupported, match="python_function, spark"):
        read_mlflow(tmp_path)
    written(tmp_path, "catboost", {"save_format": "json", "data": "model.cb"})
    with pytest.raises(SourceUnsupported, match="saved json"):
        read_mlflow(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "model.pth").write_bytes(b"")
    written(tmp_path, "pytorch", {"model_data": "data"})
    with pytest.raises(SourceUnsupported, match=r"model\.pth"):
        read_mlflow(tmp_path)
