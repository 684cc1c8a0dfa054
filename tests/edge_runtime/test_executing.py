"""exec and path: other programs get a version that was verified, proven and counted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import devices
import generations
import pytest
from generations import NAME, installed, version

from edge_runtime import runtime
from edge_runtime.state.store import Store

CHECKOUT = Path(runtime.__file__).parents[1]
PATIENCE_S = 30.0


@pytest.fixture
def store(empty: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store in which the first version is proven and the second on probation."""
    monkeypatch.setenv("EDGE_STORE", str(empty.root))
    installed(tmp_path, empty, 1)
    assert devices.run("mark-good", NAME).code == 0
    installed(tmp_path, empty, 2)
    return empty


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "edge_runtime", *arguments]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(CHECKOUT), **more}


def execute(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("exec", *arguments),
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def told(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Return what ``env`` printed of the model."""
    pairs = (line.partition("=") for line in done.stdout.splitlines())
    return {name: value for name, _, value in pairs if name.startswith(("EDGE_MODEL", "ORT_"))}


# --- what the program finds ----------------------------------------------------------------


def test_a_program_finds_the_proven_file_and_how_to_open_it(store: Store) -> None:
    done = execute(NAME, "--", "env")
    assert (done.returncode, done.stderr) == (0, "")
    found = told(done)
    directory = Path(found["EDGE_MODEL_DIR"])
    assert directory.parent == (store.root / "models" / NAME / "versions").resolve()
    assert found["EDGE_MODEL_FILE"] == str(directory / "variants/float32.onnx")
    assert Path(found["EDGE_MODEL_FILE"]).read_bytes() == generations.subject(2).model
    options = json.loads(found.pop("EDGE_MODEL_SESSION_OPTIONS"))
    assert options == {
        "intra_op_num_threads": 1,
        "inter_op_num_threads": 1,
        "config_entries": {
            "session.intra_op.allow_spinning": "0",
            "session.inter_op.allow_spinning": "0",
        },
        "provider_options": {},
    }
    for name in ("EDGE_MODEL_DIR", "EDGE_MODEL_FILE"):
        del found[name]
    assert found == {
        "EDGE_MODEL_NAME": NAME,
        "EDGE_MODEL_VERSION": version(2),
        "EDGE_MODEL_PROVIDER": "CPUExecutionProvider",
        "ORT_DISABLE_TELEMETRY": "1",
    }


def test_a_program_keeps_its_arguments_its_exit_code_and_its_environment(store: Store) -> None:
    del store
    script = 'echo "$1|$2|$3|$MINE"; exit 41'
    done = execute(NAME, "--", "sh", "-c", script, "sh", "--json", "--", "-x", MINE="here")
    assert (done.returncode, done.stdout) == (41, "--json|--|-x|here\n")


def test_a_program_does_not_inherit_the_signals_that_python_ignores(store: Store) -> None:
    del store
    done = execute(NAME, "--", "grep", "SigIgn", "/proc/self/status")
    ignored = int(done.stdout.split()[1], 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1))


def test_a_named_version_is_pinned(store: Store) -> None:
    del store
    assert told(execute(f"{NAME}@1.1.0", "--", "env"))["EDGE_MODEL_VERSION"] == version(1)


# --- the load is counted -------------------------------------------------------------------


def test_the_load_lasts_as_long_as_the_program_under_its_process(store: Store) -> None:
    loads = store.model(NAME).loads
    child = subprocess.Popen(command("exec", NAME, "--", "sleep", "60"), env=environment())
    try:
        end = time.monotonic() + PATIENCE_S
        while Path(f"/proc/{child.pid}/comm").read_text() != "sleep\n":
            assert time.monotonic() < end
            time.sleep(0.01)
        assert [running.pid for running in loads.running()] == [child.pid]
    finally:
        child.kill()
        child.wait()
    assert loads.running() == []


def test_a_version_whose_program_dies_each_time_gives_way_to_the_proven_one(
    store: Store,
) -> None:
    served = [
        execute(NAME, "--", "sh", "-c", "echo $EDGE_MODEL_VERSION; kill -9 $$").stdout.strip()
        for _ in range(4)
    ]
    assert served == [version(2)] * 3 + [version(1)]
    assert "did not end in order" in store.model(NAME).standing().reason


def test_a_version_that_was_marked_good_stays_however_often_it_is_started(
    store: Store,
) -> None:
    assert devices.run("mark-good", NAME).code == 0
    for _ in range(4):
        assert told(execute(NAME, "--", "env"))["EDGE_MODEL_VERSION"] == version(2)
    assert store.model(NAME).standing().reason == ""


# --- what is not started -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("/none/such", "no such executable"),
        ("no-such-program-in-the-path", "no such executable"),
        ("/etc/passwd", "no such executable"),
    ],
)
def test_a_program_that_is_none_starts_nothing_and_counts_nothing(
    store: Store, program: str, reason: str
) -> None:
    said = devices.run("exec", NAME, "--", program)
    assert said.code == 5
    assert reason in said.err
    assert store.model(NAME).loads.marks(active(store)).failures == 0


def test_a_file_that_the_kernel_refuses_counts_nothing(store: Store, tmp_path: Path) -> None:
    refused = tmp_path / "refused"
    refused.write_bytes(b"\x7fELF and nothing more")
    refused.chmod(0o755)
    done = execute(NAME, "--", str(refused))
    assert done.returncode == 5
    assert "program-not-started" in done.stderr
    assert store.model(NAME).loads.marks(active(store)).failures == 0
    assert store.model(NAME).loads.running() == []


def test_no_program_is_a_mistake_of_the_command_line(store: Store) -> None:
    del store
    assert devices.run("exec", NAME).code == 2
    assert devices.run("exec", NAME, "--").code == 2


def test_damaged_files_are_never_handed_to_a_program(store: Store) -> None:
    path = store.model(NAME).version(active(store)) / "README.md"
    path = path if path.exists() else path.with_name("golden.npz")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    done = execute(NAME, "--", "env")
    # What was proven before serves instead, and that is said.
    assert told(done)["EDGE_MODEL_VERSION"] == version(1)
    assert "warning: degraded" in done.stderr


def active(store: Store) -> str:
    version = store.model(NAME).read().state.active
    assert version is not None
    return version.digest


# --- path ----------------------------------------------------------------------------------


def test_path_prints_where_the_active_version_lies(store: Store) -> None:
    said = devices.run("path", NAME)
    assert said.code == 0
    assert said.out == f"{store.model(NAME).version(active(store)).resolve()}\n"
    document = devices.run("path", f"{NAME}@1.1.0", "--json").json
    assert document["version"] == version(1)
    assert Path(document["path"]).name == document["digest"]


def test_path_prints_nothing_of_what_is_damaged(store: Store) -> None:
    graph = store.model(NAME).version(active(store)) / "variants/float32.onnx"
    graph.chmod(0o644)
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    said = devices.run("path", NAME)
    assert (said.code, said.out) == (4, "")
