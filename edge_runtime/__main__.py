"""The ``edge-runtime`` command: parse, call one function, render what it returns."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from edge_runtime.contract.errors import EXIT_CODES, EdgepackError
from edge_runtime.contract.terminal import abandon, show, show_bug, show_error
from edge_runtime.parser import build_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the arguments without the program's name; by default the process's own.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _leave)
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Also for what cannot be parsed; behind -- stands what is meant for another program.
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    as_json = "--json" in own
    rows_on_stdout = False
    try:
        options = build_parser().parse_args(arguments)
        rows_on_stdout = getattr(options, "output", None) == "-"
        show(options.run(options), as_json=as_json, rows_on_stdout=rows_on_stdout)
    except EdgepackError as error:
        show_error(error, as_json=as_json, rows_on_stdout=rows_on_stdout)
        return error.exit_code
    except BrokenPipeError:
        abandon(sys.stdout)  # whoever read it has gone, and there is nobody left to tell
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:  # the last line of defence: no traceback reaches a user
        show_bug(error, "edge-runtime", as_json=as_json, rows_on_stdout=rows_on_stdout)
        return EXIT_CODES["bug"]
    return EXIT_CODES["done"]


def _leave(number: int, frame: object) -> NoReturn:
    """Leave in order: what is half written is removed, what was counted is kept."""
    del frame
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
