"""Loads: entered before anything is opened, and counted however their processes end."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.state import loads as module
from edge_runtime.state.loads import Loads, Marks, Running, Standing, standing
from edge_runtime.state.record import State, Version, activated, proven_good

ONE = Version("1" * 64, "1.0.0", 1_000_000, "a" * 64)
TWO = Version("2" * 64, "2.0.0", 2_000_000, "a" * 64)
CHECKOUT = Path(__file__).parents[3]

# What the process does after its load is entered.
ENDS = {
    "in order": "load.end(7)",
    "killed": "os.kill(os.getpid(), 9)",
    "crashed": "os.kill(os.getpid(), 11)",
    "out of memory": "os._exit(137)",
    "killed after an answer": "load.answered(); os.kill(os.getpid(), 9)",
}


@pytest.fixture
def loads(tmp_path: Path) -> Loads:
    (tmp_path / "loads").mkdir()
    return Loads(tmp_path / "loads")


def ended(loads: Loads, how: str, digest: str = TWO.digest) -> None:
    """Let a process of its own enter a load and end in this way."""
    code = (
        "import os\nfrom pathlib import Path\nfrom edge_runtime.state.loads import Loads\n"
        f"load = Loads(Path({str(loads.directory)!r})).begin({digest!r}, durable=True)\n"
        f"{ENDS[how]}\n"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        check=how == "in order",
    )


def on_probation() -> State:
    """Return a record in which version one is proven and version two is not yet."""
    return activated(proven_good(activated(State(), ONE)), TWO)


# --- one load ------------------------------------------------------------------------------


def test_a_load_runs_until_it_is_ended_and_leaves_its_rows(loads: Loads) -> None:
    load = loads.begin(TWO.digest, durable=True)
    assert loads.running() == [Running(TWO.digest, os.getpid())]
    assert loads.marks(TWO.digest) == Marks()
    load.end(40)
    load.end(40)
    assert loads.running() == []
    assert loads.marks(TWO.digest) == Marks(rows=40)


@pytest.mark.parametrize("how", [how for how in ENDS if how != "in order"])
def test_a_load_that_ends_out_of_order_is_a_failure(loads: Loads, how: str) -> None:
    ended(loads, how)
    assert loads.marks(TWO.digest) == Marks(failures=1)
    assert loads.running() == []


def test_loads_that_end_in_order_are_none(loads: Loads) -> None:
    for _ in range(4):
        ended(loads, "in order")
    assert loads.marks(TWO.digest) == Marks(rows=28)


def test_a_power_cut_after_an_answer_is_no_failure_and_before_it_is(
    loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(loads, "killed after an answer")
    assert loads.marks(TWO.digest).failures == 1
    monkeypatch.setattr(module, "boot", lambda: "another boot")
    assert loads.marks(TWO.digest).failures == 0
    ended(loads, "killed")
    assert loads.marks(TWO.digest).failures == 1


def test_an_entry_that_the_power_cut_short_counts_for_nothing(loads: Loads) -> None:
    (loads.directory / f"{TWO.digest}.0.load").touch()
    assert loads.marks(TWO.digest) == Marks()


def test_the_lock_outlives_the_program_where_it_is_handed_on(loads: Loads) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom edge_runtime.state.loads import Loads\n"
        f"load = Loads(Path({str(loads.directory)!r})).begin({TWO.digest!r}, durable=True)\n"
        "load.keep_over_exec()\nos.execvp('sleep', ['sleep', '60'])\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen([sys.executable, "-c", code], env=environ) as child:
        while Path(f"/proc/{child.pid}/comm").read_text() != "sleep\n":
            assert child.poll() is None
        assert loads.running() == [Running(TWO.digest, child.pid)]
        child.send_signal(signal.SIGKILL)
    assert loads.running() == []
    assert loads.marks(TWO.digest).failures == 1


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_what_is_written_is_the_group_s_and_readable_whatever_the_umask(
    loads: Loads, umask: int
) -> None:
    before = os.umask(umask)
    try:
        load = loads.begin(TWO.digest, durable=False)
        loads.mark_good(TWO.digest)
        loads.mark_failed(TWO.digest, "it answered otherwise")
        loads.add_rows(TWO.digest, 1)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in loads.directory.iterdir()}
    load.end()
    assert set(modes.values()) == {0o664}
    assert len(modes) == 4


def test_more_loads_than_anybody_has_are_refused(
    loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LOADS", 3)
    for _ in range(3):
        loads.begin(TWO.digest, durable=False)
    with pytest.raises(OSError, match="3 loads are entered already"):
        loads.begin(TWO.digest, durable=False)


def test_no_directory_means_no_loads(tmp_path: Path) -> None:
    loads = Loads(tmp_path / "none")
    assert (loads.running(), loads.known(), loads.marks(ONE.digest)) == ([], set(), Marks())
    loads.forget(ONE.digest)
    with pytest.raises(FileNotFoundError):
        loads.begin(ONE.digest, durable=False)


# --- what is left is cleared, and what counts is not ---------------------------------------


def test_what_ended_loads_left_goes_with_the_next_load(loads: Loads) -> None:
    ended(loads, "killed", ONE.digest)
    load = loads.begin(ONE.digest, durable=False)
    assert len(list(loads.directory.iterdir())) == 1
    load.end()
    assert list(loads.directory.iterdir()) == []


def test_failures_on_probation_stay_while_something_else_is_loaded(loads: Loads) -> None:
    for _ in range(3):
        ended(loads, "crashed")
    state = on_probation()
    for _ in range(2):
        taken = standing(state, loads)
        assert taken.version == ONE
        loads.begin(ONE.digest, durable=False, candidate=TWO.digest).end()
    assert taken.reason == "3 loads of 2.0.0 did not end in order"


def test_what_is_forgotten_is_all_but_what_runs(loads: Loads) -> None:
    ended(loads, "killed")
    loads.mark_good(TWO.digest)
    loads.mark_failed(ONE.digest, "it crashed")
    (loads.directory / f".{TWO.digest}.good.1.tmp").touch()
    load = loads.begin(TWO.digest, durable=True)
    assert loads.known() == {ONE.digest, TWO.digest}
    loads.forget(TWO.digest)
    assert loads.marks(TWO.digest) == Marks()
    assert loads.running() == [Running(TWO.digest, os.getpid())]
    assert loads.marks(ONE.digest).failed == "it crashed"
    load.end()
    assert [path.name for path in loads.directory.iterdir()] == [f"{ONE.digest}.failed"]


# --- what others may have written there ----------------------------------------------------


@given(st.binary(max_size=300), st.sampled_from(["0.load", "rows", "good", "failed"]))
def test_whatever_stands_there_is_read_without_harm(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, kind: str
) -> None:
    loads = Loads(tmp_path_factory.mktemp("loads"))
    (loads.directory / f"{TWO.digest}.{kind}").write_bytes(data)
    marks = loads.marks(TWO.digest)
    assert marks.failures <= 1
    assert marks.rows >= 0
    assert len(marks.failed) <= module.MAX_REASON
    assert marks.failed.isprintable()
    assert loads.running() == []
    assert standing(on_probation(), loads).version in (ONE, TWO)


def test_a_reason_cannot_draw_on_a_terminal(loads: Loads) -> None:
    loads.mark_failed(TWO.digest, "a\nb\t\x1b[31mred" + "x" * 9999)
    reason = loads.marks(TWO.digest).failed
    assert reason.startswith("a b ?[31mred")
    assert len(reason) == module.MAX_REASON


def test_a_directory_is_no_mark(loads: Loads) -> None:
    (loads.directory / f"{TWO.digest}.failed").mkdir()
    assert loads.marks(TWO.digest) == Marks()
    loads.forget(TWO.digest)


# --- which version the next load takes -----------------------------------------------------


def test_nothing_serves_before_anything_was_activated(loads: Loads) -> None:
    assert standing(State(), loads) == Standing(None, probation=False, reason="")


def test_a_proven_version_serves_whatever_is_left_of_its_loads(loads: Loads) -> None:
    loads.mark_failed(ONE.digest, "long ago")
    state = proven_good(activated(State(), ONE))
    assert standing(state, loads) == Standing(ONE, probation=False, reason="")


def test_a_version_on_probation_serves_and_its_loads_count(loads: Loads) -> None:
    assert standing(on_probation(), loads) == Standing(TWO, probation=True, reason="")
    for _ in range(2):
        ended(loads, "killed")
    assert standing(on_probation(), loads) == Standing(TWO, probation=True, reason="")


def test_one_that_was_found_good_serves_before_anybody_recorded_it(loads: Loads) -> None:
    loads.mark_good(TWO.digest)
    assert standing(on_probation(), loads) == Standing(TWO, probation=False, reason="")


def answered_otherwise(loads: Loads) -> None:
    loads.mark_failed(TWO.digest, "it answered otherwise")


def crashed_three_times(loads: Loads) -> None:
    for _ in range(3):
        ended(loads, "crashed")


GIVEN_UP: dict[str, Callable[[Loads], None]] = {
    "2.0.0 failed on probation: it answered otherwise": answered_otherwise,
    "3 loads of 2.0.0 did not end in order": crashed_three_times,
}


@pytest.mark.parametrize("reason", GIVEN_UP)
def test_one_that_was_given_up_leaves_it_to_what_was_proven(loads: Loads, reason: str) -> None:
    GIVEN_UP[reason](loads)
    assert standing(on_probation(), loads) == Standing(ONE, probation=False, reason=reason)


def test_one_that_fails_goes_on_where_nothing_was_proven_and_says_so(loads: Loads) -> None:
    loads.mark_failed(TWO.digest, "it crashed")
    alone = replace(on_probation(), previous_good=None)
    reason = "2.0.0 failed on probation: it crashed, and nothing older is proven"
    assert standing(alone, loads) == Standing(TWO, probation=True, reason=reason)
