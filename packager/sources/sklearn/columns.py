"""How the columns of a table become the inputs of a scikit-learn model's graph.

Runs in the child. What the fitted encoders learned decides a column's kind; the user's data
only fill in what the model does not say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.impute import SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import LabelBinarizer, LabelEncoder

from edge_runtime.contract.table import Column
from edge_runtime.contract.tensors import TensorSpec
from packager.errors import ColumnMissing, ConversionFailed, DataUnusable
from packager.graph import legal_names

MATRIX_INPUT = "features"
_DTYPES = {"float": "float32", "integer": "int64", "text": "string"}
_SHOWN = 5

# What reads one column without saying so.
_ONE_COLUMN = (IsotonicRegression, LabelBinarizer, LabelEncoder)

# Where a fitted model keeps the part that sees the raw columns.
_INNER = (
    "best_estimator_",
    "estimator_",
    "regressor_",
    "estimators_",
    "calibrated_classifiers_",
)


@dataclass(frozen=True)
class Learned:
    """What the fitted model knows of one column.

    Attributes:
        kind: ``float``, ``integer`` or ``text``.
        empty: what a missing text is to the source: a NaN, None or "".
    """

    kind: str
    empty: Any = np.nan


@dataclass(frozen=True)
class Plan:
    """The columns of a model and how they enter its graph.

    Attributes:
        layout: what the source takes: a ``frame``, a ``matrix``, or a list of ``documents``.
        names: every column in the order the model saw them, dropped ones too.
        columns: the columns that it reads.
        inputs: the graph's inputs.
        empties: what a missing text is to the source, by column.
    """

    layout: str
    names: tuple[str, ...]
    columns: tuple[Column, ...]
    inputs: tuple[TensorSpec, ...]
    empties: Mapping[str, Any] = field(default_factory=dict)


def plan_columns(model: Any, kinds: Mapping[str, str] | None, *, double: bool = False) -> Plan:
    """Decide how columns become inputs.

    Args:
        model: the fitted estimator.
        kinds: the columns of the user's data and their kinds; None without data.
        double: whether numbers enter as float64.

    Raises:
        ColumnMissing: when the data lack a column that the model was fitted on.
        DataUnusable: when the data's columns cannot be the model's.
    """
    features = getattr(model, "n_features_in_", 1 if isinstance(model, _ONE_COLUMN) else None)
    if features is None:
        return _documents(model, kinds)
    learned = learned_columns(model, range(features))
    readers = _readers(model)
    dropped = _dropped(readers)
    named = tuple(map(str, getattr(model, "feature_names_in_", ())))
    names = named or _unnamed(features, kinds)
    kinds = _by_order(names, kinds)
    read = [position for position in range(features) if position not in dropped]
    _check_columns([names[position] for position in read], kinds)
    found = {
        position: _kind(names[position], learned.get(position), kinds) for position in read
    }
    one_kind = len({item.kind for item in found.values()}) == 1
    one_matrix = one_kind and not dropped and not (named and any(readers))
    inputs, columns = (_matrix if one_matrix else _separate)(names, found)
    empties = {names[position]: item.empty for position, item in found.items()}
    if double:
        inputs = tuple(_wider(spec) for spec in inputs)
    return Plan("frame" if named else "matrix", names, columns, inputs, empties)


def _wider(spec: TensorSpec) -> TensorSpec:
    return replace(spec, dtype="float64") if spec.dtype == "float32" else spec


def _documents(model: Any, kinds: Mapping[str, str] | None) -> Plan:
    """Plan a model that reads one text a row, which the vectorizer at its head takes."""
    if not learned_columns(model, range(1)):
        raise ConversionFailed(
            f"the {type(model).__name__} takes rows that are neither columns of a table nor "
            "one text each, but lists, dictionaries or images",
            hint="Save a model whose first step was fitted on columns or on a list of texts.",
            expected="n_features_in_ or a text vectorizer",
            found=type(model).__name__,
        )
    if kinds is not None and len(kinds) != 1:
        raise DataUnusable(
            f"the model reads one column of text, the data have {_listed(kinds)}",
            hint="Keep the text and the label only, and name the label.",
            expected=1,
            found=list(kinds),
        )
    name = next(iter(kinds)) if kinds else "text"
    inputs, columns = _separate((name,), {0: Learned("text", "")})
    return Plan("documents", (name,), columns, inputs, {name: ""})


def _unnamed(features: int, kinds: Mapping[str, str] | None) -> tuple[str, ...]:
    """Name the columns of a model that was fitted on an array: the data's order counts."""
    if kinds is None:
        return tuple(f"x{position}" for position in range(features))
    if len(kinds) != features:
        raise DataUnusable(
            f"the model was fitted on {features} columns without names, "
            f"the data have {len(kinds)}: {_listed(kinds)}",
            hint="Keep exactly the columns it was fitted on, in order, and name the label.",
            expected=features,
            found=list(kinds),
        )
    return tuple(kinds)


def _by_order(
    names: Sequence[str], kinds: Mapping[str, str] | None
) -> Mapping[str, str] | None:
    """Give a matrix, whose columns are known by their order alone, the model's names."""
    positions = [f"x{position}" for position in range(len(names))]
    if kinds is None or list(kinds) != positions:
        return kinds
    return dict(zip(names, kinds.values(), strict=True))


def _check_columns(wanted: Sequence[str], kinds: Mapping[str, str] | None) -> None:
    missing = [name for name in wanted if kinds is not None and name not in kinds]
    if missing:
        raise ColumnMissing(
            f"the model was fitted on the column{'s' * (len(missing) > 1)} {_listed(missing)}, "
            f"the data have {_listed(kinds or ())}",
            hint="Give the data the columns that the model was fitted on, by the same names.",
            expected=list(wanted),
            found=list(kinds or ()),
        )


def _kind(name: str, learned: Learned | None, kinds: Mapping[str, str] | None) -> Learned:
    given = kinds[name] if kinds else None
    takes = learned.kind if learned else "a number or text"
    if given == "tensor" or (given == "text" and takes in {"float", "integer"}):
        raise DataUnusable(
            f"column {name!r} is {given} in the data, the model learned it as {takes}",
            hint="Give this column in the form that the model was fitted on.",
            column=name,
            expected=takes,
            found=given,
        )
    if learned is None:
        return Learned("text" if given == "text" else "float")
    return learned


def _matrix(
    names: Sequence[str], found: Mapping[int, Learned]
) -> tuple[tuple[TensorSpec, ...], tuple[Column, ...]]:
    kind = next(iter(found.values())).kind
    spec = TensorSpec(MATRIX_INPUT, _DTYPES[kind], (None, len(names)))
    columns = tuple(
        Column(name, kind, MATRIX_INPUT, index, "refuse") for index, name in enumerate(names)
    )
    return (spec,), columns


def _separate(
    names: Sequence[str], found: Mapping[int, Learned]
) -> tuple[tuple[TensorSpec, ...], tuple[Column, ...]]:
    legal = legal_names(names)
    inputs, columns = [], []
    for position, learned in found.items():
        inputs.append(TensorSpec(legal[position], _DTYPES[learned.kind], (None, 1)))
        columns.append(
            Column(names[position], learned.kind, legal[position], None, "refuse"),
        )
    return tuple(inputs), tuple(columns)


def learned_columns(model: Any, positions: Sequence[int]) -> dict[int, Learned]:
    """Return what the fitted parts that see the raw columns learned about them."""
    if isinstance(model, Pipeline):
        return _learned_in_order([step for _, step in model.steps], positions)
    if isinstance(model, ColumnTransformer):
        found = {}
        for name, part, _ in model.transformers_:
            own = [positions[i] for i in model._transformer_to_input_indices[name]]
            found.update(learned_columns(part, own))
        return found
    if hasattr(model, "categories_") or isinstance(model, (LabelBinarizer, LabelEncoder)):
        categories = getattr(model, "categories_", None) or [model.classes_]
        return _by_categories(categories, positions)
    text = _learned_text(model)
    return dict.fromkeys(positions, text) if text else _of_any(inner_models(model), positions)


def _learned_text(model: Any) -> Learned | None:
    if isinstance(model, (CountVectorizer, HashingVectorizer)):
        return Learned("text", "")
    if isinstance(model, SimpleImputer) and np.asarray(model.statistics_).dtype.kind == "O":
        return Learned("text")
    return None


def _learned_in_order(steps: Sequence[Any], positions: Sequence[int]) -> dict[int, Learned]:
    """Ask a pipeline's steps, past imputers that keep every column where it is."""
    for step in steps:
        if step is None or step == "passthrough":
            continue
        found = learned_columns(step, positions)
        keeps = isinstance(step, SimpleImputer) and len(step.statistics_) == len(positions)
        if found or not keeps:
            return found
    return {}


def _of_any(models: Sequence[Any], positions: Sequence[int]) -> dict[int, Learned]:
    """Bring together what models of the same columns learned; the first that knows one wins."""
    found: dict[int, Learned] = {}
    for model in models:
        found = {**learned_columns(model, positions), **found}
    return found


def _by_categories(categories: Sequence[Any], positions: Sequence[int]) -> dict[int, Learned]:
    if len(categories) != len(positions):
        return {}
    return {
        position: _category_kind(np.asarray(values))
        for position, values in zip(positions, categories, strict=True)
    }


def _category_kind(values: Any) -> Learned:
    if values.dtype.kind in "iu":
        return Learned("integer")
    if values.dtype.kind == "f":
        return Learned("float")
    texts = [value for value in values.tolist() if isinstance(value, str)]
    if not texts and all(isinstance(value, int) for value in values.tolist()):
        return Learned("integer")
    known = values.tolist()
    return Learned("text", None if None in known else "" if "" in known else np.nan)


def walk(model: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every named part of a model and what stands there, outermost first."""
    if isinstance(model, Pipeline):
        parts = model.steps
    elif isinstance(model, ColumnTransformer):
        parts = [(name, part) for name, part, _ in model.transformers_]
    else:
        parts = [(type(part).__name__, part) for part in inner_models(model)]
    for name, part in parts:
        yield f"{path}{name}", part
        yield from walk(part, f"{path}{name}/")


def inner_models(model: Any) -> list[Any]:
    """Return the fitted models that a union or meta-estimator hands its rows to.

    Of a list of equals the first is enough: all were fitted on the same columns. Those that
    have names may differ.
    """
    if isinstance(model, FeatureUnion):
        return [part for _, part in model.transformer_list]
    found = []
    for attribute in _INNER:
        inner = getattr(model, attribute, None)
        members = list(inner) if isinstance(inner, (list, tuple)) else [inner]
        named = isinstance(getattr(model, "estimators", None), list)
        for member in members if named else members[:1]:
            part = getattr(member, "estimator", None) if "calibrated" in attribute else member
            if isinstance(part, BaseEstimator):
                found.append(part)
    return found


def _readers(model: Any) -> list[ColumnTransformer | None]:
    """Return the column transformers that see the raw columns, None for what sees them all."""
    if isinstance(model, ColumnTransformer):
        return [model]
    if isinstance(model, Pipeline):
        return _readers(model.steps[0][1])
    inner = inner_models(model)
    return [reader for part in inner for reader in _readers(part)] if inner else [None]


def _dropped(readers: Sequence[ColumnTransformer | None]) -> set[int]:
    """Return the columns that nothing reads."""
    dropped = [
        set()
        if reader is None
        else {
            position
            for name, part, _ in reader.transformers_
            if part == "drop"
            for position in reader._transformer_to_input_indices[name]
        }
        for reader in readers
    ]
    return set.intersection(*dropped)


def _listed(names: Sequence[str] | Mapping[str, str]) -> str:
    shown = [repr(name) for name in list(names)[:_SHOWN]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
