"""Rows that are nobody's: drawn for a graph's inputs, each column on its own."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.random import Generator
from onnx import ModelProto, NodeProto, helper

from edge_runtime.contract.tensors import DTYPES, Array, Arrays, TensorSpec
from packager.answers import take_rows
from packager.errors import NoGoldenRows

SEED = 0
# A value, or a whole row, that stands in the data this often is nobody's own.
COMMON = 20
# Numbers are drawn from their common values alone where these are nearly the whole column.
NEARLY_ALL = 0.95
_ROUNDS = 8
# Keys of rows, all of which are kept, are digests where rows are longer.
_KEY_BYTES = 64
# Images are made of so many patches each way, and of noise of this height.
_PATCHES = 4
_NOISE = 32
_IMAGE_AXES = 4

# Text for a column of which nothing is known that may leave the house.
_WORDS = np.array(["alpha", "bravo", "charlie", "delta", "echo", "foxtrot"], dtype=object)

# Operators that hold the categories of their input, and those that a column passes through on
# its way there with its values unchanged.
_CATEGORIES = ("cats_strings", "cats_int64s", "keys_strings", "keys_int64s", "pool_strings")
_TRANSPARENT = frozenset(
    {"Cast", "Flatten", "Gather", "Identity", "Reshape", "Squeeze", "StringNormalizer"}
    | {"Tokenizer", "Unsqueeze"}
)
_TOKENIZING = frozenset(
    {"RegexFullMatch", "StringNormalizer", "StringSplit", "TfIdfVectorizer", "Tokenizer"}
)


def draw_rows(
    inputs: Sequence[TensorSpec],
    rows: int,
    *,
    known: Arrays | None = None,
    private: Sequence[Arrays] = (),
    learned: Mapping[str, Array] | None = None,
) -> Arrays:
    """Draw distinct rows for a graph, the same ones on every machine.

    Numbers lie between the known rows' quantiles.  Text and other categories are values that
    stand there ``COMMON`` times, or that the graph itself has learned and carries anyway.
    Without known rows numbers are drawn around zero.  Images of uint8 are coloured patches with
    noise, whatever the known ones show: a mixture of few could still be recognised.

    Args:
        inputs: the graph's inputs; an axis of unknown length other than the first counts 1.
        rows: how many to draw; fewer come back where there are not so many.
        known: a feed that shows how each column is spread.
        private: feeds none of whose rows may be drawn, unless it stands there ``COMMON`` times.
        learned: categories that the graph holds, by input; see ``learned_values``.

    Raises:
        NoGoldenRows: when every row that can be drawn is somebody's.
    """
    generator = np.random.default_rng(SEED)
    barred = _barred(private)
    found: list[Arrays] = []
    for _ in range(_ROUNDS):
        drawn = {
            spec.name: _draw_tensor(spec, rows, known, learned or {}, generator)
            for spec in inputs
        }
        found.append(take_rows(drawn, _fresh(drawn, barred)))
        if sum(len(part[inputs[0].name]) for part in found) >= rows:
            break
    together = {s.name: np.concatenate([part[s.name] for part in found]) for s in inputs}
    if not len(together[inputs[0].name]):
        raise NoGoldenRows(
            f"golden inputs must be nobody's rows, all of {_ROUNDS * rows} drawn ones stand in "
            f"the data, fewer than {COMMON} times",
            hint="Give rows that may leave the house: --golden FILE",
            drawn=_ROUNDS * rows,
            common=COMMON,
        )
    return take_rows(together, slice(rows))


def nobodys_rows(feed: Arrays, private: Sequence[Arrays]) -> Array:
    """Return the numbers of the rows that stand in no private feed, each of them once."""
    return _fresh(feed, _barred(private))


def _barred(private: Sequence[Arrays]) -> set[bytes]:
    seen = Counter(key for feed in private for key in _row_keys(feed))
    return {key for key, count in seen.items() if count < COMMON}


def _fresh(feed: Arrays, barred: set[bytes]) -> Array:
    """Return the numbers of rows that are not barred, and bar them."""
    fresh = []
    for row, key in enumerate(_row_keys(feed)):
        if key not in barred:
            barred.add(key)
            fresh.append(row)
    return np.array(fresh, dtype=np.int64)


def _row_keys(feed: Mapping[str, Array]) -> Iterator[bytes]:
    """Yield for each row bytes that only an equal row has."""
    columns = [feed[name] for name in sorted(feed)]
    for parts in zip(*columns, strict=True):
        key = b"\0".join(
            "\0".join(map(str, part.ravel())).encode()
            if part.dtype == object
            else part.tobytes()
            for part in map(np.asarray, parts)
        )
        yield key if len(key) <= _KEY_BYTES else hashlib.sha256(key).digest()


def _draw_tensor(
    spec: TensorSpec,
    rows: int,
    known: Arrays | None,
    learned: Mapping[str, Array],
    generator: Generator,
) -> Array:
    inner = known[spec.name].shape[1:] if known else tuple(n or 1 for n in spec.shape[1:])
    if spec.dtype == "uint8" and len(spec.shape) == _IMAGE_AXES:
        return _draw_images(rows, inner, generator)
    drawn = np.empty((rows, int(np.prod(inner))), DTYPES[spec.dtype])
    flat = known[spec.name].reshape(-1, drawn.shape[1]) if known else drawn[:0]
    for index in range(drawn.shape[1]):
        values = flat[:, index]
        drawn[:, index] = _draw_column(values, rows, learned.get(spec.name), generator)
    return drawn.reshape(rows, *inner)


def _draw_images(rows: int, shape: tuple[int, ...], generator: Generator) -> Array:
    """Draw images, ``uint8[rows, height, width, channels]``, by whole numbers alone."""
    height, width, channels = shape
    patches = generator.integers(0, 256, (rows, _PATCHES, _PATCHES, channels), np.int16)
    down = np.arange(height) * _PATCHES // height
    across = np.arange(width) * _PATCHES // width
    noise = generator.integers(-_NOISE, _NOISE + 1, (rows, *shape), np.int16)
    drawn = np.clip(patches[:, down][:, :, across] + noise, 0, 255)
    return np.asarray(drawn, dtype=np.uint8)


def _draw_column(
    values: Array, rows: int, learned: Array | None, generator: Generator
) -> Array:
    """Draw one column from its known values, of which there may be none."""
    missing = _is_missing(values)
    present = values[~missing]
    drawn = _draw_present(present, rows, learned, generator)
    holes = generator.random(rows) * max(len(values), 1) < missing.sum()
    if holes.any():
        drawn = drawn.copy()
        drawn[holes] = "" if values.dtype == object else np.nan
    return drawn


def _is_missing(values: Array) -> Array:
    if values.dtype == object:
        return np.asarray(values == "", dtype=bool)
    if values.dtype.kind == "f":
        return np.asarray(~np.isfinite(values))
    return np.zeros(len(values), dtype=bool)


def _draw_present(
    present: Array, rows: int, learned: Array | None, generator: Generator
) -> Array:
    distinct, counts = np.unique(present, return_counts=True)
    often = counts >= COMMON
    nearly_all = len(present) > 0 and counts[often].sum() >= NEARLY_ALL * len(present)
    kind = present.dtype.kind
    if often.any() and (kind != "f" or nearly_all):
        return _pick(distinct[often], rows, generator)
    if learned is not None and kind != "f":
        return _pick(learned, rows, generator)
    if kind == "O":
        return _pick(_WORDS, rows, generator)
    if kind == "b":
        return _pick(np.array([False, True]), rows, generator)
    if len(present) == 0:
        numbers = _bell(rows, generator)
    else:
        numbers = _between_quantiles(present, rows, generator)
    return np.rint(numbers) if kind in "iu" else numbers


def _pick(choices: Array, rows: int, generator: Generator) -> Array:
    return np.asarray(choices[generator.integers(0, len(choices), rows)])


def _bell(rows: int, generator: Generator) -> Array:
    """Draw around zero with unit spread, by sums alone: logarithms differ between libraries."""
    return np.asarray(generator.random((12, rows)).sum(axis=0) - 6.0)


def _between_quantiles(present: Array, rows: int, generator: Generator) -> Array:
    ordered = np.sort(present.astype(np.float64))
    place = generator.random(rows) * (len(ordered) - 1)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, len(ordered) - 1)
    step = ordered[above] - ordered[below]
    return np.asarray(ordered[below] + step * (place - below))


def learned_values(model: ModelProto) -> dict[str, Array]:
    """Return the categories or words that a graph holds for an input, by the input's name."""
    readers = _readers(model)
    found = {item.name: _learned(_behind(item.name, readers)) for item in model.graph.input}
    return {name: values for name, values in found.items() if len(values)}


def tokenized_inputs(model: ModelProto) -> set[str]:
    """Return the names of the inputs that a graph takes to pieces: text, not categories."""
    readers = _readers(model)
    return {
        item.name
        for item in model.graph.input
        if any(node.op_type in _TOKENIZING for node in _behind(item.name, readers))
    }


def _readers(model: ModelProto) -> dict[str, list[NodeProto]]:
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def _behind(name: str, readers: Mapping[str, Sequence[NodeProto]]) -> Iterator[NodeProto]:
    """Yield the nodes that a value comes to, unchanged or in pieces, in the graph's order."""
    for node in readers.get(name, ()):
        yield node
        holds = any(item.name in _CATEGORIES for item in node.attribute)
        if not holds and node.op_type in _TRANSPARENT and name == node.input[0]:
            for output in node.output:
                yield from _behind(output, readers)


def _learned(nodes: Iterator[NodeProto]) -> Array:
    values: list[str | int] = []
    for node in nodes:
        for attribute in node.attribute:
            if attribute.name in _CATEGORIES:
                values += map(_plain, helper.get_attribute_value(attribute))
    distinct = list(dict.fromkeys(values))
    kind = object if any(isinstance(value, str) for value in distinct) else np.int64
    return np.array(distinct, dtype=kind)


def _plain(value: bytes | int) -> str | int:
    return value.decode() if isinstance(value, bytes) else int(value)
