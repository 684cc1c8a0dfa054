"""The report as files: for machines, read back for a replay, and as a page for people."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.contract import strictjson
from edge_runtime.contract.errors import InputUnreadable, JsonMalformed
from packager.report.facts import SCHEMA

MAX_BYTES = 256 << 20


@dataclass(frozen=True)
class Recorded:
    """What a replay needs of a report.

    Attributes:
        values: the measured values by their keys.
        packages: the digest of each target's package, by target.
    """

    values: Mapping[str, Any]
    packages: Mapping[str, str]


def write_report(path: Path, document: Mapping[str, Any]) -> None:
    """Write a report.

    Raises:
        OSError: when it cannot be written; then the file is the caller's to remove.
    """
    with path.open("x", encoding="utf-8") as stream:
        json.dump(document, stream, indent=1, ensure_ascii=False, allow_nan=False)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())


def write_page(path: Path, page: str) -> None:
    """Write the report's page.

    Raises:
        OSError: when it cannot be written; then the file is the caller's to remove.
    """
    with path.open("x", encoding="utf-8", newline="\n") as stream:
        stream.write(page)
        stream.flush()
        os.fsync(stream.fileno())


def read_report(path: Path) -> Recorded:
    """Read a report back.

    Raises:
        InputUnreadable: when it cannot be read or is no report of this schema.
    """
    try:
        document = strictjson.loads(path.read_bytes(), what=path.name, limit=MAX_BYTES)
        schema, values = document["schema"], document["values"]
        packages = document["bundle"]["packages"]
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from None
    except JsonMalformed as error:
        raise _unreadable(path, error.message) from None
    except (KeyError, TypeError):
        raise _unreadable(path, "it has no schema, values or packages") from None
    if schema != SCHEMA or not isinstance(values, dict) or not isinstance(packages, dict):
        raise _unreadable(path, f"its schema is {schema!r}, not {SCHEMA!r}")
    return Recorded(values, packages)


def _unreadable(path: Path, reason: str) -> InputUnreadable:
    return InputUnreadable(
        f"{path} must be a report that packager build wrote: {reason}",
        hint="Give --replay dist/NAME-VERSION.report.json of the build to repeat.",
        path=str(path),
        expected=SCHEMA,
        found=reason,
    )
