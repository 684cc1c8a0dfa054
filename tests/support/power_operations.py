"""What is done to a store while its power is cut, and what must be so once it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from power_metrics import PREDICTIONS
from power_world import NAME

from edge_runtime.contract.logs import LogReader
from edge_runtime.segment_writer import MIN_CAP_BYTES
from edge_runtime.state.record import State, Version
from edge_runtime.state.store import Store

Command = tuple[str, ...]
# What is missing of an effect that was acknowledged so many times; empty when nothing is.
Lost = Callable[[Store, int], str]

# Two that are no commands of ours: a file of what serves is damaged, so many windows of metrics
# were written.
DAMAGE, WINDOWS = "damage", "windows"


@dataclass(frozen=True)
class Operation:
    """One thing that is done to a store.

    Attributes:
        name: as the page lists it.
        before: the commands that made the store.
        command: what is done.
        serves: the version that serves before; empty when none does.
        then: the version that serves once it is done.
        lost: tells what of its effect is missing.
        following: what is done next; by default the same again.
        finally_serves: the version that serves after that; by default ``then``.
        module: the program, as Python's ``-m`` finds it.
        damaged: nothing serves before it is done.
        stay: the versions that are installed in the end; empty where that is left open.
    """

    name: str
    before: tuple[Command, ...]
    command: Command
    serves: str
    then: str
    lost: Lost
    following: Command = ()
    finally_serves: str = ""
    module: tuple[str, ...] = ("edge_runtime",)
    damaged: bool = False
    stay: tuple[str, ...] = ()

    @property
    def next_command(self) -> Command:
        """What is done after the cut; it must do its work."""
        return self.following or self.command

    @property
    def last_version(self) -> str:
        """The version that serves once that is done."""
        return self.finally_serves or self.then


# --- what an effect is ---------------------------------------------------------------------


def record_of(store: Store) -> State:
    """Return the model's record, an empty one where there is no model."""
    return store.model(NAME).read().state if NAME in store.models() else State()


def _named(version: Version | None) -> str:
    return version.version if version else "none"


def keeps(**fields: str | int) -> Lost:
    """Return a check that fields of the record hold these versions or numbers."""

    def lost(store: Store, _: int) -> str:
        state = record_of(store)
        for name, wanted in fields.items():
            value = getattr(state, name)
            found = value if isinstance(value, int) else _named(value)
            if found != wanted:
                return f"{name} must be {wanted}, it is {found}"
        return ""

    return lost


def installed_are(*wanted: str) -> Lost:
    """Return a check that these versions are installed, and no others."""

    def lost(store: Store, _: int) -> str:
        installed = store.model(NAME).installed()
        found = sorted(item.manifest.version if item.manifest else "?" for item in installed)
        return "" if found == sorted(wanted) else f"installed must be {wanted}, it is {found}"

    return lost


def last_state(operation: Operation) -> Lost:
    """Return the check of what must be so once the next command is done."""
    checks = [] if operation.following else [operation.lost]
    checks += [installed_are(*operation.stay)] if operation.stay else []
    return every(*checks)


def every(*checks: Lost) -> Lost:
    """Return a check that finds what the first of several finds."""

    def lost(store: Store, told: int) -> str:
        return next((found for check in checks if (found := check(store, told))), "")

    return lost


def trusts_key(store: Store, _: int) -> str:
    """Check that the key is trusted."""
    return "" if store.trust.fingerprints() else "no key is trusted"


def found_good(store: Store, _: int) -> str:
    """Check that the active version is proven, by the record or by the mark of a load."""
    state = record_of(store)
    if state.candidate is None:
        return ""
    marks = store.model(NAME).loads.marks(state.candidate.digest)
    return "" if marks.good else "the version answered enough rows and is still on probation"


def keeps_threads(store: Store, _: int) -> str:
    """Check that the number of threads is set."""
    settings, problem = store.model(NAME).settings()
    return "" if settings.threads == 1 and not problem else f"set is {settings}, {problem}"


def list_is_newer(store: Store, _: int) -> str:
    """Check that the newer ``trust.json`` is in force, with what it withdraws."""
    withdrawn = store.trust.revocations().keys
    return "" if withdrawn else "the key that was withdrawn counts again"


def windows_are_there(store: Store, told: int) -> str:
    """Check that each window that was written is read, and only older ones were dropped."""
    directory = store.model(NAME).metrics
    reader = LogReader([directory])
    seen = [window.tally.predictions for _, _, window in reader].count(PREDICTIONS)
    if seen < told:
        return f"{told} windows were written, {seen} are read"
    if reader.health.missing_windows:
        return f"{reader.health.missing_windows} windows are missing in between"
    size = sum(path.stat().st_size for path in directory.iterdir())
    return "" if size <= MIN_CAP_BYTES else f"the log has {size} bytes"


# --- the operations ------------------------------------------------------------------------


def install(version: str) -> Command:
    """Return the command that installs a version."""
    return ("install", f"{{{version}}}")


TRUST: Command = ("trust", "add", "{key}")
PREDICT: Command = ("predict", NAME, "--input", "{rows}", "--output", "-")
STAGE: Command = (*install("2.0.0"), "--stage-only")

FIRST: tuple[Command, ...] = (TRUST, install("1.0.0"))
PROVEN: tuple[Command, ...] = (*FIRST, PREDICT)
PROBATION: tuple[Command, ...] = (*PROVEN, install("2.0.0"))
LISTED: tuple[Command, ...] = (
    ("trust", "add", "{root}", "--root"),
    ("trust", "update", "{trust-1}"),
    install("1.0.0"),
)

INSTALL_OVER = Operation(
    "installation over another",
    PROVEN,
    install("2.0.0"),
    "1.0.0",
    "2.0.0",
    keeps(active="2.0.0", candidate="2.0.0", previous_good="1.0.0"),
)

OPERATIONS: Sequence[Operation] = (
    Operation("first trusted key", (), TRUST, "", "", trusts_key),
    Operation(
        "first installation",
        (TRUST,),
        install("1.0.0"),
        "",
        "1.0.0",
        keeps(active="1.0.0", candidate="1.0.0", previous_good="none"),
    ),
    INSTALL_OVER,
    Operation(
        "installation that waits",
        PROVEN,
        STAGE,
        "1.0.0",
        "1.0.0",
        every(keeps(active="1.0.0"), installed_are("1.0.0", "2.0.0")),
    ),
    Operation(
        "activation",
        (*PROVEN, STAGE),
        ("activate", f"{NAME}@2.0.0"),
        "1.0.0",
        "2.0.0",
        keeps(active="2.0.0", candidate="2.0.0", previous_good="1.0.0"),
    ),
    Operation(
        "a load on probation",
        PROBATION,
        PREDICT,
        "2.0.0",
        "2.0.0",
        found_good,
        following=install("3.0.0"),
        finally_serves="3.0.0",
    ),
    Operation(
        "marking good",
        PROBATION,
        ("mark-good", NAME),
        "2.0.0",
        "2.0.0",
        keeps(active="2.0.0", candidate="none", floor=2),
    ),
    Operation(
        "rollback",
        PROBATION,
        ("rollback", NAME),
        "2.0.0",
        "1.0.0",
        keeps(active="1.0.0", candidate="none"),
        following=install("3.0.0"),
        finally_serves="3.0.0",
    ),
    Operation(
        "end of a probation, garbage collection",
        (*PROBATION, PREDICT),
        install("3.0.0"),
        "2.0.0",
        "3.0.0",
        keeps(active="3.0.0", previous_good="2.0.0", floor=2),
        stay=("2.0.0", "3.0.0"),
    ),
    Operation(
        "removal",
        (*PROVEN, STAGE),
        ("remove", f"{NAME}@2.0.0"),
        "1.0.0",
        "1.0.0",
        installed_are("1.0.0"),
        following=install("2.0.0"),
        finally_serves="2.0.0",
    ),
    Operation(
        "a setting",
        PROVEN,
        ("set", NAME, "threads=1"),
        "1.0.0",
        "1.0.0",
        keeps_threads,
    ),
    Operation(
        "trust update",
        LISTED,
        ("trust", "update", "{trust-2}"),
        "1.0.0",
        "1.0.0",
        list_is_newer,
    ),
    Operation(
        "repair",
        (*PROVEN, (DAMAGE,)),
        ("verify", "--repair", "{1.0.0}"),
        "1.0.0",
        "1.0.0",
        keeps(active="1.0.0"),
        damaged=True,
    ),
    Operation(
        "metrics rotation",
        (*PROVEN, (WINDOWS, "45")),
        ("8",),
        "1.0.0",
        "1.0.0",
        windows_are_there,
        following=install("2.0.0"),
        finally_serves="2.0.0",
        module=("power_metrics",),
    ),
)


def broken(style: str) -> Operation:
    """Return an installation over another by a store that is written with one mistake."""
    return replace(INSTALL_OVER, name=style, module=("power_broken", style))
