"""Versions for a worker to serve, and ways to see and to end one."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import bundles
import devices
import endless
import psutil

from edge_runtime.contract.bundle.verify import verify_bundle
from edge_runtime.engine.isolated import Isolated, Task

SUBJECTS = {
    "loan": devices.loan(),
    "lookup": devices.lookup(),
    "loop": endless.loop(),
    "long_node": endless.long_node(),
    "wide": endless.wide(),
}


def unpacked(directory: Path, name: str) -> Task:
    """Unpack a version of one of the subjects, and return what a worker has to know of it."""
    path = devices.packed(directory / f"{name}.oci.tar", SUBJECTS[name], name=name)
    with verify_bundle(path, bundles.KEYS) as verified:
        (package,) = verified.packages
        package.extract(directory / name)
    return Task(directory / name, package, package.manifest.variants[0], 1)


def end_idle(runner: Isolated, number: int = signal.SIGKILL) -> None:
    """Let a worker die that nobody asks anything, and wait for its very end."""
    assert runner._process is not None
    runner._process._process.send_signal(number)
    runner._process._process.wait()


def gone(pid: int) -> None:
    """Wait until a process is there no more; a test that hangs here has failed."""
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
