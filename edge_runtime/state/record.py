"""What the device knows about one model: two copies of one record, the older is overwritten.

Each copy is put in place whole, so a power cut leaves the one before; a copy that does not read
means a damaged disk or a foreign hand, and is said.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edge_runtime.contract import strictjson
from edge_runtime.contract.bundle.manifest import is_digest
from edge_runtime.contract.errors import JsonMalformed, StoreCorrupt, StoreNewer
from edge_runtime.contract.strictjson import Fields
from edge_runtime.state.disk import write_file

SCHEMA = "edgepack.state/1"
COPIES = ("state-a.json", "state-b.json")
MAX_BYTES = 1 << 20
MAX_HISTORY = 64
# Loads of a version on probation that may fail before what served before it serves again.
TRIES = 3
# What the history calls what happened to a version.
STAGED, ACTIVATED, MARKED_GOOD = "staged", "activated", "marked good"
ROLLED_BACK, REMOVED = "rolled back", "removed"
_MAX_DETAIL = 500

_COPY = re.compile(rb'\{"crc32":"(?P<crc>[0-9a-f]{8})",(?P<rest>.*)', re.DOTALL)


@dataclass(frozen=True)
class Version:
    """One version of a model, as the record refers to it.

    Attributes:
        digest: sha256 of its ``manifest.json`` in hex: the name of its directory.
        version: for people.
        release: the number that only rises.
        trust: digest of the set of keys under which its signature was last verified.
    """

    digest: str
    version: str
    release: int
    trust: str


@dataclass(frozen=True)
class Event:
    """One line of the history. There is no time in it: a device may not know the time.

    Attributes:
        generation: of the record that wrote it first, which puts events in order.
        action: one of those named above.
        version: the version concerned.
        digest: the same for machines.
        detail: the reason, or empty.
    """

    generation: int
    action: str
    version: str
    digest: str
    detail: str


@dataclass(frozen=True)
class State:
    """The record. One write changes everything that must change together.

    Attributes:
        generation: rises with each write; the highest valid copy counts.
        active: the version that is to serve; None before the first activation.
        previous_good: the last version before it that was proven good.
        candidate: the active version as long as it is on probation; None when it is proven.
        tries_left: how many loads of the candidate may fail before it is given up.
        floor: the lowest release that may be installed.
        history: the last events, oldest first.
    """

    generation: int = 0
    active: Version | None = None
    previous_good: Version | None = None
    candidate: Version | None = None
    tries_left: int = 0
    floor: int = 0
    history: tuple[Event, ...] = ()


@dataclass(frozen=True)
class Reading:
    """What the two copies gave.

    Attributes:
        state: the highest valid one, or an empty one.
        degraded: what is wrong with the copies; empty when nothing is.
        lost: True when no valid copy is left although there was one.
    """

    state: State
    degraded: str
    lost: bool


def activated(state: State, version: Version, detail: str = "", *, tries: int = TRIES) -> State:
    """Return the state in which ``version`` serves on probation.

    What can be returned to is the last version that was proven: never one on probation itself.
    To return to that very version needs no probation.
    """
    following = replace(_recorded(state, ACTIVATED, version, detail), active=version)
    if state.active is not None and state.active.digest == version.digest:
        return replace(following, candidate=version if state.candidate else None)
    back = state.previous_good if state.candidate else state.active
    if back is not None and back.digest == version.digest:
        return replace(following, previous_good=None, candidate=None, tries_left=0)
    return replace(following, previous_good=back, candidate=version, tries_left=tries)


def proven_good(state: State, detail: str = "") -> State:
    """Return the state in which the active version is proven, and none older is taken in."""
    if state.active is None or state.candidate is None:
        return state
    return replace(
        _recorded(state, MARKED_GOOD, state.active, detail),
        candidate=None,
        tries_left=0,
        floor=max(state.floor, state.active.release),
    )


def rolled_back(state: State, detail: str) -> State:
    """Return the state in which the previous good version serves again, proven as it was."""
    if state.active is None or state.previous_good is None:
        return state
    return replace(
        _recorded(state, ROLLED_BACK, state.active, detail),
        active=state.previous_good,
        previous_good=None,
        candidate=None,
        tries_left=0,
    )


def staged(state: State, version: Version) -> State:
    """Return the state in which a version waits to be activated."""
    return _recorded(state, STAGED, version, "")


def removed(state: State, version: Version) -> State:
    """Return the state in which the history says that a version was removed by command."""
    return _recorded(state, REMOVED, version, "")


def reverified(state: State, digest: str, trust: str) -> State:
    """Return the state in which the signature of ``digest`` was verified under ``trust``.

    That is only kept of the active version.
    """
    if state.active is None or state.active.digest != digest:
        return state
    active = replace(state.active, trust=trust)
    return replace(state, active=active, candidate=active if state.candidate else None)


def _recorded(state: State, action: str, version: Version, detail: str) -> State:
    # A reason may quote a file name that is no text, and must not outgrow the record.
    plain = detail.encode(errors="replace").decode()[:_MAX_DETAIL]
    event = Event(state.generation + 1, action, version.version, version.digest, plain)
    return replace(state, history=(*state.history, event)[-MAX_HISTORY:])


def read(directory: Path) -> Reading:
    """Read both copies; needs neither the lock nor the right to write.

    Raises:
        StoreNewer: when a newer runtime wrote a valid copy of a form unknown here.
        PermissionError: when a copy is there and may not be read.
    """
    states: list[State] = []
    faults: list[str] = []
    for name in COPIES:
        try:
            state = _read_copy(directory / name)
        except StoreCorrupt as error:
            faults.append(error.message)
        else:
            states += [state] if state else []
    if not states:
        return Reading(State(), "; ".join(faults), lost=bool(faults))
    newest = max(states, key=lambda state: state.generation)
    if len(states) == 1 and not faults and newest.generation > 1:
        faults.append(f"one of {' and '.join(COPIES)} is missing in {directory}")
    return Reading(newest, "; ".join(faults), lost=False)


def write(directory: Path, state: State) -> State:
    """Put the state in place of the copy that does not count, as the next generation.

    The caller holds the store's lock and read ``state`` under it.

    Raises:
        OSError: when it cannot be written; what counted before still counts.
    """
    following = replace(state, generation=state.generation + 1)
    write_file(directory / _spare_copy(directory), render(following))
    return following


def _spare_copy(directory: Path) -> str:
    """Return the name of the copy that is missing, bad or older."""
    ages = {}
    for name in COPIES:
        try:
            state = _read_copy(directory / name)
        except StoreCorrupt:
            state = None
        ages[name] = state.generation if state else -1
    return min(COPIES, key=lambda name: ages[name])


def render(state: State) -> bytes:
    """Return a state as the bytes of one copy: JSON whose first key sums up the rest."""
    rest = strictjson.dumps({"schema": SCHEMA, "state": asdict(state)})[1:]
    return b'{"crc32":"%08x",%s' % (zlib.crc32(rest), rest)


def parse(data: bytes, what: str) -> State:
    """Read one copy's bytes.

    Args:
        data: the bytes.
        what: how errors name the copy.

    Raises:
        StoreCorrupt: when they are not what was written.
        StoreNewer: when they are sound, but of a newer form.
    """
    found = _COPY.fullmatch(data)
    if found is None or int(found["crc"], 16) != zlib.crc32(found["rest"]):
        raise _corrupt(f"{what} does not have the checksum that it was written with")
    try:
        document = strictjson.loads(data, what=what, limit=MAX_BYTES)
    except JsonMalformed as error:
        raise _corrupt(error.message) from None
    outer = Fields(document, what, StoreCorrupt)
    schema = outer.text("schema")
    if schema != SCHEMA:
        raise StoreNewer(
            f"{what} has the form {schema}, this runtime reads {SCHEMA}",
            hint="Install the edge runtime that wrote it, or a newer one.",
            expected=SCHEMA,
            found=schema,
        )
    return _state(outer.any("state"), f"{what}.state")


def _read_copy(path: Path) -> State | None:
    """Read one copy; None when there is none."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        if isinstance(error, PermissionError):
            raise
        raise _corrupt(f"{path} cannot be read: {error.strerror}") from None
    return parse(data, str(path))


def _corrupt(message: str) -> StoreCorrupt:
    return StoreCorrupt(
        message,
        hint="Check the disk; then install the model's bundle again.",
        reason=message,
    )


def _state(body: Any, what: str) -> State:
    fields = Fields(body, what, StoreCorrupt)
    state = State(
        generation=fields.integer("generation", low=1),
        active=_version(fields.any("active"), f"{what}.active"),
        previous_good=_version(fields.any("previous_good"), f"{what}.previous_good"),
        candidate=_version(fields.any("candidate"), f"{what}.candidate"),
        tries_left=fields.integer("tries_left"),
        floor=fields.integer("floor"),
        history=tuple(
            _event(item, f"{what}.history")
            for item in fields.list("history", limit=MAX_HISTORY)
        ),
    )
    fields.done()
    return state


def _version(value: Any, where: str) -> Version | None:
    if value is None:
        return None
    fields = Fields(value, where, StoreCorrupt)
    version = Version(
        digest=fields.text("digest"),
        version=fields.text("version"),
        release=fields.integer("release"),
        trust=fields.text("trust"),
    )
    fields.done()
    if not is_digest(version.digest):
        raise _corrupt(f"{where}.digest must be a sha256 in hex, found {version.digest[:80]!r}")
    return version


def _event(value: Any, where: str) -> Event:
    fields = Fields(value, where, StoreCorrupt)
    event = Event(
        generation=fields.integer("generation", low=1),
        action=fields.text("action"),
        version=fields.text("version"),
        digest=fields.text("digest"),
        detail=fields.text("detail"),
    )
    fields.done()
    return event
