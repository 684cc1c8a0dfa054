"""Following: a program that serves takes up what is installed, between two predictions.

A thread looks at the record once a second. The new version is loaded and warmed beside the old
one, and the old one is closed when its last call has ended. Whatever goes wrong on the way, the
old one goes on serving and ``Model.status`` says why.
"""

from __future__ import annotations

import atexit
import math
import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from edge_runtime.contract.bundle.installed import open_installed
from edge_runtime.contract.bundle.manifest import Manifest
from edge_runtime.contract.errors import EdgepackError, ModelLoadFailed
from edge_runtime.contract.interfaces import differences
from edge_runtime.contract.units import size
from edge_runtime.engine.golden import hold_golden
from edge_runtime.loading import How, serve_installed
from edge_runtime.memory import available_bytes, held_bytes, needed_bytes
from edge_runtime.model import Model
from edge_runtime.probe import probe
from edge_runtime.proofs import remembered
from edge_runtime.retries import Retries
from edge_runtime.serving import Retired, Served, Serving
from edge_runtime.state.model import ModelStore
from edge_runtime.state.record import Version
from edge_runtime.state.store import Store

POLL_S: Final = 1.0
# How long a cold swap lets calls wait for the end of those before them.
DRAIN_S: Final = 10.0
_DRAIN_POLL_S: Final = 0.01


@dataclass(frozen=True)
class Progress:
    """What following did.

    Attributes:
        swaps: how often another version took over.
        last: from which to which that was, and how; empty before the first.
        memory: what the version looked at last needs, and what there was.
        problem: what keeps it from serving what is active; empty when nothing does.
    """

    swaps: int = 0
    last: str = ""
    memory: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Pace:
    """How often and how long.

    Attributes:
        poll_s: seconds between two looks at the record.
        drain_s: seconds that a cold swap waits for calls to end.
        available: returns the bytes that there are for another version; None when unknown.
    """

    poll_s: float = POLL_S
    drain_s: float = DRAIN_S
    available: Callable[[], int | None] = available_bytes


class Following:
    """Lets a model go on with whatever version its store says, until it is closed.

    Args:
        model: serves an installed model.
        store: where that is installed.
        how: how each version is loaded.
        pace: how often it looks.
    """

    def __init__(self, model: Model, store: Store, how: How, pace: Pace | None = None) -> None:
        self._model = weakref.ref(model)
        self._name = model.name
        self._store = store
        self._how = how
        self._pace = pace or Pace()
        self._retries = Retries()
        self._progress = Progress()
        self._stop = threading.Event()
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="edgepack-follow", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._say(f"nothing is followed: {error}")
        # A load that is under way must end in order, or it would count against its version.
        atexit.register(self._leave)

    def status(self) -> dict[str, Any]:
        """Return what it did, and what keeps it from serving what is active."""
        progress = self._progress
        if os.getpid() != self._process:
            problem = "this process was forked from the one that follows: load after the fork"
            progress = replace(progress, problem=problem)
        return asdict(progress)

    def close(self) -> None:
        """Follow no longer; a load that is under way is waited for."""
        self._stop.set()
        atexit.unregister(self._leave)
        if self._thread.ident and self._thread is not threading.current_thread():
            self._thread.join()

    def _leave(self) -> None:
        model = self._model()
        if model is not None:
            model.close()
        self.close()

    def _say(self, problem: str) -> None:
        self._progress = replace(self._progress, problem=problem)

    def _run(self) -> None:
        while not self._stop.wait(self._pace.poll_s):
            model = self._model()
            if model is None:  # nobody can call it any more
                atexit.unregister(self._leave)
                return
            try:
                self._look(model)
            except Exception as error:  # a boundary: whatever it is, predictions must go on
                self._say(_told(error))
            del model

    def _look(self, model: Model) -> None:
        """Compare what serves with what should, and swap where they differ."""
        there = self._store.model(self._name)
        standing, generation = there.standing(), there.read().state.generation
        wanted = standing.version
        if wanted is None or (wanted.digest == model.served.digest and not model.held):
            self._say(standing.reason)
            return
        if not self._retries.due((wanted.digest, generation, standing.probation)):
            return
        try:
            self._take(model, there, wanted)
        except _PutOff as reason:
            self._say(str(reason))
        except EdgepackError as error:
            self._say(f"{wanted.version} cannot be loaded: {error.message}")
        else:
            self._retries.succeeded()

    def _take(self, model: Model, there: ModelStore, wanted: Version) -> None:
        """Swap to a version, beside the one that serves where both fit.

        Raises:
            _PutOff: why that cannot be, for now.
            EdgepackError: when it cannot be loaded.
        """
        manifest = open_installed(there.version(wanted.digest), wanted.digest).manifest
        _require_same_interface(model, manifest)
        before, began = model.served, time.perf_counter()
        beside = self._fits_beside(model, manifest, _needed(there, manifest, wanted.digest))
        if not beside:
            self._empty(model)
        serving, problem = self._beside(model) if beside else self._after(model, before)
        retired, after = model.swap(serving), serving.served
        if problem:
            raise _PutOff(f"{before.manifest.version} serves again: {problem}")
        milliseconds = round(1000 * (time.perf_counter() - began))
        old, new = before.manifest.version, after.manifest.version
        serving.recorder.event("swap", before=old, beside=beside, milliseconds=milliseconds)
        last = f"{old} → {new}, loaded {'beside it' if beside else 'after it was closed'}"
        swaps = self._progress.swaps + 1
        self._progress = replace(self._progress, swaps=swaps, last=last, problem="")
        if beside:
            self._close(retired, old)

    def _fits_beside(self, model: Model, manifest: Manifest, needed: int) -> bool:
        """Tell whether a version that needs so many bytes fits beside the one that serves.

        Raises:
            _PutOff: when it would not even fit alone.
        """
        available = self._pace.available()
        said = "an unknown amount is" if available is None else f"{size(available)} are"
        memory = f"{manifest.version} needs up to {size(needed)}, {said} available"
        self._progress = replace(self._progress, memory=memory)
        if model.held:
            return False
        if available is None or needed <= available:
            return True
        freed = held_bytes(model.served.manifest, model.served.variant)
        if needed <= available + freed:
            return False
        raise _PutOff(f"{memory}, and {size(freed)} more without {model.version}")

    def _beside(self, model: Model) -> tuple[Serving, str]:
        """Return the version to go on with, loaded beside the one that serves.

        Raises:
            _PutOff: when it is not one to go on with.
            EdgepackError: when it cannot be loaded, or does not answer as proven.
        """
        serving = self._ready(model, self._name)
        reason = ""
        if self._stop.is_set():
            reason = "the model is being closed"
        elif serving.served.digest == model.served.digest:
            reason = serving.served.degraded or f"{model.version} is active again"
        if reason:
            serving.close()
            raise _PutOff(reason)
        return serving, ""

    def _after(self, model: Model, before: Served) -> tuple[Serving, str]:
        """Return what calls wait for: the new version, or the one before and why.

        Raises:
            EdgepackError: when neither can be loaded; calls fail with it until one can.
        """
        try:
            serving = self._ready(model, self._name)
        except Exception as error:  # a boundary: calls wait for an outcome, whatever it is
            problem = _told(error)
        else:
            again = serving.served.digest == before.digest
            return serving, (serving.served.degraded or "it is active again") if again else ""
        try:
            return self._ready(model, f"{self._name}@{before.manifest.version}"), problem
        except Exception as error:  # the same
            failed = ModelLoadFailed(
                f"neither the active version nor {before.manifest.version} can be loaded: "
                f"{problem}; {_told(error)}",
                hint="Look at edge-runtime status, then install a version that fits.",
                reason=problem,
            )
            model.fail_calls(failed)
            raise failed from None

    def _ready(self, model: Model, ref: str) -> Serving:
        """Return a version that has given its golden answers in this very process.

        Raises:
            _PutOff: when it is not one to go on with.
            EdgepackError: when it cannot be loaded, or does not answer as proven.
        """
        serving = serve_installed(self._store, ref, self._how)
        try:
            served = serving.served
            directory = self._store.model(self._name).version(served.digest)
            package = open_installed(directory, served.digest)
            _require_same_interface(model, package.manifest)
            hold_golden(package, served.variant, serving.runner.run)
        except BaseException as error:
            if serving.probation is not None and isinstance(error, EdgepackError):
                serving.probation.failed(error)
            serving.close()
            raise
        return serving

    def _empty(self, model: Model) -> None:
        """Close what serves, so that there is room; calls wait from now on.

        Raises:
            _PutOff: when a call does not end, so that it has to stay.
        """
        if model.held:
            return
        retired = model.hold()
        if self._drained(retired, self._pace.drain_s):
            retired.close()
            return
        model.swap(retired.revived())
        raise _PutOff(
            f"{self._progress.memory}, and a call of {model.version} did not end within "
            f"{self._pace.drain_s:g} s, so that it could not be closed first"
        )

    def _close(self, retired: Retired, version: str) -> None:
        """Close what served before, once its last call has ended or the model is closed."""
        if not self._drained(retired, self._pace.drain_s):
            self._say(f"a call of {version} is still under way")
            self._drained(retired, math.inf)
        retired.close()

    def _drained(self, retired: Retired, limit_s: float) -> bool:
        """Wait until no call is under way, but not when the model is closed."""
        until = time.monotonic() + limit_s
        while retired.in_use and time.monotonic() < until:
            if self._stop.wait(_DRAIN_POLL_S):
                break
        return not retired.in_use


class _PutOff(Exception):
    """Why a version is not taken up now."""


def _require_same_interface(model: Model, manifest: Manifest) -> None:
    before, after = differences(model.interface, manifest.interface)
    if before or after:
        raise _PutOff(
            f"{manifest.version} is active and has {after}, the program was written for "
            f"{before}: restart it"
        )


def _needed(there: ModelStore, manifest: Manifest, digest: str) -> int:
    """Return the most that any variant of a version takes, one that failed its trial aside."""
    known = {verdict.variant: verdict for verdict in remembered(there, digest, probe())}
    seen = {name: verdict.memory_bytes for name, verdict in known.items() if verdict.passed}
    return max(
        needed_bytes(manifest, variant, seen.get(variant.name))
        for variant in manifest.variants
        if variant.name in seen or not seen
    )


def _told(error: Exception) -> str:
    """Return what an error says to a person."""
    if isinstance(error, EdgepackError | _PutOff):
        return str(error)
    return f"{type(error).__name__}: {error}"
