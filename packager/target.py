"""Target profiles: kinds of devices as data, read strictly from TOML."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.contract.bundle.manifest import (
    MAX_VARIANTS,
    PROVIDER_OPTIONS,
    SESSION_OPTIONS,
    is_name,
)
from edge_runtime.contract.versions import at_least
from packager.errors import TargetInvalid, UnknownTarget, nearest

CPU = "CPUExecutionProvider"
ARCHITECTURES = ("x86-64", "arm64")
PRECISIONS = ("int8-static", "int8-dynamic", "float16", "float32")
MEGABYTE = 1_000_000

# The newest ONNX operator set and IR version that each ONNX Runtime loads, measured.
CEILINGS = {
    "1.20": (21, 10),
    "1.22": (22, 10),
    "1.23": (23, 11),
    "1.25": (26, 13),
    "1.32": (28, 14),
}
MAX_OPSET_ML = 5


@dataclass(frozen=True)
class CpuModel:
    """A CPU model that a profile promises: for people, and as qemu calls it."""

    name: str
    qemu: str


@dataclass(frozen=True)
class TargetProfile:
    """A kind of device; ``docs/targets.md`` tells what each field is for.

    Attributes:
        name: what bundles and command lines call it.
        description: one line for people.
        os: ``linux``.
        architecture: one of ``ARCHITECTURES``.
        priority: where several targets of a bundle fit a device, the highest wins.
        cpu_models: the CPU models that quality is promised on.
        providers: execution providers by their full names, best first.
        provider_options: options of the first provider.
        session_options: configuration entries of the session.
        precisions: the ladder, best first; its last rung is float32.
        cpu_rung: whether a float32 rung for the CPU ships beside another provider's.
        reduce_range: whether int8 weights take 7 bits.
        opset: the newest operator sets a graph may use, by domain.
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


@dataclass(frozen=True)
class Rule:
    """What one key of a profile must hold: in words, and as a test."""

    wanted: str
    fits: Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _whole(low: int, high: int) -> Rule:
    return Rule(
        f"an integer from {low} to {high}",
        lambda value: type(value) is int and low <= value <= high,
    )


def _one_of(*values: str) -> Rule:
    return Rule(f"one of {', '.join(values)}", lambda value: value in values)


def _texts(wanted: str, fits: Callable[[str], bool]) -> Rule:
    def holds(value: Any) -> bool:
        is_list = isinstance(value, list) and all(map(_text, value))
        return is_list and 0 < len(set(value)) == len(value) and all(map(fits, value))

    return Rule(f"a list of different {wanted}", holds)


def _options(known: frozenset[str]) -> Rule:
    def holds(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and value.keys() <= known
            and all(map(_text, value.values()))
        )

    return Rule(f"a table of texts with keys out of {', '.join(sorted(known))}", holds)


def _cpus(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(item, dict)
            and item.keys() == {"name", "qemu"}
            and all(map(_text, item.values()))
            for item in value
        )
    )


_FLAG = Rule("true or false", lambda value: isinstance(value, bool))
_VERSION = re.compile(r"1\.[0-9]{1,3}(\.[0-9]{1,3})?")

RULES: Mapping[str, Rule] = {
    "name": Rule(
        "a name of lower-case letters, digits, dots, dashes and underscores",
        lambda value: _text(value) and is_name(value),
    ),
    "description": Rule("one line of text", lambda value: _text(value) and "\n" not in value),
    "priority": _whole(0, 1000),
    "platform.os": _one_of("linux"),
    "platform.architecture": _one_of(*ARCHITECTURES),
    "platform.cpus": Rule("a list of tables, each with the texts name and qemu", _cpus),
    "platform.wheel-tags": _texts("platform tags", lambda tag: "linux" in tag),
    "engine.minimum": Rule(
        f"a version of ONNX Runtime, {min(CEILINGS)} or newer, as text",
        lambda value: (
            _text(value)
            and _VERSION.fullmatch(value) is not None
            and at_least(value, min(CEILINGS))
        ),
    ),
    "engine.providers": _texts(
        "providers by their full names", lambda name: name.endswith("ExecutionProvider")
    ),
    "engine.provider-options": _options(PROVIDER_OPTIONS),
    "engine.session-options": _options(SESSION_OPTIONS),
    "graph.opset": _whole(13, max(opset for opset, _ in CEILINGS.values())),
    "graph.opset-ml": _whole(1, MAX_OPSET_ML),
    "graph.ir": _whole(7, max(ir for _, ir in CEILINGS.values())),
    "variants.precisions": _texts(
        f"rungs out of {', '.join(PRECISIONS)}", lambda rung: rung in PRECISIONS
    ),
    "variants.reduce-range": _FLAG,
    "variants.cpu-rung": _FLAG,
    "budget.memory-mb": _whole(1, 1_000_000),
    "budget.bundle-mb": _whole(1, 1_000_000),
    "threads.intra-op": _whole(1, 256),
}
_SECTIONS = {key.split(".")[0] for key in RULES if "." in key}


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
    _check_together(path, flat)
    return flat


def _check_together(path: Path, flat: dict[str, Any]) -> None:
    engine = flat["engine.minimum"]
    opset, ir = next(
        ceiling for since, ceiling in reversed(CEILINGS.items()) if at_least(engine, since)
    )
    rungs, on_cpu = flat["variants.precisions"], flat["engine.providers"][0] == CPU
    barred = {"float16"} if on_cpu else {"int8-static", "int8-dynamic"}
    length = len(rungs) + flat["variants.cpu-rung"]
    for key, wrong, wanted in (
        ("graph.opset", flat["graph.opset"] > opset, f"at most {opset} for engine {engine}"),
        ("graph.ir", flat["graph.ir"] > ir, f"at most {ir} for engine {engine}"),
        ("variants.precisions", rungs[-1] != "float32", "a ladder that ends with float32"),
        (
            "variants.precisions",
            not barred.isdisjoint(rungs),
            f"a ladder without {' or '.join(sorted(barred))} on {flat['engine.providers'][0]}",
        ),
        ("variants.precisions", length > MAX_VARIANTS, f"at most {MAX_VARIANTS} rungs in all"),
        ("variants.cpu-rung", on_cpu and flat["variants.cpu-rung"], f"false on {CPU}"),
    ):
        if wrong:
            raise _invalid(path, key, wanted, flat[key])


def _profile(flat: dict[str, Any]) -> TargetProfile:
    return TargetProfile(
        name=flat["name"],
        description=flat["description"],
        os=flat["platform.os"],
        architecture=flat["platform.architecture"],
        priority=flat["priority"],
        cpu_models=tuple(CpuModel(**cpu) for cpu in flat["platform.cpus"]),
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
