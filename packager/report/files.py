"""The report as a file: written whole or not at all, and read back for a replay."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from edge_runtime.contract import strictjson
from edge_runtime.contract.errors import InputUnreadable, JsonMalformed, OutputUnwritable
from packager.report.facts import SCHEMA

MAX_BYTES = 256 << 20


def write_report(path: Path, document: dict[str, Any]) -> None:
    """Write a report.

    Raises:
        OutputUnwritable: when it cannot be written; what stood there before still does.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("x", encoding="utf-8") as stream:
            json.dump(document, stream, indent=1, ensure_ascii=False)
            stream.write("\n")
        temporary.replace(path)
    except OSError as error:
        raise OutputUnwritable(
            f"the report is written to {path}, which cannot be written: {error.strerror}",
            hint="Free space there, or choose another directory: --out DIR",
            path=str(path),
            reason=error.strerror,
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def read_replay(path: Path) -> dict[str, Any]:
    """Return the measured values of a report.

    Raises:
        InputUnreadable: when it cannot be read or is no report of this schema.
    """
    try:
        document = strictjson.loads(path.read_bytes(), what=path.name, limit=MAX_BYTES)
        found = document["schema"]
        values = document["values"]
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from None
    except JsonMalformed as error:
        raise _unreadable(path, error.message) from None
    except (KeyError, TypeError):
        raise _unreadable(path, "it has no schema or values") from None
    if found != SCHEMA or not isinstance(values, dict):
        raise _unreadable(path, f"its schema is {found!r}, not {SCHEMA!r}")
    return values


def _unreadable(path: Path, reason: str) -> InputUnreadable:
    return InputUnreadable(
        f"{path} must be a report that packager build wrote: {reason}",
        hint="Give --replay dist/NAME-VERSION.report.json of the build to repeat.",
        path=str(path),
        expected=SCHEMA,
        found=reason,
    )
