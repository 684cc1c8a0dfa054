"""The filter's numbers against the kernel's lists, and its program as the kernel runs it."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from packager.sources import seccomp

HEADERS = {
    0: Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    1: Path("/usr/include/asm-generic/unistd.h"),
}
ALLOW, DENY, ABSENT = 0x7FFF0000, 0x00050001, 0x00050026
AUDIT = {0: 0xC000003E, 1: 0xC00000B7}
PID = 4321


@pytest.mark.parametrize("column", HEADERS, ids=["x86-64", "arm64"])
def test_every_number_is_the_kernel_s(column: int) -> None:
    if not HEADERS[column].exists():
        pytest.skip(f"{HEADERS[column]} is not installed")
    listed = re.findall(
        r"#define __NR(?:3264)?_(\w+)\s+(\d+)", HEADERS[column].read_text(encoding="utf-8")
    )
    kernel = {name: int(number) for name, number in listed}
    judged = {
        "clone": seccomp._CLONE,
        "clone3": seccomp._CLONE3,
        "tgkill": seccomp._TGKILL,
        "prlimit64": seccomp._PRLIMIT64,
        "fcntl": seccomp._FCNTL,
    }
    ours = {name: calls[column] for name, calls in {**seccomp._DENIED, **judged}.items()}

    wrong = {n: (number, kernel.get(n)) for n, number in ours.items() if n in kernel}
    assert {n: pair for n, pair in wrong.items() if pair[0] != pair[1]} == {}
    assert len(wrong) > len(ours) * 0.8


def verdict(column: int, number: int, *arguments: int, audit: int | None = None) -> int:
    """Run the filter as the kernel does, on one system call."""
    program = seccomp._program(AUDIT[column], column, PID)
    values = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=iIQ6Q", number, audit or AUDIT[column], 0, *values)
    position, held = 0, 0
    while True:
        code, if_true, if_false, value = struct.unpack_from("=HBBI", program, 8 * position)
        position += 1
        if code == seccomp._LOAD:
            held = struct.unpack_from("=I", data, value)[0]
        elif code == seccomp._RETURN:
            return int(value)
        else:
            tests = {
                seccomp._EQUAL: held == value,
                seccomp._AT_LEAST: held >= value,
                seccomp._ANY_BIT: bool(held & value),
            }
            position += if_true if tests[code] else if_false


@pytest.mark.parametrize("column", [0, 1], ids=["x86-64", "arm64"])
def test_the_filter_judges_as_its_tables_say(column: int) -> None:
    for calls in seccomp._DENIED.values():
        number = calls[column]
        if number is not None:
            assert verdict(column, number) == DENY
    read, mmap = ((0, 9), (63, 222))[column]
    assert verdict(column, read) == verdict(column, mmap) == ALLOW
    assert verdict(column, seccomp._CLONE3[column]) == ABSENT


@pytest.mark.parametrize("column", [0, 1], ids=["x86-64", "arm64"])
def test_calls_are_judged_by_their_arguments(column: int) -> None:
    thread, child = 0x3D0F00, 0x1200011
    assert verdict(column, seccomp._CLONE[column], thread) == ALLOW
    assert verdict(column, seccomp._CLONE[column], child) == DENY
    assert verdict(column, seccomp._TGKILL[column], PID, PID, 6) == ALLOW
    assert verdict(column, seccomp._TGKILL[column], PID + 1, PID, 6) == DENY
    assert verdict(column, seccomp._PRLIMIT64[column], 0) == ALLOW
    assert verdict(column, seccomp._PRLIMIT64[column], PID - 1) == DENY
    get_flags, set_owner, set_owner_ex = 3, 8, 15
    assert verdict(column, seccomp._FCNTL[column], 0, get_flags) == ALLOW
    assert verdict(column, seccomp._FCNTL[column], 0, set_owner) == DENY
    assert verdict(column, seccomp._FCNTL[column], 0, set_owner_ex) == DENY


def test_the_machine_s_second_call_table_is_closed() -> None:
    assert verdict(0, 0x40000000 + 41) == DENY
    assert verdict(0, 1, audit=0x40000003) == DENY  # 32-bit calls on a 64-bit kernel
