"""Errors of what the caller handed over: rows, arrays, files."""

from __future__ import annotations

from edge_runtime.contract.errors.base import InputError


class InputUnreadable(InputError):
    """A file or stream of rows cannot be opened or decoded."""

    code = "input-unreadable"


class TableMalformed(InputError):
    """A CSV, JSON-lines or NPZ table is not of its form."""

    code = "table-malformed"


class InputName(InputError):
    """A column or tensor is missing or unknown."""

    code = "input-name"


class InputDtype(InputError):
    """An array's element type is not the declared one."""

    code = "input-dtype"


class InputShape(InputError):
    """An array's shape is not the declared one."""

    code = "input-shape"


class InputValue(InputError):
    """A cell cannot be read as its column's kind."""

    code = "input-value"


class InputMissing(InputError):
    """A missing value stands where the manifest forbids it."""

    code = "input-missing"


class OutputUnwritable(InputError):
    """A named output path cannot be written."""

    code = "output-unwritable"
