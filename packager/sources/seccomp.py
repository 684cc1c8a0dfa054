"""The system calls that the unpickling child gives up, as a filter the kernel enforces.

A list of what is denied: the child keeps what reading, computing and answering need, and loses
what opens sockets, starts processes or programs, signals or inspects other processes, changes
the attributes of files, mounts, or asks for rights. Numbers are the kernel's and never change.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

_PR_SET_SECCOMP = 22
_MODE_FILTER = 2

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
_ALLOW = 0x7FFF0000
_DENY = 0x00050000 | errno.EPERM
_ABSENT = 0x00050000 | errno.ENOSYS

_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_X32 = 0x40000000  # the second system call table of an x86-64 kernel

# machine → (audit architecture, position in the table below)
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}

# name → (x86-64, arm64); None where the architecture has no such call
_DENIED: dict[str, tuple[int, int | None]] = {
    # networks, and the ring that opens sockets without the call
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "io_uring_setup": (425, 425),
    # processes and programs; clone is judged by its flags below
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    # other processes
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "setpriority": (141, 140),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    # attributes and lengths of files, which Landlock does not or not always guard
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "truncate": (76, 45),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "open_by_handle_at": (304, 265),
    # rights, namespaces, mounts, and large surfaces of the kernel
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
}
_CLONE = (56, 220)
_CLONE3 = (435, 435)
_TGKILL = (234, 131)
_PRLIMIT64 = (302, 261)
_FCNTL = (72, 25)

_CLONE_THREAD = 0x00010000
_F_SETOWN, _F_SETOWN_EX = 8, 15  # would have the kernel signal a process of one's choice


class _Program(ctypes.Structure):
    """The kernel's ``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def install() -> None:
    """Filter this thread's system calls and those of every thread it starts, for good.

    Needs ``no_new_privs``.

    Raises:
        OSError: when the kernel has no filters, or the table has no such machine.
    """
    machine = platform.machine()
    if machine not in _MACHINES:
        raise OSError(errno.ENOSYS, f"no system call table for {machine}")
    architecture, column = _MACHINES[machine]
    code = _program(architecture, column, os.getpid())
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _program(architecture: int, column: int, pid: int) -> bytes:
    rules = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, architecture, 1, 0),
        _step(_RETURN, _DENY),
        _step(_LOAD, _NUMBER),
        _step(_AT_LEAST, _X32, 0, 1),
        _step(_RETURN, _DENY),
        *(_always(calls[column], _DENY) for calls in _DENIED.values()),
        _always(_CLONE3[column], _ABSENT),  # libc then uses clone, whose flags can be read
        _when(_CLONE[column], 0, _step(_ANY_BIT, _CLONE_THREAD, 1, 0)),
        _when(_TGKILL[column], 0, _step(_EQUAL, pid, 1, 0)),
        _when(_PRLIMIT64[column], 0, _step(_EQUAL, 0, 1, 0)),
        _when(
            _FCNTL[column],
            1,
            _step(_EQUAL, _F_SETOWN, 1, 0) + _step(_EQUAL, _F_SETOWN_EX, 0, 1),
        ),
        _step(_RETURN, _ALLOW),
    ]
    return b"".join(rules)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _always(number: int | None, answer: int) -> bytes:
    if number is None:
        return b""
    return _step(_EQUAL, number, 0, 1) + _step(_RETURN, answer)


def _when(number: int, argument: int, test: bytes) -> bytes:
    """Judge one call by one argument: ``test`` falls through to denial or skips it by one."""
    body = _step(_LOAD, _ARGUMENTS + 8 * argument) + test + _step(_RETURN, _DENY)
    allowed = _step(_RETURN, _ALLOW)
    return _step(_EQUAL, number, 0, (len(body) + len(allowed)) // 8) + body + allowed
