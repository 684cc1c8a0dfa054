"""How a child process of this very program is started: the same Python, the same imports."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

# -I keeps the environment and the current directory out of the child's imports, so it is told
# where the parent's came from.
_START: Final = (
    "import json, sys; from importlib import import_module; "
    "sys.path[:] = json.loads(sys.argv[1]); import_module(sys.argv[2]).main(sys.argv[3:])"
)


def command(module: str, arguments: Sequence[str]) -> list[str]:
    """Return the command line of a child that calls ``main`` of a module of ours."""
    return [sys.executable, "-I", "-c", _START, json.dumps(_import_path()), module, *arguments]


def _import_path() -> list[str]:
    """Return where to import from: never the current directory, where anything may lie.

    It is only searched if this very package came from there, and then after everything else.
    """
    try:
        here = Path.cwd()
    except OSError:
        here = None  # somebody has removed it
    absolute = [entry for entry in sys.path if Path(entry).is_absolute()]
    ours = Path(__file__).resolve().parents[2]
    return [*(entry for entry in absolute if Path(entry).resolve() != here), str(ours)]
