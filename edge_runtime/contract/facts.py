"""What a device is, as probed: the facts that matching decides by; as a file, the passport."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from typing import Any

from edge_runtime.contract import strictjson
from edge_runtime.contract.errors import InputUnreadable, JsonMalformed

SCHEMA = "edgepack.passport/1"
MAX_BYTES = 1 << 20

# Execution providers that compute on the processor alone, whatever else is built in.
_ON_THE_CPU = frozenset({"CPUExecutionProvider", "AzureExecutionProvider"})
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9.]+")


@dataclass(frozen=True)
class EngineFacts:
    """The inference engine that is installed.

    Attributes:
        name: the distribution that holds it, for example ``onnxruntime-gpu``.
        version: its version, for example ``1.32.0``.
        providers: the execution providers it really has, full names, in its own order.
    """

    name: str
    version: str
    providers: tuple[str, ...]

    @property
    def text(self) -> str:
        """The engine as people name it: ``onnxruntime 1.32.0``."""
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class DeviceFacts:
    """One machine, as its userland sees it.

    Attributes:
        os: ``linux`` wherever the runtime is promised to work.
        architecture: of the userland, because wheels and graphs meet that: ``x86-64``,
            ``arm64``, ``x86`` or ``arm`` for a 32-bit one, otherwise the kernel's own word.
        kernel: the kernel's architecture and release, for example ``aarch64 6.1.0-18-arm64``.
        cpu_model: what the cores call themselves; several kinds are joined with `` + ``.
        cpu_flags: the instruction set flags that every core has, sorted.
        cpus: how many logical CPUs this process may run on.
        cpu_quota: CPUs' worth of time its control groups grant; None without a quota.
        memory_bytes: physical memory.
        memory_limit_bytes: the least limit of its control groups; None without a limit.
        libc: for example ``glibc 2.36`` or ``musl``; empty when it does not say.
        python: for example ``cpython 3.11.2``.
        boot_id: the kernel's identity of this boot, which stands in for a clock.
        runtime: the edge runtime's own version.
        engine: None when there is none or nobody asked.
        engine_problem: why ``engine`` is None; empty otherwise.
        accelerator: its driver and chips, for example ``nvidia 550.54 NVIDIA L4``; empty where
            none is known.
    """

    os: str
    architecture: str
    kernel: str
    cpu_model: str
    cpu_flags: tuple[str, ...]
    cpus: int
    cpu_quota: float | None
    memory_bytes: int
    memory_limit_bytes: int | None
    libc: str
    python: str
    boot_id: str
    runtime: str
    engine: EngineFacts | None
    engine_problem: str
    accelerator: str = ""

    @property
    def threads(self) -> int:
        """The most threads worth starting: whole CPUs by affinity and quota, at least one."""
        if self.cpu_quota is None:
            return self.cpus
        return max(1, min(self.cpus, int(self.cpu_quota)))

    @property
    def usable_memory_bytes(self) -> int:
        """The memory that this process may have at most."""
        if self.memory_limit_bytes is None:
            return self.memory_bytes
        return min(self.memory_bytes, self.memory_limit_bytes)

    @property
    def cpu_identity(self) -> str:
        """Short stable text: equal where a measurement or a CPU-bound file may be reused."""
        facts = "\n".join((self.architecture, self.cpu_model, *self.cpu_flags))
        return hashlib.sha256(facts.encode()).hexdigest()[:16]

    @property
    def identity(self) -> str:
        """What a trial's verdict is bound to besides the bundle: engine, CPU and driver.

        The driver counts where the engine can use it. The text may name a file.
        """
        engine = f"{self.engine.name}-{self.engine.version}" if self.engine else "no-engine"
        used = self.engine is not None and not _ON_THE_CPU.issuperset(self.engine.providers)
        driver = _NOT_IN_A_NAME.sub("-", self.accelerator)[:60] if used else ""
        return "-".join(filter(None, (engine, self.cpu_identity, driver)))

    def to_json(self) -> dict[str, Any]:
        """Return the passport's object."""
        return {"schema": SCHEMA, **asdict(self)}


def facts_from_json(data: bytes) -> DeviceFacts:
    """Read a passport; keys that a newer runtime added are left aside.

    Raises:
        InputUnreadable: when it is no passport of this schema.
    """
    fields = _present(_parse(data), "passport")
    schema = fields.text("schema")
    if schema != SCHEMA:
        raise InputUnreadable(
            f"the passport has the schema {schema!r}, this program reads {SCHEMA!r}",
            hint="Make the passport with an edge runtime of this program's version.",
            expected=SCHEMA,
            found=schema,
        )
    return DeviceFacts(
        os=fields.text("os"),
        architecture=fields.text("architecture"),
        kernel=fields.text("kernel"),
        cpu_model=fields.text("cpu_model"),
        cpu_flags=fields.texts("cpu_flags"),
        cpus=fields.integer("cpus", low=1),
        cpu_quota=fields.number("cpu_quota") if fields.has("cpu_quota") else None,
        memory_bytes=fields.integer("memory_bytes"),
        memory_limit_bytes=(
            fields.integer("memory_limit_bytes") if fields.has("memory_limit_bytes") else None
        ),
        libc=fields.text("libc"),
        python=fields.text("python"),
        boot_id=fields.text("boot_id"),
        runtime=fields.text("runtime"),
        engine=_engine(fields.any("engine")),
        engine_problem=fields.text("engine_problem"),
        accelerator=fields.text("accelerator") if fields.has("accelerator") else "",
    )


def _parse(data: bytes) -> Any:
    try:
        return strictjson.loads(data, what="the passport", limit=MAX_BYTES)
    except JsonMalformed as error:
        raise InputUnreadable(
            error.message,
            hint="Make the passport again: edge-runtime probe --json.",
            **error.values,
        ) from None


def _present(value: Any, where: str) -> strictjson.Fields:
    """Read an object in which null means the same as an absent key."""
    if isinstance(value, dict):
        value = {key: item for key, item in value.items() if item is not None}
    return strictjson.Fields(value, where, InputUnreadable)


def _engine(value: Any) -> EngineFacts | None:
    if value is None:
        return None
    fields = _present(value, "passport.engine")
    return EngineFacts(
        name=fields.text("name"),
        version=fields.text("version"),
        providers=fields.texts("providers"),
    )
