"""Which version a load takes: entered on disk before it is opened, so that a crash counts.

Where it does not open because its files are damaged, or fails while it is on probation, what
was proven before it serves instead, and says so. A signer who is not trusted any more is no
such reason: then nothing serves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from edge_runtime.contract.bundle.installed import open_installed
from edge_runtime.contract.bundle.verify import VerifiedPackage
from edge_runtime.contract.errors import (
    DigestMismatch,
    EdgepackError,
    FilesMismatch,
    StoreCorrupt,
)
from edge_runtime.keys import KeyFiles, check_signer
from edge_runtime.probation import Probation, is_fault
from edge_runtime.state.loads import Load
from edge_runtime.state.model import ModelStore
from edge_runtime.state.record import Version
from edge_runtime.state.store import Store

DAMAGE = (StoreCorrupt, DigestMismatch, FilesMismatch)

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """A version that a load takes, entered in the store before anything of it was opened.

    Attributes:
        model: its part of the store.
        package: its files.
        load: its entry; None where this user may not write one.
        probation: watches it until it is proven; None where it is, or cannot be watched.
        degraded: why it is not what was meant; empty otherwise.
    """

    model: ModelStore
    package: VerifiedPackage
    load: Load | None
    probation: Probation | None
    degraded: str


@dataclass(frozen=True)
class Pick:
    """A version to be entered.

    Attributes:
        model: its part of the store.
        digest: the version.
        back: what to leave the load to, where it cannot be counted; None where nothing.
        counted: its load must be counted, because it is on probation.
        whole: every byte of it has to be looked at, because nothing says that it was active.
        degraded: why it is not what was meant; empty otherwise.
    """

    model: ModelStore
    digest: str
    back: Version | None = None
    counted: bool = False
    whole: bool = False
    degraded: str = ""


def enter(
    store: Store,
    ref: str | None,
    use: Callable[[Entry], T],
    *,
    trust: KeyFiles | None = None,
    watched: bool = True,
) -> T:
    """Enter the version that a load takes and use it; where that fails, what served before it.

    Args:
        store: where it is installed.
        ref: ``NAME``, ``NAME@VERSION``, or None for the only model.
        use: what opens it; it owns the entry's load from then on, unless it raises.
        trust: public key files to believe instead of the store's keys.
        watched: let what happens decide the probation; not where the caller chose a variant.

    Raises:
        BundleError: when anything cannot be believed.
        DeviceError: when it is not installed, or ``use`` fails and nothing else was proven.
    """
    tried: dict[str, EdgepackError] = {}
    while True:
        pick, load = _begun(_pick(store, ref, tried), watched=watched)
        try:
            return _used(store, pick, load, use, trust)
        except EdgepackError as error:
            expected = is_fault(error) if pick.counted else isinstance(error, DAMAGE)
            if not expected or pick.digest in tried:
                raise next(iter(tried.values()), error) from None
            tried[pick.digest] = error


def _pick(store: Store, ref: str | None, tried: dict[str, EdgepackError]) -> Pick:
    """Return what to try next, by the record as it is now: it may have changed meanwhile."""
    model, digests = store.resolve(ref)
    named = ref is not None and "@" in ref
    reading, standing = model.read(), model.standing()
    for digest in digests:
        if digest in tried:
            continue
        meant = standing.version is not None and standing.version.digest == digest
        return Pick(
            model,
            digest,
            back=None if named else reading.state.previous_good,
            counted=meant and standing.probation,
            whole=len(digests) > 1,
            degraded=_joined(reading.degraded, standing.reason if meant else ""),
        )
    first = next(iter(tried.values()))
    back = reading.state.previous_good
    if named or back is None or back.digest in tried:
        raise first
    said = f"what was to serve does not: {first.message}"
    return Pick(model, back.digest, degraded=_joined(reading.degraded, said))


def _begun(pick: Pick, *, watched: bool) -> tuple[Pick, Load | None]:
    """Enter a load; one on probation that cannot be counted is left to what served before."""
    pick = pick if watched else replace(pick, counted=False)
    candidate = pick.model.read().state.candidate
    loads, kept = pick.model.loads, candidate.digest if candidate else ""
    try:
        return pick, loads.begin(pick.digest, durable=pick.counted, candidate=kept)
    except OSError as error:
        if not pick.counted:
            return pick, None
        said = f"this load on probation cannot be counted: {error.strerror}"
        if pick.back is not None:
            said = f"{said}; {pick.back.version} serves until the new version is proven"
        digest = pick.back.digest if pick.back else pick.digest
        degraded = _joined(pick.degraded, said)
        return replace(pick, digest=digest, counted=False, degraded=degraded), None


def _used(
    store: Store,
    pick: Pick,
    load: Load | None,
    use: Callable[[Entry], T],
    trust: KeyFiles | None,
) -> T:
    model, digest, probation = pick.model, pick.digest, None
    if load is not None and pick.counted:
        probation = Probation(model.loads, load, model.loads.marks(digest).rows)
    try:
        package = open_installed(model.version(digest), digest)
        if pick.whole:
            package.check()
        check_signer(store, model, digest, trust)
        return use(Entry(model, package, load, probation, pick.degraded))
    except BaseException as error:
        if probation is not None and isinstance(error, EdgepackError):
            probation.failed(error)
        if load is not None:
            load.end()
        raise


def _joined(*reasons: str) -> str:
    return "; ".join(filter(None, reasons))
