"""Which promised CPU models run on this machine, and how a Python is started on each."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from packager.sources.confine import PACKAGE_DIRECTORIES
from packager.sources.environments.helper_env import cache_directory
from packager.sources.sandbox import clean
from packager.target import CpuModel

HOST = "host"  # as a profile calls the chip of the machine that builds
MAKE = "packager emulators --make"
# Before it QEMU showed the ARM programs this machine's own /proc/cpuinfo.
OLDEST_QEMU = (8, 1)

_ARCHITECTURES = {"x86_64": "x86-64", "amd64": "x86-64", "aarch64": "arm64", "arm64": "arm64"}
_EMULATORS = {"x86-64": "qemu-x86_64", "arm64": "qemu-aarch64"}
_LACKING = re.compile(r"TCG doesn't support requested feature: \S+\.(\S+) \[bit")
# What kernels for matrices ask for; the rest, such as transactions, changes no answer.
_COMPUTES = re.compile(r"avx|amx|fma|f16c|sse")
_ASKING_SECONDS = 30


@dataclass(frozen=True)
class Machine:
    """A processor that programs can run on here.

    Attributes:
        cpu: what QEMU calls the CPU model, or ``HOST``.
        python: the first words of a command that starts a Python there.
        emulated: whether it is emulated, so that no timing taken on it means anything.
        libraries: directories where this Python finds libraries beside its own.
    """

    cpu: str
    python: tuple[str, ...]
    emulated: bool
    libraries: tuple[str, ...] = ()


class CannotRunError(Exception):
    """Why a CPU model cannot run here, as the end of a sentence of ``find_machines``."""


def find_machines(
    architecture: str, cpus: Sequence[CpuModel]
) -> tuple[list[Machine], list[str]]:
    """Find out which CPU models of a target run on this machine.

    Args:
        architecture: the target's.
        cpus: the CPU models that it promises.

    Returns:
        Machines in the order of the models, and for every other model a sentence that tells why
        it cannot run here.
    """
    machines, missing = [], []
    for cpu in cpus:
        try:
            machines.append(_machine(architecture, cpu.qemu))
        except CannotRunError as reason:
            missing.append(f"{cpu.qemu}: {reason}")
    return machines, missing


def host_architecture() -> str:
    """Return this machine's architecture, as profiles call it; its own name if none does."""
    machine = platform.machine().lower()
    return _ARCHITECTURES.get(machine, machine)


def emulators_folder() -> Path:
    """Return where ``packager emulators --make`` puts what it makes."""
    return cache_directory() / "emulators"


def arm_python() -> Path:
    """Return the interpreter of the ARM environment in the emulators' folder."""
    return emulators_folder() / "venv" / "bin" / "python3"


def emulated_python(
    architecture: str, cpu: str, python: Path | str, binary: Path, root: Path | None = None
) -> tuple[str, ...]:
    """Return the command that starts a Python on an emulated CPU.

    Args:
        architecture: of the CPU.
        cpu: what QEMU calls the model.
        python: the path by which Python is to know itself and thereby its environment.
        binary: the interpreter's own program.
        root: a directory whose files hide this machine's of the same path, and whose programs
            take none of its libraries.

    Raises:
        CannotRunError: when there is no QEMU for it.
    """
    apart = ("-U", "LD_PRELOAD", "-U", "LD_LIBRARY_PATH")
    over = (*apart, "-L", str(root)) if root else ()
    command = (_qemu(architecture), "-cpu", cpu, *over, "-0", str(python), str(binary))
    if reason := _refusal(command):
        raise CannotRunError(reason)
    return command


def _machine(architecture: str, cpu: str) -> Machine:
    here = host_architecture()
    own = tuple(path for path in sys.path if Path(path).name in PACKAGE_DIRECTORIES)
    if cpu == HOST:
        if here != architecture:
            raise CannotRunError(f"this machine is {here}, the target is {architecture}")
        return Machine(HOST, (sys.executable,), emulated=False, libraries=own)
    if sys.platform != "linux":
        raise CannotRunError("emulators run on Linux only, this is another system")
    if here == architecture:
        # What runs is this very Python; a name in /proc stands for its program.
        binary = Path("/proc/self/exe").resolve()
        python = emulated_python(architecture, cpu, sys.executable, binary)
        return Machine(cpu, python, emulated=True, libraries=own)
    if architecture != "arm64":
        raise CannotRunError(f"an {here} machine cannot emulate {architecture}")
    return Machine(cpu, _arm_command(cpu), emulated=True)


def _arm_command(cpu: str) -> tuple[str, ...]:
    folder = emulators_folder()
    binary = next((folder / "root" / "usr" / "bin").glob("python3.*"), None)
    if binary is None or not (folder / "ready").exists():
        raise CannotRunError(f"no emulator here; {MAKE} makes one")
    return emulated_python("arm64", cpu, arm_python(), binary, folder / "root")


def _qemu(architecture: str) -> str:
    """Return the emulator: ours, or one of this machine's that is new enough."""
    name = _EMULATORS[architecture]
    ours, theirs = emulators_folder() / name, [name, f"{name}-static"]
    places = [shutil.which(str(ours)), *map(shutil.which, theirs)]
    found = {place: qemu_version(place) for place in places if place}
    for place, version in found.items():
        if version >= OLDEST_QEMU:
            return place
    if not found:
        raise CannotRunError(f"no emulator here; {MAKE} makes one")
    place, version = next(iter(found.items()))
    raise CannotRunError(
        f"QEMU {_text(OLDEST_QEMU)} or newer is needed, {place} is {_text(version)}; "
        f"{MAKE} gets one"
    )


@cache
def qemu_version(qemu: str) -> tuple[int, ...]:
    """Return a QEMU's version; (0,) where it tells none."""
    found = re.search(r"version ([0-9]+)\.([0-9]+)", _tried((qemu, "--version"))[1])
    return tuple(map(int, found.groups())) if found else (0,)


@cache
def _refusal(command: tuple[str, ...]) -> str:
    """Return why a Python does not start on a CPU, or on less than it; "" where all is well.

    QEMU leaves out instructions that it cannot do and says so, as it does of AVX-512.
    """
    status, said = _tried((*command, "--version"))
    lacking = [name for name in _LACKING.findall(said) if _COMPUTES.match(name)]
    if status:
        last = clean(said.strip().rpartition("\n")[2])
        return f"QEMU cannot run a Python on it: {last or f'status {status}'}"
    return f"QEMU cannot do its instructions {', '.join(lacking)}" if lacking else ""


def _tried(command: tuple[str, ...]) -> tuple[int, str]:
    """Return a program's exit status and what it said."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_ASKING_SECONDS,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return -1, str(error)
    return done.returncode, done.stdout


def _text(version: Sequence[int]) -> str:
    return ".".join(map(str, version))
