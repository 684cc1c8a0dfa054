"""What the child may say of itself: contained only where everything holds."""

from __future__ import annotations

import subprocess
import sys

import pytest

CONFINED = """
import errno, platform, sys
from pathlib import Path
from packager.sources import confine, seccomp
def refuse(*_):
    raise OSError(errno.ENOSYS, "Function not implemented")
{change}
print(confine.confine(confine.Limits(4 << 30, 60, 60.0), Path.cwd()), flush=True)
"""


def said(change: str) -> str:
    """Run a child that confines itself after a change to its world."""
    done = subprocess.run(
        [sys.executable, "-c", CONFINED.format(change=change)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def contained() -> str:
    text = said("")
    if not text.startswith("contained:"):
        pytest.skip(text)
    return text


def test_a_kernel_that_allows_everything_contains(contained: str) -> None:
    assert "no network (" in contained
    assert "files by Landlock ABI " in contained
    assert "no other processes" in contained


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("sys.platform = 'darwin'", "uncontained: needs Linux, this is darwin"),
        ("sys.platform = 'win32'", "uncontained: needs Linux, this is Windows"),
        (
            "confine._landlock = refuse",
            "uncontained: no Landlock (Function not implemented), "
            "so files are within its reach",
        ),
        (
            "seccomp.install = refuse",
            "uncontained: no system call filter (Function not implemented)",
        ),
        (
            "platform.machine = lambda: 'riscv64'",
            "uncontained: no system call filter (no system call table for riscv64)",
        ),
    ],
)
@pytest.mark.usefixtures("contained")
def test_what_does_not_hold_is_said_with_its_reason(change: str, text: str) -> None:
    assert said(change) == text


def test_without_namespaces_the_filter_alone_keeps_the_network_away(contained: str) -> None:
    assert contained
    no_flag_of_unshare = 1
    refused = said(f"confine._CLONE_NEWUSER = {no_flag_of_unshare}")

    assert refused.startswith("contained: no network (system call filter), files")
