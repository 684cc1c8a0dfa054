"""Environments with other library versions than ours, made once and kept, never the user's own.

The child that opens a model runs in one of them when other libraries wrote the file than stand
here. pip installs wheels only, so no code of a package runs while one is made.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias

import platformdirs

from packager.errors import HelperEnvFailed
from packager.sources.sandbox import clean

if sys.platform != "win32":
    import fcntl

Say: TypeAlias = Callable[[str, str], None]

CACHE = "EDGEPACK_CACHE"  # where they are kept; else the user's own cache directory
PYTHON = "EDGEPACK_PYTHON"  # the interpreter that makes them; else the one that runs us
STEP = "environment"
NO_DEPS = " --no-deps"  # ends a requirement that is installed without what it asks for

# Part of every key: raise it when the child's code needs more of its environment than before.
_PROTOCOL = 1
_DRAFT = ".making-"
_LOCK = ".lock"
_LIST = "requirements.txt"
_PIP = (
    "--only-binary=:all:",
    "--no-input",
    "--disable-pip-version-check",
    "--no-warn-script-location",
    "--progress-bar=off",
)
# Settings by which pip would install elsewhere than into the environment that runs it.
_ELSEWHERE = frozenset({"PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER"})
_ASK_VERSION = "import platform; print(*platform.python_version_tuple()[:2], sep='.')"
_LARGE_DOWNLOAD = re.compile(r"Downloading (?:\S*/)?([^-\s]+)-([^-\s]+)-\S+ \((\S+ [MG]B)\)")
_INSTALLING = "Installing collected packages: "
_ERROR = "ERROR: "
_MEGABYTE = 1_000_000


class _CommandError(Exception):
    """A program that ended with an error; its text is the last that it said."""


def environment(requirements: Sequence[str], say: Say) -> Path:
    """Return the Python of an environment that holds these requirements; make it if need be.

    Args:
        requirements: what pip is to install, as ``name==version``; what it is made for comes
            first, and what ends with ``NO_DEPS`` last.
        say: told the name of the step and what takes time.

    Raises:
        HelperEnvFailed: when it cannot be made; nothing of it stays.
    """
    wanted, what = sorted(set(requirements)), requirements[0].replace("==", " ")
    maker = os.environ.get(PYTHON) or sys.executable
    version = _version(maker)
    root = cache_directory() / "environments"
    home = root / _key(wanted, version)
    try:
        if not _python_of(home).exists():
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _only_maker(root, say):
                if not _python_of(home).exists():
                    say(STEP, f"making one with {what}: once, it is kept")
                    _make(home, wanted, maker, say)
    except (_CommandError, OSError) as error:
        raise HelperEnvFailed(
            f"an environment with {what} must be made for Python {version}, it cannot: "
            f"{clean(error)}",
            hint=f"Let pip reach wheels of these versions, name another Python in {PYTHON}, "
            "or pass --allow-version-skew.",
            expected=wanted,
            found=clean(error),
        ) from None
    say(STEP, f"the model opens with {what}, kept in {home}")
    return _python_of(home)


def cache_directory() -> Path:
    """Return where what was fetched once is kept; it need not be there yet."""
    cache = os.environ.get(CACHE) or platformdirs.user_cache_dir("edgepack", appauthor=False)
    return Path(cache)


def _key(wanted: Sequence[str], version: str) -> str:
    """Return the directory's name; a home may be shared by machines of several kinds."""
    parts = [_PROTOCOL, version, sys.platform, platform.machine(), *wanted]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _python_of(home: Path) -> Path:
    return home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def _version(maker: str) -> str:
    try:
        return _run([maker, "-I", "-c", _ASK_VERSION]).strip()
    except (_CommandError, OSError) as error:
        raise HelperEnvFailed(
            f"{PYTHON} must name a Python, {maker} does not start: {clean(error)}",
            hint=f"Set {PYTHON} to the path of a Python, or unset it.",
            expected="a Python",
            found=maker,
        ) from None


@contextmanager
def _only_maker(root: Path, say: Say) -> Iterator[None]:
    """Let one process at a time make environments; drafts that lie there are a killed one's.

    Windows has no such lock; there two may make the same, and one of them is thrown away.
    """
    if sys.platform == "win32":
        yield
        return
    with (root / _LOCK).open("ab") as file:
        _lock(file, say)
        for draft in root.glob(f"{_DRAFT}*"):
            shutil.rmtree(draft, ignore_errors=True)
        yield


def _lock(file: BinaryIO, say: Say) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(STEP, "waiting for another build that makes one")
        fcntl.flock(file, fcntl.LOCK_EX)


def _make(home: Path, wanted: Sequence[str], maker: str, say: Say) -> None:
    start = time.monotonic()
    draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=home.parent))
    try:
        _run([maker, "-I", "-m", "venv", str(draft)])
        pip = [str(_python_of(draft)), "-I", "-m", "pip", "install", *_PIP]
        _run([*pip, "-r", _listed(draft, [r for r in wanted if not r.endswith(NO_DEPS)])], say)
        if lone := [r.removesuffix(NO_DEPS) for r in wanted if r.endswith(NO_DEPS)]:
            _run([*pip, *NO_DEPS.split(), "-r", _listed(draft, lone)], say)
        shutil.rmtree(home, ignore_errors=True)  # its Python is gone, else we were not here
        draft.rename(home)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    say(STEP, f"made in {time.monotonic() - start:.0f} s, {_megabytes(home):,} MB")


def _listed(draft: Path, requirements: Sequence[str]) -> str:
    """Return a file of requirements: in it, no text can become an option of pip's."""
    file = draft / _LIST
    file.write_text("".join(f"{requirement}\n" for requirement in requirements), "utf-8")
    return str(file)


def _run(command: Sequence[str], say: Say | None = None) -> str:
    """Run a program and return what it said; ``say`` is told the long steps of a pip.

    Raises:
        _CommandError: when it ended with an error.
        OSError: when it does not start.
    """
    elsewhere = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**elsewhere, "PIP_USER": "0"},
        encoding="utf-8",
        errors="replace",
    ) as program:
        lines = []
        for line in program.stdout or ():
            lines.append(line)
            if say is not None and (step := _long_step(line)):
                say(STEP, step)
    if program.returncode:
        raise _CommandError(_last_words(lines))
    return "".join(lines)


def _long_step(line: str) -> str | None:
    if found := _LARGE_DOWNLOAD.search(line):
        return "fetching {} {} ({})".format(*found.groups())
    if line.startswith(_INSTALLING) and "," in line:
        return f"installing {line.count(',') + 1} libraries"
    return None


def _last_words(lines: Sequence[str]) -> str:
    told = [line.strip() for line in lines if line.strip()]
    errors = [line.removeprefix(_ERROR) for line in told if line.startswith(_ERROR)]
    return (errors or told or ["it said nothing"])[-1]


def _megabytes(home: Path) -> int:
    files = (path.lstat() for path in home.rglob("*") if path.is_file())
    return sum(file.st_size for file in files) // _MEGABYTE
