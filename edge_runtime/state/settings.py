"""What the operator of this device has set for one model: threads and variant.

A setting counts from the next load on. It never weakens what was proven: fewer threads than
the signed profile grants, or a variant that passed its trial here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from edge_runtime.contract import strictjson
from edge_runtime.contract.errors import JsonMalformed, SettingInvalid
from edge_runtime.contract.strictjson import Fields

FILE = "settings.json"
SCHEMA = "edgepack.settings/1"
MAX_THREADS = 1024
_MAX_BYTES = 1 << 12
_MAX_NAME = 64


@dataclass(frozen=True)
class Settings:
    """What was set; None where the device decides by itself.

    Attributes:
        threads: at most so many threads within one operator.
        variant: serve this variant instead of the one that the trial chose.
    """

    threads: int | None = None
    variant: str | None = None

    def limited(self, threads: int) -> int:
        """Return how many threads may be started, where the device has so many."""
        return threads if self.threads is None else min(self.threads, threads)

    def items(self) -> list[tuple[str, str]]:
        """Return what was set as name and text."""
        return [(name, str(value)) for name, value in asdict(self).items() if value is not None]


def changed(settings: Settings, assignments: Sequence[str]) -> Settings:
    """Return settings with ``NAME=VALUE`` taken in; nothing after the ``=`` clears one.

    Raises:
        SettingInvalid: when there is no such setting, or it cannot have that value.
    """
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or name not in asdict(settings):
            raise invalid("a setting", "threads=NUMBER or variant=NAME", assignment)
        if name == "variant":
            settings = replace(settings, variant=value or None)
        else:
            settings = replace(settings, threads=_threads(value) if value else None)
    return settings


def _threads(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= len(str(MAX_THREADS))):
        raise invalid("threads", "a whole number from 1", value)
    return int(value)


def invalid(name: str, expected: str, found: str) -> SettingInvalid:
    """Return the error for a setting that cannot hold."""
    return SettingInvalid(
        f"{name} must be {expected}, it is {found!r}",
        hint="Give a value that can hold, or none to clear it: edge-runtime set NAME threads=",
        setting=name,
        expected=expected,
        found=found,
    )


def read(directory: Path) -> tuple[Settings, str]:
    """Return a model's settings, and why they do not count although there are some.

    Raises:
        OSError: when they may not be read.
    """
    try:
        with (directory / FILE).open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return Settings(), ""
    try:
        return parse(data), ""
    except JsonMalformed as error:
        return Settings(), f"the settings do not count: {error.message}"


def parse(data: bytes) -> Settings:
    """Read the bytes of a settings file.

    Raises:
        JsonMalformed: when they are not what was written.
    """
    fields = Fields(strictjson.loads(data, what=FILE, limit=_MAX_BYTES), FILE, JsonMalformed)
    schema = fields.text("schema")
    if schema != SCHEMA:
        raise JsonMalformed(
            f"{FILE} must have the form {SCHEMA}, it has {schema!r}",
            hint="Set it again: edge-runtime set NAME threads=1",
            expected=SCHEMA,
            found=schema,
        )
    threads = variant = None
    if fields.has("threads"):
        threads = fields.integer("threads", low=1, high=MAX_THREADS)
    if fields.has("variant"):
        variant = fields.text("variant", limit=_MAX_NAME)
    fields.done()
    return Settings(threads, variant)


def render(settings: Settings) -> bytes:
    """Return settings as the bytes of their file."""
    given = {name: value for name, value in asdict(settings).items() if value is not None}
    return strictjson.dumps({"schema": SCHEMA, **given})
