"""What a processor is and can do, by the kernel's own words, and what it lacks."""

from __future__ import annotations

from collections.abc import Collection, Sequence

# What tells one kind of core from another, in /proc/cpuinfo of x86 and of ARM.
_CORE_KEYS = (
    "cpu family",
    "model",
    "stepping",
    "CPU implementer",
    "CPU part",
    "CPU variant",
    "CPU revision",
)


def parse_cpuinfo(text: str) -> tuple[str, tuple[str, ...]]:
    """Return what the cores are, and the sorted flags that every one of them has."""
    models: dict[str, None] = {}
    common: set[str] | None = None
    for block in text.split("\n\n"):
        pairs = (line.partition(":") for line in block.splitlines())
        core = {key.strip(): value.strip() for key, _, value in pairs}
        if "processor" not in core:
            continue
        named = [core["model name"]] if "model name" in core else []
        named += [f"{key} {core[key]}" for key in _CORE_KEYS if key in core]
        models[", ".join(named)] = None
        flags = set(core.get("flags", core.get("Features", "")).split())
        common = flags if common is None else common & flags
    return " + ".join(models), tuple(sorted(common or ()))


def lacking(
    needed: Sequence[Sequence[str]], flags: Collection[str]
) -> tuple[Sequence[str], ...]:
    """Return those groups of alternatives of which a processor has none.

    Args:
        needed: groups of instruction set flags; one of each group must be there.
        flags: what every core of the processor has.
    """
    return tuple(group for group in needed if not set(group) & set(flags))
