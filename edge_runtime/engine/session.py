"""The one door to ONNX Runtime: import it quietly, open a session exactly as asked, run it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from edge_runtime.contract.errors import (
    EngineConflict,
    EngineMissing,
    ExecutionProviderMissing,
    ModelLoadFailed,
    PredictionFailed,
)
from edge_runtime.contract.facts import EngineFacts
from edge_runtime.contract.tensors import Arrays, TensorSpec
from edge_runtime.engine.watchdog import WATCHDOG, Deadline, deadline_exceeded

CPU = "CPUExecutionProvider"

# Distributions that all install the module ``onnxruntime``: two of them overwrite each other.
_DISTRIBUTIONS = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-rocm",
    "onnxruntime-migraphx",
    "onnxruntime-qnn",
    "onnxruntime-silicon",
)

# ONNX Runtime's names of element types, from its type strings ``tensor(...)``.
_ORT_TYPES = {
    "float": "float32",
    "float16": "float16",
    "double": "float64",
    "string": "string",
    "bool": "bool",
    "int8": "int8",
    "int16": "int16",
    "int32": "int32",
    "int64": "int64",
    "uint8": "uint8",
    "uint16": "uint16",
    "uint32": "uint32",
    "uint64": "uint64",
}

# How far the engine rewrites a graph before it runs, by its own names.
_OPTIMISATIONS = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}

_LOG_FATAL = 4
_MAX_REASON = 300

# Since 1.29 the Linux wheels write usage rows to the home cache unless told not to, and they
# read this variable once, at their import.
_TOO_LATE = "onnxruntime" in sys.modules and os.environ.get("ORT_DISABLE_TELEMETRY") != "1"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


@dataclass(frozen=True)
class SessionPlan:
    """How a session is to be opened; nothing is left to the engine's defaults.

    Attributes:
        provider: the execution provider, by its full name, that must run the graph.
        threads: intra-op threads, at least 1.
        session_options: configuration entries.
        provider_options: options of the provider.
        optimisation: how far the engine rewrites the graph: ``disabled``, ``basic``,
            ``extended`` or ``all``.
        without: the engine's names of single rewritings that it leaves out.
        written: where the engine writes the graph as it rewrote it.
    """

    provider: str = CPU
    threads: int = 1
    session_options: Mapping[str, str] = field(default_factory=dict)
    provider_options: Mapping[str, str] = field(default_factory=dict)
    optimisation: str = "all"
    without: tuple[str, ...] = ()
    written: Path | None = None


def telemetry_state() -> str:
    """Return ``off``, or why that cannot be promised, for ``status``."""
    if _TOO_LATE:
        return (
            "unknown: onnxruntime was imported before edge_runtime could switch telemetry off"
        )
    return "off"


@cache
def _engine() -> ModuleType:
    """Import ONNX Runtime with telemetry off.

    Raises:
        EngineMissing: when it is not installed or cannot be imported on this machine.
        EngineConflict: when two distributions of it are installed.
    """
    name, version = _distribution()
    try:
        module = import_module("onnxruntime")
    except (ImportError, OSError, AttributeError, RuntimeError) as error:
        raise EngineMissing(
            f"{name} {version} is installed, but it cannot be imported: {_first_line(error)}",
            hint="Install the wheel built for this Python, libc and processor.",
            engine=name,
            version=version,
            reason=_first_line(error),
        ) from None
    module.set_default_logger_severity(_LOG_FATAL)
    return module


@cache
def _distribution() -> tuple[str, str]:
    found = _installed(_DISTRIBUTIONS) or _installed(
        # A vendor's wheel under a name of its own; this looks into every distribution.
        metadata.packages_distributions().get("onnxruntime", ())
    )
    if not found:
        raise EngineMissing(
            "the model needs ONNX Runtime, found no distribution of it in this Python",
            hint="Install edgepack[cpu], edgepack[cuda] or the vendor's onnxruntime wheel.",
            expected="onnxruntime",
            found=None,
        )
    if len(found) > 1:
        listed = " and ".join(f"{name} {version}" for name, version in found)
        raise EngineConflict(
            f"one engine must be installed, found {listed}; they overwrite each other's files",
            hint="Uninstall all of them, then install the one that this device needs.",
            expected=1,
            found=[name for name, _ in found],
        )
    return found[0]


def _installed(names: Iterable[str]) -> list[tuple[str, str]]:
    found = []
    for name in names:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return found


def engine_facts() -> EngineFacts:
    """Return the engine's distribution, version and real execution providers.

    Raises:
        EngineMissing: when it is not installed or cannot be imported on this machine.
        EngineConflict: when two distributions of it are installed.
    """
    name, version = _distribution()
    return EngineFacts(
        name=name, version=version, providers=tuple(_engine().get_available_providers())
    )


@cache
def _engine_errors() -> tuple[type[Exception], ...]:
    """Every exception the engine raises: they share no base class of their own."""
    state = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    found = [item for item in vars(state).values() if isinstance(item, type)]
    own = [item for item in found if issubclass(item, Exception)]
    return (*own, RuntimeError, ValueError, IndexError, TypeError, MemoryError)


class Session:
    """A model open on exactly one execution provider.

    Attributes:
        inputs: the graph's inputs.
        outputs: the graph's outputs.
        provider: the execution provider that runs it.
        worker: None, because it runs in this process.
    """

    worker = None

    def __init__(self, raw: Any, provider: str) -> None:
        self._raw = raw
        self.provider = provider
        self.inputs = tuple(_spec(item) for item in raw.get_inputs())
        self.outputs = tuple(_spec(item) for item in raw.get_outputs())
        self._names = [spec.name for spec in self.outputs]

    def run(self, feed: Mapping[str, Any], *, timeout_ms: float | None = None) -> Arrays:
        """Run the graph on checked arrays and return every output by name.

        Args:
            feed: arrays by the names of the inputs.
            timeout_ms: how long it may take; None for ever.

        Raises:
            PredictionFailed: when the engine fails.
            DeadlineExceeded: when it did not end in time. It is stopped between two nodes of
                the graph, so it may come later than that.
        """
        if timeout_ms is not None:
            return self._run_timed(feed, timeout_ms)
        try:
            values = self._raw.run(self._names, feed)
        except _engine_errors() as error:
            raise _failed(error) from None
        return dict(zip(self._names, values, strict=True))

    def _run_timed(self, feed: Mapping[str, Any], timeout_ms: float) -> Arrays:
        # Its own for every call: the engine never takes a stop back.
        options = _engine().RunOptions()
        deadline = Deadline(timeout_ms, options)
        try:
            WATCHDOG.begin(deadline)
            values = self._raw.run(self._names, feed, options)
        except _engine_errors() as error:
            if deadline.passed:
                raise deadline_exceeded(deadline, "it was stopped") from None
            raise _failed(error) from None
        finally:
            WATCHDOG.end(deadline)
        if deadline.passed:
            raise deadline_exceeded(deadline, "it ended later: a single node cannot be stopped")
        return dict(zip(self._names, values, strict=True))

    def close(self) -> None:
        """Nothing to let go of: the engine frees a session that nobody refers to."""


def open_session(model: bytes | Path, plan: SessionPlan) -> Session:
    """Open a model exactly as planned; no other provider is ever taken instead.

    Args:
        model: the ONNX file's bytes, or its path where weights lie beside it.
        plan: provider, threads and options.

    Raises:
        EngineMissing: when ONNX Runtime cannot be imported.
        EngineConflict: when two distributions of it are installed.
        ExecutionProviderMissing: when the session would run elsewhere.
        ModelLoadFailed: when the engine refuses the model.
    """
    ort = _engine()
    available = ort.get_available_providers()
    if plan.provider not in available:
        raise _provider_missing(plan.provider, available)
    source = model if isinstance(model, bytes) else str(model)
    providers = [(plan.provider, dict(plan.provider_options))]
    without = {"disabled_optimizers": list(plan.without)} if plan.without else {}
    try:
        raw = ort.InferenceSession(source, _options(ort, plan), providers, **without)
    except _engine_errors() as error:
        raise ModelLoadFailed(
            f"the engine {_distribution()[1]} refused the model: {_first_line(error)}",
            hint="Compare min_engine of the target with the engine here: edge-runtime probe.",
            engine=_distribution()[1],
            reason=_first_line(error),
        ) from None
    running = raw.get_providers()
    if running[0] != plan.provider:
        raise _provider_missing(plan.provider, running)
    raw.disable_fallback()
    return Session(raw, plan.provider)


def _options(ort: ModuleType, plan: SessionPlan) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = plan.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_FATAL
    level = _OPTIMISATIONS[plan.optimisation]
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    if plan.written is not None:
        options.optimized_model_filepath = str(plan.written)
    for key, value in config_entries(plan).items():
        options.add_session_config_entry(key, value)
    return options


def config_entries(plan: SessionPlan) -> dict[str, str]:
    """Return the configuration entries of a session, those that were not signed among them."""
    entries = {
        # Spinning doubled the CPU time per prediction and was often slower.
        "session.intra_op.allow_spinning": "0",
        "session.inter_op.allow_spinning": "0",
        **plan.session_options,
    }
    if plan.provider != CPU:
        # Nodes that the accelerator cannot run must be seen, not moved to the CPU in silence.
        entries["session.disable_cpu_ep_fallback"] = "1"
    return entries


def _provider_missing(wanted: str, found: list[str]) -> ExecutionProviderMissing:
    return ExecutionProviderMissing(
        f"the variant needs {wanted}, this session runs on {', '.join(found)}",
        hint=f"Install an engine wheel with {wanted}, or build the target for the CPU.",
        expected=wanted,
        found=found,
    )


def _spec(item: Any) -> TensorSpec:
    kind = str(item.type)
    inner = kind[len("tensor(") : -1] if kind.startswith("tensor(") else kind
    dtype = _ORT_TYPES.get(inner)
    if dtype is None:
        raise ModelLoadFailed(
            f"{item.name!r} is a {kind}; only tensors of numbers or text are served",
            hint="Export the model with tensor inputs and outputs (for ZipMap: zipmap=False).",
            name=item.name,
            found=kind,
        )
    shape = tuple(axis if isinstance(axis, int) else None for axis in item.shape or ())
    return TensorSpec(str(item.name), dtype, shape)


def _failed(error: Exception) -> PredictionFailed:
    return PredictionFailed(
        f"the engine failed on this input: {_first_line(error)}",
        hint="Check the values; if they are sound, report the model with this text.",
        reason=_first_line(error),
    )


def _first_line(error: Exception) -> str:
    """Return what the engine says, without the middle of it: C++ names are long."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if len(line) <= _MAX_REASON else f"{line[:100]} … {line[103 - _MAX_REASON :]}"
