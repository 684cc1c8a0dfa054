"""The memory that loading a version may take, and what this device has to give."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edge_runtime.contract.bundle.manifest import Manifest, Variant
from edge_runtime.probe import control_groups

# Names of control group files, by version: the limit, what is used, and the line of memory.stat
# that counts cached file pages that nobody uses, which the kernel takes back first.
_ACCOUNTS: Final = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def needed_bytes(manifest: Manifest, variant: Variant, seen: int | None) -> int:
    """Return the most that a variant takes while it is loaded and run.

    That is what its trial was held to: the signed working set, and the signed sizes of the
    files that it maps. Where the trial was seen to take far less, twice that counts: who looks
    now and then does not see the very most.

    Args:
        manifest: the package's.
        variant: one of its variants.
        seen: the most private memory that its trial was seen to take; None when unknown.
    """
    most = manifest.target.memory_bytes
    working = most if seen is None else min(most, 2 * seen)
    return working + sum(_sizes(manifest, variant.weights))


def held_bytes(manifest: Manifest, variant: Variant) -> int:
    """Return the least that a loaded variant gives back when it is closed: its signed files."""
    return sum(_sizes(manifest, (variant.model_file, *variant.weights)))


def _sizes(manifest: Manifest, paths: tuple[str, ...]) -> list[int]:
    return [entry.size for entry in manifest.files if entry.path in paths]


def available_bytes(root: Path = Path("/")) -> int | None:
    """Return how much memory this process can still take; None where the kernel does not say.

    Args:
        root: where ``proc`` and ``sys`` stand.
    """
    found = [_free_memory(root / "proc/meminfo")]
    for directory in control_groups(root):
        found += [_left_in_group(directory, *names) for names in _ACCOUNTS]
    return min((value for value in found if value is not None), default=None)


def _free_memory(path: Path) -> int | None:
    kilobytes = _lines(path).get("MemAvailable:")
    return None if kilobytes is None else kilobytes * 1024


def _left_in_group(directory: Path, limit: str, used: str, idle: str) -> int | None:
    most, now = _number(directory / limit), _number(directory / used)
    if most is None or now is None:
        return None
    return max(0, most - now + _lines(directory / "memory.stat").get(idle, 0))


def _number(path: Path) -> int | None:
    """Return a file's one number; None where it is not there, or says ``max``."""
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _lines(path: Path) -> dict[str, int]:
    """Return the numbers of a file whose lines are a name and a number."""
    pairs = (line.split()[:2] for line in _text(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) > 1 and pair[1].isdigit()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
