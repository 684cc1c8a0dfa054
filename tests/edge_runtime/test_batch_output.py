"""Where answers go: a file whole or not at all, streams, devices; memory that does not grow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import devices
import pytest
from tables import HEADER, LABELS, ROWS, answer, labels, table

from edge_runtime import batch
from edge_runtime.batch import predict_table
from edge_runtime.contract.errors import (
    InputUnreadable,
    OutputUnwritable,
)
from edge_runtime.model import Model

# --- where to ------------------------------------------------------------------------------


def test_an_older_file_is_replaced_also_behind_a_link(loan: Model, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    real = tmp_path / "there/a.csv"
    real.write_text("older")
    (tmp_path / "link.csv").symlink_to(real)
    answer(loan, table(tmp_path, "csv"), tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert labels(real) == LABELS
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["a.csv"]


def test_the_leftover_of_a_killed_run_is_no_hindrance(loan: Model, tmp_path: Path) -> None:
    (tmp_path / f".a.csv.{os.getpid()}.tmp").write_text("half")
    answer(loan, table(tmp_path, "csv"), tmp_path / "a.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "rows.csv"]


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("absent/a.csv", "No such file or directory"),
        ("rows.csv/a.csv", "Not a directory"),
        ("", "Is a directory"),
        ("/dev/full", "No space left on device"),
        ("/proc/a.csv", "cannot be"),
    ],
)
def test_a_place_that_cannot_be_written_is_a_typed_error(
    loan: Model, tmp_path: Path, place: str, reason: str
) -> None:
    rows = table(tmp_path, "csv")
    before = devices.snapshot(tmp_path)
    with pytest.raises(OutputUnwritable, match=reason):
        predict_table(loan, (str(rows), "csv"), (str(tmp_path / place), "csv"), lambda _: None)
    assert devices.snapshot(tmp_path) == before


def test_a_device_is_written_and_stays_a_device(loan: Model, tmp_path: Path) -> None:
    rows = str(table(tmp_path, "csv"))
    assert predict_table(loan, (rows, "csv"), (os.devnull, "csv"), lambda _: None) == 3
    assert Path(os.devnull).is_char_device()


def test_answers_that_outgrow_an_npz_are_refused(
    loan: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MAX_NPZ_BYTES", 50)
    with pytest.raises(OutputUnwritable, match="may take 50 bytes") as caught:
        answer(loan, table(tmp_path, "csv"), tmp_path / "a.npz")
    assert "--output-format csv" in caught.value.hint


@pytest.mark.parametrize("stream", ["stdin", "stdout"])
def test_a_closed_stream_is_a_typed_error(
    loan: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    rows = str(table(tmp_path, "csv"))
    source, sink = ("-", str(tmp_path / "a.csv")) if stream == "stdin" else (rows, "-")
    monkeypatch.setattr(sys, stream, None)
    with pytest.raises((InputUnreadable, OutputUnwritable), match="closed"):
        predict_table(loan, (source, "csv"), (sink, "csv"), lambda _: None)


# --- as a program --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A command that predicts with an installed model."""
    directory = tmp_path_factory.mktemp("device")
    flag = devices.installed(directory, devices.packed(directory / "b.tar", devices.loan()))
    return [sys.executable, "-m", "edge_runtime", *flag, "predict"]


Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(command: list[str], checkout: Path) -> Start:
    def run(*arguments: str, **streams: Any) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        return subprocess.Popen(
            [*command, *arguments], stderr=subprocess.PIPE, env=environment, **streams
        )

    return run


STREAMS = ("--input", "-", "--output", "-")


def test_streams_are_read_and_written(start: Start) -> None:
    process = start(*STREAMS, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out, err = process.communicate((HEADER + ROWS).encode())
    assert process.returncode == 0, err
    assert out.decode().splitlines()[0] == "label,probability_no,probability_yes"
    assert [line.split(",")[0] for line in out.decode().splitlines()[1:]] == LABELS
    assert b"3 rows answered by tiny 1.4.0" in err


def test_json_about_rows_on_stdout_is_on_stderr(start: Start) -> None:
    process = start(*STREAMS, "--json", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out, err = process.communicate(HEADER.encode())
    assert (out.count(b"\n"), json.loads(err)["rows"]) == (1, 0)
    process = start(*STREAMS, "--json", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out, err = process.communicate(b"x\n1\n")
    assert (out, json.loads(err)["error"]["code"]) == (b"", "input-name")


def test_a_reader_that_has_gone_is_no_event(start: Start) -> None:
    process = start(*STREAMS, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stdin.write((HEADER + "1,1,basic\n" * 5000).encode())
    process.stdin.close()
    assert process.stderr.read() == b""
    assert process.wait() == 128 + 13


def test_a_full_disk_behind_stdout_is_a_typed_error(start: Start) -> None:
    with Path("/dev/full").open("wb") as full:
        process = start(*STREAMS, stdin=subprocess.PIPE, stdout=full)
        _, err = process.communicate((HEADER + ROWS).encode())
    assert process.returncode == 3
    assert err.decode().splitlines()[0] == (
        "error[output-unwritable]: the standard output is to be written, and it cannot be: "
        "No space left on device"
    )
    assert len(err.splitlines()) == 2


def test_memory_does_not_grow_with_the_table(
    command: list[str], checkout: Path, tmp_path: Path
) -> None:
    code = (
        "import resource, sys\n"
        "from edge_runtime.__main__ import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    peaks = []
    for rows in (4_000, 200_000):
        path = tmp_path / "rows.csv"
        with path.open("w") as stream:
            stream.write(HEADER)
            stream.writelines(f"{n / 7},{n % 90},plan {n}\n" for n in range(rows))
        files = ("--input", str(path), "--output", str(tmp_path / "a.csv"))
        done = subprocess.run(
            [sys.executable, "-c", code, *command[3:], *files],
            env={**os.environ, "PYTHONPATH": str(checkout)},
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(done.stdout.split()[-1]))
    assert (tmp_path / "a.csv").read_bytes().count(b"\n") == 200_001
    assert peaks[1] - peaks[0] < 16 * 1024  # KiB; the table alone has 6 MiB as text


def test_a_run_that_is_told_to_end_leaves_no_half_answers(start: Start, tmp_path: Path) -> None:
    rows = ("--input", "-", "--output", str(tmp_path / "a.csv"))
    process = start(*rows, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write((HEADER + "1,1,basic\n" * 3000).encode())
    process.stdin.flush()
    while not (begun := list(tmp_path.iterdir())):
        assert process.poll() is None
        time.sleep(0.01)
    assert [path.suffix for path in begun] == [".tmp"]
    process.terminate()
    _, err = process.communicate()
    assert (process.returncode, err) == (128 + 15, b"")
    assert list(tmp_path.iterdir()) == []
