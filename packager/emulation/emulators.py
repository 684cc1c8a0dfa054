"""Making the emulators and the ARM Python, and telling which promised CPU models run here."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TypeAlias

from packager.emulation.machines import arm_python, emulators_folder, find_machines
from packager.errors import EmulatorsFailed
from packager.sources.environments.helper_env import PYTHON
from packager.sources.sandbox import clean
from packager.target import list_profiles

Say: TypeAlias = Callable[[str, str], None]

# What the device's code needs; the ARM Python gets the versions that stand here.
LIBRARIES = ("cryptography", "numpy", "onnxruntime", "psutil")

_STEP = "emulators"
_SCRIPT = Path(__file__).parent / "make-arm64-root.sh"
_OWN_WORDS = "make-arm64-root: "


@dataclass(frozen=True)
class PromisedCpu:
    """A CPU model that a target promises, and whether it runs on this machine.

    Attributes:
        target: the profile's name.
        name: the model for people.
        qemu: what QEMU calls it.
        missing: why it does not run here, as a sentence; "" where it does.
    """

    target: str
    name: str
    qemu: str
    missing: str


@dataclass(frozen=True)
class EmulatorsHere:
    """What this machine has of emulators.

    Attributes:
        folder: where they are kept.
        cpus: what the shipped profiles promise, in their order.
        there: the versions of the ARM Python's libraries; empty where there is none.
        here: the versions of the same libraries in this very Python.
    """

    folder: Path
    cpus: tuple[PromisedCpu, ...]
    there: Mapping[str, str]
    here: Mapping[str, str]


def emulators_here() -> EmulatorsHere:
    """Find out which promised CPU models run on this machine."""
    return EmulatorsHere(
        emulators_folder(), tuple(_promised_cpus()), _libraries_there(), _libraries_here()
    )


def _promised_cpus() -> Iterator[PromisedCpu]:
    for profile in list_profiles():
        for cpu in profile.cpu_models:
            _, missing = find_machines(profile.architecture, [cpu])
            yield PromisedCpu(profile.name, cpu.name, cpu.qemu, "".join(missing))


def _libraries_there() -> dict[str, str]:
    packages = (arm_python().parents[1] / "lib").glob("python3.*/site-packages")
    found = metadata.distributions(path=[str(path) for path in packages])
    return {one.name: one.version for one in found if one.name in LIBRARIES}


def _libraries_here() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # another wheel stands for it, such as onnxruntime-gpu
    return found


def make_emulators(say: Say) -> None:
    """Make what is missing in the emulators' folder; nothing else on this machine changes.

    Args:
        say: told the name of the step and what is done.

    Raises:
        EmulatorsFailed: when it cannot be made here.
    """
    bash = shutil.which("bash") if sys.platform == "linux" else None
    if bash is None:
        raise _failed("they are made on Debian and Ubuntu only, this is another system")
    here = _libraries_here()
    wanted = [f"{name}=={here[name]}" if name in here else name for name in LIBRARIES]
    folder = emulators_folder()
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        reason = _run([bash, str(_SCRIPT), str(folder), *wanted], say)
    except OSError as error:
        reason = clean(error)
    if reason:
        raise _failed(reason)


def _run(command: list[str], say: Say) -> str:
    """Run the script and return why it failed, "" when it did not."""
    last = ""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHON": os.environ.get(PYTHON) or sys.executable},
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as program:
        try:
            for line in program.stderr or ():
                last = clean(line) or last
                say(_STEP, clean(line))
        except BaseException:
            os.killpg(program.pid, signal.SIGTERM)  # pip and apt with it
            raise
    return last.removeprefix(_OWN_WORDS) if program.returncode else ""


def _failed(reason: str) -> EmulatorsFailed:
    folder = emulators_folder()
    return EmulatorsFailed(
        f"emulators must be made in {folder}, they cannot: {reason}",
        hint="Give a Debian or Ubuntu machine with pip its package mirrors, or build without "
        "them: what they would judge is told as not judged.",
        expected=str(folder),
        found=reason,
    )
