"""Runs commands in children of a process that has everything imported, each stopped first.

    python -m power_forks DIRECTORY

Every line on standard input is a JSON list: a file for what the command says (its errors go
into one beside it), the program, and its words. A child for that command stops itself, and its
number is printed; once it has ended, so is how.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import power_broken
import power_metrics
from power_world import VERSIONS, World, once_for_all

from edge_runtime import __main__ as command_line

_SET_TRACER, _ANYBODY = 0x59616D61, 2**64 - 1
Program = Callable[[list[str]], int]
PROGRAMS: dict[str, Program] = {
    "edge_runtime": command_line.main,
    "power_broken": power_broken.main,
    "power_metrics": power_metrics.main,
}


def main(directory: Path) -> None:
    """Answer requests until there are no more."""
    world = World(directory)
    with once_for_all():
        world.run(directory / "warm", ("trust", "add", "{key}"))
        for version in VERSIONS:
            world.run(directory / "warm", ("install", f"{{{version}}}"))
        for line in sys.stdin:
            said, module, *words = json.loads(line)
            child = os.fork()
            if not child:
                _become(said, PROGRAMS[module], words)
            os.waitpid(child, os.WUNTRACED)
            print(child, flush=True)  # noqa: T201 - the protocol
            _, status = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


def _become(said: str, program: Program, words: list[str]) -> None:
    """Be the command: stand still until somebody has come to watch, then run it."""
    for stream, path in ((1, said), (2, f"{said}.errors")):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), stream)
    # Where only ancestors may trace, let anybody: strace is none.
    ctypes.CDLL(None).prctl(_SET_TRACER, ctypes.c_ulong(_ANYBODY), 0, 0, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
    code = 1
    try:
        code = program(words)
        sys.stdout.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
