"""What the commands of the life cycle print, for people and for machines."""

from __future__ import annotations

import os
import re
from pathlib import Path

import devices
import pytest

import edge_runtime
from edge_runtime.runtime import install
from edge_runtime.state.store import Store

LOAN = devices.loan()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which 1.4.0 is proven, 1.5.0 is on probation and 1.6.0 waits."""
    directory = tmp_path_factory.mktemp("device")
    devices.trusting(directory)
    store = Store(directory / "store", "named by the test")
    for minor in (4, 5, 6):
        path = devices.packed(
            directory / f"{minor}.oci.tar",
            LOAN,
            name="loan",
            version=f"1.{minor}.0",
            release=1_000_000 + minor * 1000,
        )
        install(path, store, stage_only=minor == 6)
        if minor == 4:
            assert devices.run("--store", store.root, "mark-good").code == 0
    return directory


def ask(store: Store, *arguments: str) -> devices.Said:
    said = devices.run("--store", store.root, *arguments)
    assert said.code == 0, said.err
    return said


def test_mark_good_says_what_is_proven(store: Store) -> None:
    assert ask(store, "mark-good", "loan").out == "proven: loan 1.5.0\n"
    assert ask(store, "mark-good").out == "proven already: loan 1.5.0\n"
    found = ask(store, "mark-good", "--json").json
    assert (found["schema"], found["version"], found["changed"]) == (
        "edgepack.change/1",
        "1.5.0",
        False,
    )


def test_rollback_says_what_serves_again(store: Store) -> None:
    assert ask(store, "rollback").out == "rolled back: loan 1.4.0 serves again\n"


def test_activate_says_what_serves_and_what_went(store: Store) -> None:
    ask(store, "mark-good")
    assert ask(store, "activate", "loan@1.6.0").out == (
        "active: loan 1.6.0\n  no longer needed, removed: 1.4.0\n"
    )
    assert ask(store, "activate", "loan@1.6.0").out == "active already: loan 1.6.0\n"


def test_remove_says_what_went_and_what_serves(store: Store) -> None:
    assert ask(store, "remove", "loan@1.6.0").out == "removed: loan@1.6.0; 1.5.0 serves\n"


def test_a_decision_of_the_probation_is_told_by_the_next_command(store: Store) -> None:
    model = store.model("loan")
    model.loads.mark_failed(model.choices()[0], "prediction-failed: it crashed")
    assert ask(store, "mark-good").out == (
        "proven: loan 1.4.0\n  1.5.0 failed on probation: prediction-failed: it crashed\n"
    )


def test_set_says_what_is_set_now(store: Store) -> None:
    said = ask(store, "set", "loan", "threads=1", "variant=float32")
    assert said.out == "set on this device for loan: threads=1, variant=float32\n"
    status = ask(store, "status").out
    assert "set here   threads=1\n" in status
    assert "set here   variant=float32\n" in status
    assert ask(store, "set", "loan", "threads=", "variant=").out.endswith("loan: nothing\n")
    assert ask(store, "set", "loan", "--json").json["settings"] == {}


def test_health_is_one_line_and_an_exit_code(store: Store) -> None:
    assert ask(store, "health").out == "well: loan 1.5.0\n"
    ask(store, "rollback")
    said = devices.run("--store", store.root, "health", "loan")
    assert (said.code, said.out) == (8, "")
    assert said.err.startswith("error[health-alarm]: ")
    assert "rolled back: 1.5.0: by command" in said.err


def test_status_tells_how_the_probation_goes_and_what_runs(store: Store) -> None:
    assert "probation  1.5.0: 0 of 100 rows answered, 0 of 3 loads failed" in (
        ask(store, "status").out
    )
    with edge_runtime.load("loan", store=store) as model:
        model.predict(LOAN.feed)
        running = ask(store, "status", "--json").json["models"][0]["running"]
        assert [(item["pid"], item["version"]) for item in running] == [(os.getpid(), "1.5.0")]
        ask(store, "rollback")
        found = ask(store, "status").out
    assert f"running    active 1.4.0, running 1.5.0 in pid {os.getpid()}: restart it" in found
    assert "went back  from 1.5.0: by command" in found
    assert "restart" not in ask(store, "status").out


def test_the_history_is_told_oldest_first_when_it_is_asked_for(store: Store) -> None:
    ask(store, "rollback")
    told = ask(store, "status", "--history").out.partition("oldest first\n")[2]
    assert re.findall(r"^  (\S.*?)  +(\S.*)$", told, re.MULTILINE) == [
        ("activated", "1.4.0"),
        ("marked good", "1.4.0 - by command"),
        ("activated", "1.5.0"),
        ("staged", "1.6.0"),
        ("rolled back", "1.5.0 - by command"),
    ]
    assert "oldest first" not in ask(store, "status").out


@pytest.mark.parametrize("command", ["activate", "remove"])
@pytest.mark.parametrize("ref", ["loan", "loan@", "@1.5.0"])
def test_a_version_has_to_be_named_where_one_is_meant(
    store: Store, command: str, ref: str
) -> None:
    said = devices.run("--store", store.root, command, ref)
    assert said.code == 2
    assert f"NAME@VERSION, found {ref!r}" in said.err
