"""What a .pt2 file may hold: tensors and operators by name, nothing that runs code.

``torch.export.load`` runs code in several ways: it unpickles tensors of unusual classes and
objects (falling back to a full unpickler for example inputs), it evaluates the text of symbolic
sizes and of guards, it follows an operator's name through any attribute (``torch.os.system``),
and it writes names into source text that it compiles. Exports of plain modules need nothing of
that beyond arithmetic and PyTorch's own operators, so any other file is refused before it is
loaded. The child is contained all the same.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from packager.errors import SourceUnreadable, SourceUntrustedType
from packager.sources.extras import need

_MODEL = "models/model.json"
_PAYLOADS = re.compile(r"data/(weights|constants)/model_\w+_config\.json")
# Every other member that a plain export has.
_MEMBERS = re.compile(
    r"data/weights/weight_\d+|data/constants/tensor_\d+|data/sample_inputs/model\.pt"
    r"|archive_(format|version)|byteorder|\.data/(version|serialization_id)|\.format_version"
    r"|extra/.*",
    re.ASCII | re.DOTALL,
)

_NAME = re.compile(r"\w*(\.\w+)*", re.ASCII)
_DUNDERS = "and|or|xor|lshift|rshift|iand|ior|ixor|ilshift|irshift"
_OPERATOR = re.compile(
    rf"torch\.ops\.(?!_)\w+\.(_?(?!_)\w+|__(?:{_DUNDERS})__)(\.(?!_)\w+)?"
    r"|torch\.(_sym|sym)_(?!_)\w+|math\.(?!_)\w+"
    r"|_operator\.(abs|add|and_|eq|floordiv|ge|getitem|gt|invert|le|lshift|lt|mod|mul|ne|neg"
    r"|not_|or_|pos|pow|rshift|sub|truediv|xor)",
    re.ASCII,
)
# What symbolic sizes are written with: SymPy's own and PyTorch's.
_FUNCTION = re.compile(
    "Abs|Add|And|CeilDiv|CeilToInt|CleanDiv|Eq|ExprCondPair|Float|FloatPow|FloatTrueDiv|FloorDiv"
    "|FloorToInt|Ge|Gt|Identity|IntTrueDiv|Integer|LShift|Le|Lt|Max|Min|Mod|ModularIndexing|Mul"
    "|Ne|Not|Or|Piecewise|Pow|PowByNatural|PythonMod|RShift|Rational|RoundDecimal|RoundToInt"
    "|Symbol|ToFloat|TruncToFloat|TruncToInt|Where|ceiling|floor|sqrt"
)
_METHODS = frozenset({"size", "stride", "storage_offset"})
_KEY = re.compile(r"[\w. /-]*")
_SYNTAX = (
    ast.Expression,
    ast.Call,
    ast.keyword,
    ast.Name,
    ast.Load,
    ast.Constant,
    ast.Tuple,
    ast.Attribute,
    ast.Subscript,
    ast.BinOp,
    ast.BoolOp,
    ast.UnaryOp,
    ast.Compare,
    ast.boolop,
    ast.operator,
    ast.unaryop,
    ast.cmpop,
)


def check_archive(path: Path) -> None:
    """Refuse a .pt2 file whose loading could run code.

    It is read by PyTorch's own reader, so that both mean the same members.

    Raises:
        SourceUnreadable: when it is damaged or no export.
        SourceUntrustedType: naming what else it holds.
    """
    torch = need("torch", "torch")
    try:
        reader = torch._C.PyTorchFileReader(str(path))
        names = list(reader.get_all_records())
        if _MODEL not in names:
            raise _unreadable(path, f"it holds no {_MODEL}")
        texts = {
            name: json.loads(reader.get_record(name))
            for name in names
            if name == _MODEL or _PAYLOADS.fullmatch(name)
        }
    except (RuntimeError, ValueError) as error:
        raise _unreadable(path, str(error)) from None
    for name in names:
        if name not in texts and not _MEMBERS.fullmatch(name):
            raise _untrusted(path, name)
    for name, text in texts.items():
        for key, value in _entries(text):
            _check_entry(path, name, key, value)


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key and value of a JSON text, however deep."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield from item.items()
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _check_entry(path: Path, member: str, key: str, value: Any) -> None:
    known = _CHECKS.get(key)
    if known is not None and value is not None and not known(value):
        raise _untrusted(path, f"{key} {value!r} in {member}")


def _is_operator(value: Any) -> bool:
    # A mutated buffer's entry has a target too, which is a plain name.
    return isinstance(value, str) and (
        _OPERATOR.fullmatch(value) is not None or ("." not in value and value.isidentifier())
    )


def _is_name(value: Any) -> bool:
    # A name may be nested in an entry of its own; its text is then looked at there.
    return not isinstance(value, str) or _NAME.fullmatch(value) is not None


def _is_size(value: Any) -> bool:
    """Tell whether a text is arithmetic over sizes, which does no harm when it is evaluated."""
    try:
        tree = ast.parse(value, mode="eval")
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return False
    return all(isinstance(node, _SYNTAX) and _is_tame(node) for node in ast.walk(tree))


def _is_tame(node: ast.AST) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _FUNCTION.fullmatch(node.func.id) is not None
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute)
    if isinstance(node, ast.Attribute):
        return node.attr in _METHODS
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.isidentifier()
    return True


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_size, value))


def _are_keys(value: Any) -> bool:
    """Tell whether a tree of arguments, JSON within JSON, has nothing but plain names."""
    if isinstance(value, str) and not _KEY.fullmatch(value):
        try:
            return _are_keys(json.loads(value))
        except (ValueError, RecursionError):
            return False
    if isinstance(value, (list, dict)):
        inside = [*value, *value.values()] if isinstance(value, dict) else value
        return all(map(_are_keys, inside))
    return True


_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "use_pickle": lambda value: value is False,
    "expr_str": _is_size,
    "guards_code": _are_sizes,
    "in_spec": _are_keys,
    "out_spec": _are_keys,
    "forward_arg_names": _are_keys,
    "target": _is_operator,
    "as_operator": _is_operator,
    "name": _is_name,
    "as_name": _is_name,
    "path_name": lambda value: isinstance(value, str) and value.isidentifier(),
}


def _unreadable(path: Path, reason: str) -> SourceUnreadable:
    return SourceUnreadable(
        f"{path.name} is no export that PyTorch can read: {reason}",
        hint="Save it again: torch.export.save(torch.export.export(model, …), 'model.pt2')",
        expected="an exported program of PyTorch 2.8 or newer",
        found=reason,
    )


def _untrusted(path: Path, found: str) -> SourceUntrustedType:
    return SourceUntrustedType(
        f"a .pt2 file must hold tensors and named operators only, {path.name} holds {found}",
        hint="Export a model of plain tensors, or name what makes it: "
        "module.py:function --weights FILE",
        expected="tensors and operators",
        found=found,
    )
