"""The host's program: runs the command line, or says which libraries to install."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

from packager.errors import HostExtraMissing


def main() -> int:
    """Run the command line; a device's wheel has none of the host's libraries and says so."""
    signal.signal(signal.SIGTERM, _leave)
    try:
        from packager.cli import main as command_line
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in {"packager", "edge_runtime"}:
            raise
        missing = HostExtraMissing(
            f"packager needs the host's libraries, and {error.name} is not installed",
            hint="Install them with: pip install 'edgepack[host]' (Python 3.11 or newer).",
            module=error.name,
        )
        sys.stderr.write(missing.render() + "\n")
        return missing.exit_code
    return command_line()


def _leave(number: int, _frame: object) -> NoReturn:
    """End as if by ``exit``, so that what was begun is taken away again."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
