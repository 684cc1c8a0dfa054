"""Which library versions a model's file says it was written with, found without opening it.

Nothing of the file runs and no library reads it: its bytes are searched for the few places
where a writer leaves its name. What is not found there is unsaid, as is all of a damaged file.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TypeAlias

from packager.sources.environments.pieces import DAMAGED, member_pieces, pieces

Find: TypeAlias = Callable[[bytes], str | None]

_LONGEST = 2 << 10  # more than any pattern below can match
_ZIP = b"PK\x03\x04"

_VERSION = rb"\d{1,4}(?:\.\d{1,4}){1,3}(?:(?:a|b|rc|\.dev|\.post)\d{1,8})?"
_NAME = rb"[A-Za-z_]\w{0,99}(?:\.[A-Za-z_]\w{0,99}){0,9}"

# Between two operations of a pickle: one that remembers the text before, the head of a frame.
_BETWEEN = rb"(?:\x94|q.|r.{4}|p\d{1,9}\n)?(?:\x95.{8})?"
# The text that scikit-learn adds to what it pickles, and the head of the text that follows.
_ADDED = re.compile(rb"_sklearn_version\n?" + _BETWEEN + rb"(?:\x8c(.)|X(.)\0{3}|V)", re.DOTALL)
_WHOLE_VERSION = re.compile(_VERSION)
# What a pickle imports: by one operation, before which any letters may stand that belong to
# others, or by one that takes both names from before it.
_GLOBAL = re.compile(rb"c(?=(" + _NAME + rb")\n" + _NAME + rb"\n)")
_STACKED = re.compile(
    rb"\x8c(.)("
    + _NAME
    + rb")"
    + _BETWEEN
    + rb"(?:\x8c."
    + _NAME
    + rb"|h.|j.{4})"
    + _BETWEEN
    + rb"\x93",
    re.DOTALL,
)
_SKOPS_MODULE = re.compile(rb'"__module__":\s{0,9}"(' + _NAME + rb')"')

_SKOPS = re.compile(
    rb'"_sklearn_version":\s{0,99}\{[^{}]{0,800}?"content":\s{0,99}"\\"(' + _VERSION + rb')\\""'
)
_KERAS = re.compile(rb'"keras_version":\s{0,99}"(' + _VERSION + rb')"')
_TORCH = re.compile(rb'"torch_version":\s{0,99}"(' + _VERSION + rb')[+"]')
_CATBOOST = re.compile(rb"CatBoost release (" + _VERSION + rb")\.\s")
_XGBOOST = re.compile(rb'"version":\s{0,99}\[(\d{1,4}),\s{0,99}(\d{1,4}),\s{0,99}(\d{1,4})\]')
_XGBOOST_BINARY = re.compile(rb"version\[#L\0{7}\x03i(.)i(.)i(.)", re.DOTALL)
# HDF5 keeps the text of an attribute in a heap, behind its length in eight bytes.
_HEAPED = re.compile(rb"([\x03-\x20])\0{7}(" + _VERSION + rb")\0")
# The version and the commit, fields 5 and 6 of TensorFlow's MetaInfoDef.
_TENSORFLOW = re.compile(rb"\x2a[\x03-\x20](" + _VERSION + rb")\x32")


def versions_inside(path: Path, form: str) -> dict[str, str]:
    """Return the versions that a model's file names, by library; {} where it names none.

    Args:
        path: the file or directory.
        form: how it is opened, as ``loaders.open_model`` knows it.
    """
    found = {}
    for library, read in _READERS.get(form, {}).items():
        try:
            version = read(path)
        except DAMAGED:
            continue
        if version is not None:
            found[library] = version
    return found


def modules_inside(path: Path) -> frozenset[str]:
    """Return the modules that opening a pickle or a skops file would import.

    Only what the file says in so many words: a module that code in it imports is not there. Of
    a pickle older than protocol 4 they are those whose library stands here.
    """
    found: set[str] = set()
    try:
        with path.open("rb") as file:
            skops = file.read(len(_ZIP)) == _ZIP
        for window in _windows(_schema(path) if skops else pieces(path)):
            found.update(_skops_modules(window) if skops else _pickled_modules(window))
    except DAMAGED:
        return frozenset(found)
    return frozenset(found)


def _windows(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Yield pieces with the end of the one before: a match may lie across."""
    tail = b""
    for part in parts:
        window = tail + part
        yield window
        tail = window[-_LONGEST:]


def _first(parts: Iterator[bytes], find: Find) -> str | None:
    for window in _windows(parts):
        if (found := find(window)) is not None:
            return found
    return None


def _group(pattern: re.Pattern[bytes]) -> Find:
    """Return what finds the group of a pattern."""

    def find(window: bytes) -> str | None:
        found = pattern.search(window)
        return found.group(1).decode("ascii") if found else None

    return find


def _schema(path: Path) -> Iterator[bytes]:
    return member_pieces(path, "schema.json".__eq__)


def _pickled(window: bytes) -> str | None:
    for added in _ADDED.finditer(window):
        start, length = added.end(), added.group(1) or added.group(2)
        end = start + length[0] if length else window.find(b"\n", start)
        text = window[start:end]
        if _WHOLE_VERSION.fullmatch(text) and end < len(window):
            return text.decode("ascii")
    return None


def _pickled_modules(window: bytes) -> Iterator[str]:
    for found in _GLOBAL.finditer(window):
        module = found.group(1).decode("ascii")
        if module.partition(".")[0] in _standing():
            yield module
    for found in _STACKED.finditer(window):
        if found.group(1)[0] == len(found.group(2)):
            yield found.group(2).decode("ascii")


@cache
def _standing() -> frozenset[str]:
    """Return the names of all packages and modules that stand here."""
    return sys.stdlib_module_names | metadata.packages_distributions().keys()


def _skops_modules(window: bytes) -> Iterator[str]:
    for found in _SKOPS_MODULE.finditer(window):
        yield found.group(1).decode("ascii")


def _keras(path: Path) -> str | None:
    with path.open("rb") as file:
        zipped = file.read(len(_ZIP)) == _ZIP
    if zipped:
        return _first(member_pieces(path, "metadata.json".__eq__), _group(_KERAS))
    if _first(pieces(path), lambda window: "named" if b"keras_version" in window else None):
        return _first(pieces(path), _heaped)
    return None


def _heaped(window: bytes) -> str | None:
    for found in _HEAPED.finditer(window):
        if found.group(1)[0] == len(found.group(2)):
            return found.group(2).decode("ascii")
    return None


def _xgboost(window: bytes) -> str | None:
    if found := _XGBOOST.search(window):
        return ".".join(part.decode("ascii") for part in found.groups())
    if found := _XGBOOST_BINARY.search(window):
        return ".".join(str(part[0]) for part in found.groups())
    return None


def _is_exported(name: str) -> bool:
    return "/models/" in name and name.endswith(".json")


_READERS: Mapping[str, Mapping[str, Callable[[Path], str | None]]] = {
    "skops": {"scikit-learn": lambda path: _first(_schema(path), _group(_SKOPS))},
    "pickle": {"scikit-learn": lambda path: _first(pieces(path), _pickled)},
    "keras": {"keras": _keras},
    "tensorflow": {
        "tensorflow": lambda path: _first(pieces(path / "saved_model.pb"), _group(_TENSORFLOW))
    },
    "torch": {"torch": lambda path: _first(member_pieces(path, _is_exported), _group(_TORCH))},
    "xgboost": {"xgboost": lambda path: _first(pieces(path), _xgboost)},
    "catboost": {"catboost": lambda path: _first(pieces(path), _group(_CATBOOST))},
}
