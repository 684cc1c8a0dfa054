"""Target profiles: kinds of devices as data, read strictly from TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packager.errors import TargetInvalid, UnknownTarget, nearest
from packager.target_rules import RULES, conflict

_SECTIONS = {key.split(".")[0] for key in RULES if "." in key}
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class CpuModel:
    """A CPU model that a profile promises: for people, and as qemu calls it.

    ``host`` is no model of qemu's: it stands for the processor of the machine that builds.
    """

    name: str
    qemu: str


@dataclass(frozen=True)
class TargetProfile:
    """A kind of device; ``docs/targets.md`` tells what each field is for.

    Attributes:
        name: what bundles and command lines call it.
        description: one line for people.
        os: ``linux``.
        architecture: ``x86-64`` or ``arm64``.
        priority: where several targets of a bundle fit a device, the highest wins.
        cpu_models: the CPU models that quality is promised on.
        cpu_flags: what the processor must have, by the names of Linux: of each group one.
        providers: execution providers by their full names, best first.
        provider_options: options of the first provider.
        session_options: configuration entries of the session.
        precisions: the families of variants that are tried, best first for a chip that nobody
            can time; the last is float32.
        cpu_rung: whether a float32 rung for the CPU ships beside another provider's.
        reduce_range: whether int8 weights take 7 bits.
        opset: the newest operator sets a graph may use, by domain; converters may write older.
        ir: the newest IR version a graph may use.
        min_engine: the oldest ONNX Runtime that must load the graphs.
        memory_mb: memory that the device must have for the model, in megabytes.
        bundle_mb: the most that all files of the target may take, in megabytes.
        wheel_tags: platform tags of the wheels that run there, newest C library first.
        threads: threads within one operator.
    """

    name: str
    description: str
    os: str
    architecture: str
    priority: int
    cpu_models: tuple[CpuModel, ...]
    cpu_flags: tuple[tuple[str, ...], ...]
    providers: tuple[str, ...]
    provider_options: Mapping[str, str]
    session_options: Mapping[str, str]
    precisions: tuple[str, ...]
    cpu_rung: bool
    reduce_range: bool
    opset: Mapping[str, int]
    ir: int
    min_engine: str
    memory_mb: int
    bundle_mb: int
    wheel_tags: tuple[str, ...]
    threads: int

    @property
    def memory_bytes(self) -> int:
        """The memory budget in bytes."""
        return self.memory_mb * MEGABYTE

    @property
    def bundle_bytes(self) -> int:
        """The size budget in bytes."""
        return self.bundle_mb * MEGABYTE


def load_profile(name_or_path: str) -> TargetProfile:
    """Read a profile by its name, or one of the user's own by a path to a ``.toml`` file.

    Raises:
        UnknownTarget: when no profile has the name, or there is no such file.
        TargetInvalid: when the file is no TOML, or a key is unknown, missing or wrong.
    """
    own = name_or_path.endswith(".toml") or "/" in name_or_path
    path = Path(name_or_path) if own else profiles_directory() / f"{name_or_path}.toml"
    if not path.is_file():
        raise _unknown(name_or_path)
    try:
        document = tomllib.loads(path.read_bytes().decode())
    except (OSError, ValueError) as error:
        raise _invalid(path, "the file", "readable TOML", str(error)) from None
    return _profile(_checked(path, _flat(path, document)))


def list_profiles() -> list[TargetProfile]:
    """Return the profiles that come with the packager, CPU before GPU, then by name."""
    profiles = [load_profile(str(path)) for path in profiles_directory().glob("*.toml")]
    return sorted(profiles, key=lambda profile: (profile.priority, profile.name))


def profiles_directory() -> Path:
    """Return where the shipped profiles stand: inside the wheel, or in the checkout."""
    inside = Path(__file__).parent / "targets"
    return inside if inside.is_dir() else Path(__file__).parents[1] / "targets"


def _unknown(name: str) -> UnknownTarget:
    known = sorted(path.stem for path in profiles_directory().glob("*.toml"))
    return UnknownTarget(
        f"there is no target {name!r}{nearest(name, known)}; there are {', '.join(known)}",
        hint="Name one of these, or give the path of a profile of your own (docs/targets.md).",
        expected=known,
        found=name,
    )


def _invalid(path: Path, key: str, wanted: str, found: Any) -> TargetInvalid:
    shown = str(found)[:80]
    return TargetInvalid(
        f"{path.name}: {key} must be {wanted}, found {shown!r}",
        hint="Compare it with targets/x86-64-cpu.toml; docs/targets.md tells every key.",
        path=str(path),
        key=key,
        expected=wanted,
        found=shown,
    )


def _flat(path: Path, document: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if key not in _SECTIONS:
            flat[key] = value
        elif isinstance(value, dict):
            flat |= {f"{key}.{inner}": item for inner, item in value.items()}
        else:
            raise _invalid(path, key, "a table", value)
    return flat


def _checked(path: Path, flat: dict[str, Any]) -> dict[str, Any]:
    for key in flat:
        if key not in RULES:
            raise _invalid(path, f"key {key}", f"one of those known{nearest(key, RULES)}", key)
    for key, rule in RULES.items():
        if key not in flat:
            raise _invalid(path, key, rule.wanted, "nothing")
        if not rule.fits(flat[key]):
            raise _invalid(path, key, rule.wanted, flat[key])
    found = conflict(flat)
    if found is not None:
        key, wanted = found
        raise _invalid(path, key, wanted, flat[key])
    return flat


def _profile(flat: dict[str, Any]) -> TargetProfile:
    return TargetProfile(
        name=flat["name"],
        description=flat["description"],
        os=flat["platform.os"],
        architecture=flat["platform.architecture"],
        priority=flat["priority"],
        cpu_models=tuple(CpuModel(**cpu) for cpu in flat["platform.cpus"]),
        cpu_flags=tuple(map(tuple, flat["platform.cpu-flags"])),
        providers=tuple(flat["engine.providers"]),
        provider_options=flat["engine.provider-options"],
        session_options=flat["engine.session-options"],
        precisions=tuple(flat["variants.precisions"]),
        cpu_rung=flat["variants.cpu-rung"],
        reduce_range=flat["variants.reduce-range"],
        opset={"": flat["graph.opset"], "ai.onnx.ml": flat["graph.opset-ml"]},
        ir=flat["graph.ir"],
        min_engine=flat["engine.minimum"],
        memory_mb=flat["budget.memory-mb"],
        bundle_mb=flat["budget.bundle-mb"],
        wheel_tags=tuple(flat["platform.wheel-tags"]),
        threads=flat["threads.intra-op"],
    )


def lowest_opset(profiles: Sequence[TargetProfile]) -> dict[str, int]:
    """Return the newest operator sets, by domain, that every one of the targets takes."""
    domains = profiles[0].opset
    return {domain: min(profile.opset[domain] for profile in profiles) for domain in domains}
