"""The directory that MLflow saves a model in: which file holds it, its signature, its example.

Read without MLflow. The layout is that of MLflow 1 to 3: the file ``MLmodel``, in YAML, names
the flavours in which the model can be opened, its signature and its input example.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from edge_runtime.contract.tensors import Array, Arrays
from packager.errors import SourceUnreadable, SourceUnsupported

MARKER = "MLmodel"
_MAX_MARKER_BYTES = 1 << 20
_MAX_EXAMPLE_BYTES = 256 << 20
_HINT = "Save the model again with MLflow's save_model or log_model."

# MLflow's types of columns, and the kind of ours that holds them.
_KINDS = {
    "boolean": "integer",
    "integer": "integer",
    "long": "integer",
    "float": "float",
    "double": "float",
    "string": "text",
}


@dataclass(frozen=True)
class Field:
    """One input of a signature.

    Attributes:
        name: its name; "" where it has none.
        kind: ``float``, ``integer``, ``text`` or ``tensor``; "" for any other type.
        shape: of a tensor, -1 for an axis of any length.
    """

    name: str
    kind: str
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class MlflowModel:
    """What a directory of MLflow says of its model.

    Attributes:
        flavour: the one by which it is opened.
        path: its file or directory, inside MLflow's.
        form: how it is opened, as ``stages.convert.FORMS`` names it.
        facts: ``mlflow``, its version, and ``run``, the id of the run that made it; of each
            what the directory tells.
        signature: its inputs; empty where it has no signature.
        example: rows of the input example by column name, or one array under "" where nothing
            is named; None where there is no example that is a table or tensors.
    """

    flavour: str
    path: Path
    form: str
    facts: Mapping[str, str]
    signature: tuple[Field, ...] = ()
    example: Arrays | None = field(default=None, compare=False)

    def kinds(self) -> dict[str, str] | None:
        """Return the signature's columns and their kinds; None where it has no such table."""
        kinds = {column.name: column.kind for column in self.signature}
        table = len(kinds) == len(self.signature) and all(
            name and kind not in {"", "tensor"} for name, kind in kinds.items()
        )
        return kinds if kinds and table else None


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Plain values only, and no ``<<``: merges of merges grow without bound."""

    def flatten_mapping(self, node: Any) -> None:
        """Leave a mapping as it is written."""


def read_mlflow(directory: Path) -> MlflowModel:
    """Read what a directory of MLflow holds.

    Raises:
        SourceUnreadable: when ``MLmodel`` or the example is damaged, or a path in it leads out
            of the directory or to nothing.
        SourceUnsupported: when none of its flavours can be opened.
        OSError: when a file cannot be read.
    """
    told = _marker(directory)
    flavours = _mapping(told.get("flavors"), "flavors")
    known = [name for name in _FLAVOURS if name in flavours]
    if not known:
        raise SourceUnsupported(
            f"the model must have one of the flavours {', '.join(_FLAVOURS)}, "
            f"it has {', '.join(map(str, flavours)) or 'none'}",
            hint="Log the model with the module of its own framework, not as python_function.",
            expected=list(_FLAVOURS),
            found=[str(name) for name in flavours],
        )
    flavour = known[0]
    path, form = _FLAVOURS[flavour](directory, _mapping(flavours[flavour], flavour))
    facts = {"mlflow": told.get("mlflow_version"), "run": told.get("run_id")}
    return MlflowModel(
        flavour=flavour,
        path=path,
        form=form,
        facts={name: str(value) for name, value in facts.items() if value},
        signature=_signature(told.get("signature")),
        example=_example(directory, told.get("saved_input_example_info")),
    )


def _marker(directory: Path) -> Mapping[str, Any]:
    data = _limited(directory / MARKER, _MAX_MARKER_BYTES)
    try:
        told = _Loader(data).get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        found = str(error).partition("\n")[0] or type(error).__name__
        raise _damaged(MARKER, "YAML of plain values", found) from None
    return _mapping(told, MARKER)


def _limited(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise _damaged(path.name, f"at most {limit} bytes", "more")
    return data


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _damaged(what, "a mapping", type(value).__name__)
    return value


def _damaged(what: str, wanted: str, found: str) -> SourceUnreadable:
    return SourceUnreadable(
        f"{what} of the MLflow directory must be {wanted}, it is {found}",
        hint=_HINT,
        expected=wanted,
        found=found,
    )


# --- where the model lies ------------------------------------------------------------------


def _inside(directory: Path, relative: Any, what: str) -> Path:
    """Return a path of the directory; links and ``..`` must not lead out of it."""
    if not isinstance(relative, str) or not relative or "\0" in relative:
        raise _damaged(what, "a path", repr(relative)[:80])
    path = (directory / relative).resolve()
    if not path.is_relative_to(directory.resolve()):
        raise _damaged(what, "a path inside it", repr(relative)[:80])
    if not path.exists():
        raise _damaged(what, "a file or directory that is there", repr(relative)[:80])
    return path


def _sklearn(directory: Path, told: Mapping[str, Any]) -> tuple[Path, str]:
    path = _inside(directory, told.get("pickled_model", "model.pkl"), "pickled_model")
    return path, _pickle_form(path)


def _xgboost(directory: Path, told: Mapping[str, Any]) -> tuple[Path, str]:
    return _inside(directory, told.get("data", "model.xgb"), "data"), "xgboost"


def _lightgbm(directory: Path, told: Mapping[str, Any]) -> tuple[Path, str]:
    path = _inside(directory, told.get("data", "model.lgb"), "data")
    return path, _pickle_form(path) if path.suffix in {".pkl", ".skops"} else "lightgbm"


def _pickle_form(path: Path) -> str:
    return "skops" if path.suffix == ".skops" else "pickle"


def _catboost(directory: Path, told: Mapping[str, Any]) -> tuple[Path, str]:
    written = told.get("save_format", "cbm")
    if written != "cbm":
        raise _other("catboost", "cbm", str(written))
    return _inside(directory, told.get("data", "model.cb"), "data"), "catboost"


def _onnx(directory: Path, told: Mapping[str, Any]) -> tuple[Path, str]:
    return _inside(directory, told.get("data", "model.onnx"), "data"), "onnx"


def _pytorch(directory: Path, told: Mapping[str, Any]) -> tuple[Path, str]:
    data = _inside(directory, told.get("model_data", "data"), "model_data")
    return _found(data, {"model.pt2": "torch"}, "pytorch", "serialization_format='pt2'")


def _keras(directory: Path, told: Mapping[str, Any]) -> tuple[Path, str]:
    if "saved_model_dir" in told:
        return _inside(directory, told["saved_model_dir"], "saved_model_dir"), "tensorflow"
    data = _inside(directory, told.get("data", "data"), "data")
    forms = {"model.keras": "keras", "model.h5": "keras", "model": "tensorflow"}
    return _found(data, forms, "keras", ".keras, .h5 or a SavedModel")


def _found(data: Path, forms: Mapping[str, str], flavour: str, wanted: str) -> tuple[Path, str]:
    for name, form in forms.items():
        if (data / name).exists():
            return _inside(data, name, name), form
    held = (
        ", ".join(sorted(item.name for item in data.iterdir())) if data.is_dir() else "a file"
    )
    raise _other(flavour, wanted, held)


def _other(flavour: str, wanted: str, found: str) -> SourceUnsupported:
    return SourceUnsupported(
        f"MLflow must have saved the {flavour} model as {wanted}, it saved {found}",
        hint=f"Save it again in that format: {wanted}.",
        expected=wanted,
        found=found,
    )


_FLAVOURS: Mapping[str, Callable[[Path, Mapping[str, Any]], tuple[Path, str]]] = {
    "sklearn": _sklearn,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "catboost": _catboost,
    "onnx": _onnx,
    "pytorch": _pytorch,
    "keras": _keras,
    "tensorflow": _keras,
}


# --- signature and example -----------------------------------------------------------------


def _signature(told: Any) -> tuple[Field, ...]:
    """Read the signature's inputs, which MLflow writes as JSON inside the YAML."""
    if not isinstance(told, dict) or not told.get("inputs"):
        return ()
    inputs = _json(told["inputs"], "signature")
    if not isinstance(inputs, list) or not all(isinstance(item, dict) for item in inputs):
        raise _damaged("signature", "a list of inputs", str(inputs)[:80])
    return tuple(_field(item) for item in inputs)


def _field(told: Mapping[str, Any]) -> Field:
    name, kind = told.get("name") or "", told.get("type")
    if not isinstance(name, str):
        raise _damaged("signature", "of names that are texts", repr(name)[:80])
    if kind != "tensor":
        return Field(name, _KINDS.get(kind, "") if isinstance(kind, str) else "")
    spec = told.get("tensor-spec")
    shape = spec.get("shape") if isinstance(spec, dict) else None
    if not isinstance(shape, list) or not all(type(axis) is int for axis in shape):
        raise _damaged("signature", "of tensors with a shape", str(spec)[:80])
    return Field(name, "tensor", tuple(shape))


def _json(text: Any, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise _damaged(what, "JSON", str(error)[:80] or type(error).__name__) from None


def _example(directory: Path, told: Any) -> Arrays | None:
    if not isinstance(told, dict):
        return None
    path = _inside(directory, told.get("artifact_path"), "input example")
    example = _json(_limited(path, _MAX_EXAMPLE_BYTES), "input example")
    if told.get("type") == "dataframe":
        return _table(example)
    return _tensors(example) if told.get("type") == "ndarray" else None


def _table(example: Any) -> Arrays | None:
    """Read a table as pandas splits it; without names its columns are one matrix."""
    example = example.get("dataframe_split", example) if isinstance(example, dict) else example
    rows = example.get("data") if isinstance(example, dict) else None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) for row in rows):
        raise _damaged("input example", "rows of a table", str(example)[:80])
    names = example.get("columns")
    if names is None:
        return _tensors(rows)
    if not isinstance(names, list) or any(len(row) != len(names) for row in rows):
        raise _damaged("input example", "rows as long as its columns", str(names)[:80])
    columns = {
        str(name): _column(values)
        for name, values in zip(names, zip(*rows, strict=True), strict=True)
    }
    if any(values is None for values in columns.values()):
        return None
    return {name: values for name, values in columns.items() if values is not None}


def _column(values: Sequence[Any]) -> Array | None:
    """Return a column as raw rows have it: None is NaN, or "" among texts."""
    known = [value for value in values if value is not None]
    if known and all(isinstance(value, str) for value in known):
        return np.array([value or "" for value in values], dtype=object)
    if not all(isinstance(value, (int, float)) for value in known):
        return None
    whole = len(known) == len(values) and all(isinstance(value, int) for value in known)
    return _numbers([np.nan if value is None else value for value in values], whole=whole)


def _tensors(example: Any) -> Arrays | None:
    """Read one array, or several by name."""
    example = example.get("inputs", example) if isinstance(example, dict) else example
    named = example if isinstance(example, dict) else {"": example}
    arrays = {}
    for name, values in named.items():
        try:
            arrays[str(name)] = _numbers(values, whole=False)
        except (ValueError, TypeError):
            return None
    return arrays


def _numbers(values: Any, *, whole: bool) -> Array:
    try:
        return np.array(values, dtype=np.int64 if whole else np.float64)
    except OverflowError:
        raise _damaged("input example", "of numbers that 64 bits hold", "larger ones") from None
