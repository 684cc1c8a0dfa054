"""The unpickling child shuts itself in: no files, network or other processes, bounded memory.

Called before any library that starts threads: a namespace of users can only be entered by a
process of one thread, and the kernel's rules bind the calling thread and its heirs.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
import sysconfig
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from packager.sources import seccomp

_CLONE_NEWIPC = 0x08000000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_SIGKILL = 9

# The generic numbers, the same on every architecture.
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_ADD_RULE = 445
_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_VERSION = 1
_RULE_PATH_BENEATH = 1
_READ_FILE = 1 << 2
_READ_DIR = 1 << 3
# write to files, remove directories, remove files, make directories, make files
_WRITE = sum(1 << bit for bit in (1, 4, 5, 7, 8))
_TRUNCATE, _TRUNCATE_ABI = 1 << 14, 3
# ABI → how many file rights, and how many network rights and scopes, it knows (from that on).
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
_TCP_ABI, _TCP_RIGHTS = 4, 0b11
_SCOPE_ABI, _SCOPES = 6, 0b11  # abstract sockets and signals

_CAPABILITY_VERSION_3 = 0x20080522
_SYSTEM_FILES = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/dev/null",
    "/dev/urandom",
    "/proc/self/cmdline",
    "/proc/self/maps",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices/system/cpu",
)
PACKAGE_DIRECTORIES = ("site-packages", "dist-packages")
_OPEN_FILES = 256
_CPU_GRACE_SECONDS = 5  # from the signal that names the limit to the one that ends it


@dataclass(frozen=True)
class Limits:
    """What the child may use.

    Attributes:
        memory_bytes: address space.
        cpu_seconds: processor time over its whole life.
        wall_seconds: time for one request, kept by the parent.
        file_bytes: how long a file it may write, in its own directory alone.
    """

    memory_bytes: int
    cpu_seconds: int
    wall_seconds: float
    file_bytes: int = 0


def confine(limits: Limits, home: Path, readable: Iterable[str] = ()) -> str:
    """Shut this process in for good and return what holds, or what does not and why.

    The answer starts with ``contained:`` or ``uncontained:``. Everything that the kernel allows
    is applied even where the whole is not contained.

    Args:
        limits: what it may use.
        home: its own directory, the only one that it may write into, if any.
        readable: files and directories that it may read beside its own program.
    """
    if sys.platform == "win32":
        return "uncontained: needs Linux, this is Windows"
    _limit(limits)
    if sys.platform != "linux":
        return f"uncontained: needs Linux, this is {sys.platform}"
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    separate = libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC) == 0
    lacking = []
    try:
        writable = [home] if limits.file_bytes else []
        abi = _landlock(libc, [home, *_readable(), *map(Path, readable)], writable)
        files = f"files by Landlock ABI {abi}"
    except OSError as error:
        lacking.append(f"no Landlock ({error.strerror}), so files are within its reach")
    _drop_capabilities(libc)
    try:
        seccomp.install()
    except OSError as error:
        lacking.append(f"no system call filter ({error.strerror})")
    if lacking:
        return f"uncontained: {'; '.join(lacking)}"
    network = "namespace and system call filter" if separate else "system call filter"
    return f"contained: no network ({network}), {files}, no other processes"


def _limit(limits: Limits) -> None:
    import resource

    _lower(resource.RLIMIT_AS, limits.memory_bytes)
    _lower(resource.RLIMIT_CPU, limits.cpu_seconds + _CPU_GRACE_SECONDS)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard > limits.cpu_seconds:
        resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, hard))
    _lower(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, limits.file_bytes)


def _lower(which: int, wanted: int) -> None:
    import resource

    _, hard = resource.getrlimit(which)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with suppress(ValueError, OSError):  # macOS refuses some; there nothing is contained anyway
        resource.setrlimit(which, (limit, limit))


def _readable() -> Iterable[Path]:
    """Yield the interpreter, its libraries and our own code, but not the directory they lie in.

    A checkout's own directory may hold a private key.
    """
    own = Path(__file__).resolve().parents[1]
    yield own
    yield own.parent / "edge_runtime"
    yield Path(sys.base_prefix) / "lib"
    for key in ("stdlib", "platstdlib", "purelib", "platlib"):
        yield Path(sysconfig.get_path(key))
    for entry in map(Path, sys.path):
        if entry.name in PACKAGE_DIRECTORIES:
            yield entry
    yield from map(Path, _SYSTEM_FILES)


def _landlock(libc: ctypes.CDLL, readable: Iterable[Path], writable: Iterable[Path]) -> int:
    """Allow reading below ``readable``, files below ``writable``, and nothing else.

    Returns:
        The kernel's Landlock ABI.

    Raises:
        OSError: when the kernel has no Landlock or refuses.
    """
    abi = _checked(libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION))
    known = max(version for version in _FILE_RIGHTS if version <= abi)
    fields = [(1 << _FILE_RIGHTS[known]) - 1]
    if abi >= _TCP_ABI:
        fields.append(_TCP_RIGHTS)
    if abi >= _SCOPE_ABI:
        fields.append(_SCOPES)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = _checked(
        libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0),
    )
    try:
        for path in readable:
            _allow(libc, ruleset, path, _READ_FILE | _READ_DIR)
        for path in writable:
            _allow(libc, ruleset, path, _writing(abi))
        _checked(libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    return abi


def _writing(abi: int) -> int:
    rights = _READ_FILE | _READ_DIR | _WRITE
    return rights | _TRUNCATE if abi >= _TRUNCATE_ABI else rights


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # not on this machine, so nothing to allow
    try:
        directory = stat.S_ISDIR(os.fstat(opened).st_mode)
        rule = struct.pack("=Qi", rights if directory else _READ_FILE, opened)
        _checked(libc.syscall(_LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0))
    finally:
        os.close(opened)


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Give up what root, or the first user of a new namespace, may do beyond others."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    libc.capset(header, struct.pack("=6I", *([0] * 6)))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
