"""What every typed error is: class, code, exit code, both values, one hint; and the families.

Only leaves are raised. A leaf has a kebab-case ``code`` that scripts may depend on and that
``docs/errors.md`` explains; its family gives the exit code (see ``EXIT_CODES``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

EXIT_CODES = {
    "done": 0,
    "bug": 1,
    "usage": 2,
    "input": 3,
    "bundle": 4,
    "device": 5,
    "host": 6,
    "busy": 7,
    "health": 8,
}


class EdgepackError(Exception):
    """Base of every error that a user may see.

    Args:
        message: one sentence that names both values, what was expected and what was found.
        hint: one imperative sentence that mends it.
        values: the same facts for machines; anything JSON can hold.
    """

    code: ClassVar[str] = ""
    exit_code: ClassVar[int] = EXIT_CODES["bug"]

    def __init__(self, message: str, *, hint: str, **values: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.values = values

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        return {
            "error": {
                "code": self.code,
                "message": self.message,
                "hint": self.hint,
                "values": self.values,
            }
        }

    def render(self) -> str:
        """Return the two lines that a person reads."""
        return f"error[{self.code}]: {self.message}\nhint: {self.hint}"


def leaves(base: type[EdgepackError] = EdgepackError) -> Iterator[type[EdgepackError]]:
    """Yield every error class below ``base`` that can be raised, depth first."""
    for child in base.__subclasses__():
        if child.code:
            yield child
        yield from leaves(child)


class UsageError(EdgepackError):
    """The command line cannot be understood."""

    code = "usage"
    exit_code = EXIT_CODES["usage"]


class Bug(EdgepackError):
    """A defect of the program itself: what it prints instead of a traceback."""

    code = "bug"


# --- families: the exit code says who has to act -------------------------------------------


class InputError(EdgepackError):
    """Something that the caller handed over: rows, arrays, files."""

    exit_code = EXIT_CODES["input"]


class BundleError(EdgepackError):
    """The bundle cannot be believed or read."""

    exit_code = EXIT_CODES["bundle"]


class DeviceError(EdgepackError):
    """This machine, its store or its engine."""

    exit_code = EXIT_CODES["device"]


class BusyError(EdgepackError):
    """Somebody else is at work; trying again later may succeed."""

    exit_code = EXIT_CODES["busy"]


class HealthError(EdgepackError):
    """All works, and something is not as it should be."""

    exit_code = EXIT_CODES["health"]
