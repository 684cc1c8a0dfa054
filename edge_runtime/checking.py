"""Is all that is installed still what was installed? Everything is read, nothing is written.

Every byte of every version is hashed against the signed manifest, its signature is verified
anew; record, keys, and who may write where are looked at. What is wrong is collected and not
raised, so that one damaged file does not hide another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.contract.bundle.installed import open_installed
from edge_runtime.contract.bundle.manifest import is_digest
from edge_runtime.contract.errors import (
    EdgepackError,
    SignerUntrusted,
    StoreCorrupt,
    StoreUnreadable,
)
from edge_runtime.keys import check_signature
from edge_runtime.metrics import summarize
from edge_runtime.modes import writable, writable_places
from edge_runtime.state import disk
from edge_runtime.state.model import Installed, ModelStore
from edge_runtime.state.record import Reading, State
from edge_runtime.state.store import Store

if TYPE_CHECKING:
    from edge_runtime.contract.bundle.signature import Trusted

SERVES, GOES_BACK, INSTALLED = "serves", "to go back to", "installed"


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was installed.

    Attributes:
        place: what is concerned, for people.
        error: the error that meeting it would be.
        urgency: 0 where what serves is concerned; higher is less.
        model: the model of a version that a bundle can mend; empty otherwise.
        digest: of that version; empty otherwise.
    """

    place: str
    error: EdgepackError
    urgency: int = 0
    model: str = ""
    digest: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the form that ``--json`` prints."""
        return {
            "place": self.place,
            "code": self.error.code,
            "message": self.error.message,
            "hint": self.error.hint,
            "digest": self.digest or None,
        }


@dataclass(frozen=True)
class Checked:
    """One version that was checked.

    Attributes:
        model: the model's name.
        version: for people; empty where the manifest does not read.
        digest: of its manifest.
        role: what it is to the model.
        files: how many files were hashed.
        size: their bytes.
        sound: whether all of it is as it was installed.
    """

    model: str
    version: str
    digest: str
    role: str
    files: int
    size: int
    sound: bool

    @property
    def title(self) -> str:
        """The version as people name it."""
        return f"{self.model} {self.version or self.digest[:16] + '…'}"


@dataclass
class Report:
    """What was found in a store.

    Attributes:
        keys: how many keys are trusted.
        versions: what was checked.
        findings: what is wrong.
        notes: what is worth knowing and is not wrong.
    """

    keys: int = 0
    versions: list[Checked] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def worst(self) -> Finding | None:
        """The most urgent finding."""
        return min(self.findings, key=lambda finding: finding.urgency, default=None)

    def raise_worst(self) -> None:
        """Raise the most urgent finding, with all of them as its values.

        Raises:
            EdgepackError: of its kind; the exit code is that of the worst.
        """
        worst = self.worst
        if worst is None:
            return
        count = len(self.findings)
        more = f"; {count} findings in all" if count > 1 else ""
        mendable = worst.digest and not isinstance(worst.error, SignerUntrusted)
        raise type(worst.error)(
            f"{worst.place}: {worst.error.message}{more}",
            hint="Mend it: edge-runtime verify --repair BUNDLE"
            if mendable
            else worst.error.hint,
            findings=[finding.to_json() for finding in self.findings],
        )


def check_store(
    store: Store,
    keys: Sequence[Trusted] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Report:
    """Check all that a store holds.

    Args:
        store: the store.
        keys: believe these keys instead of the store's.
        tell: is told what is being read, because that may take minutes.

    Raises:
        StoreUnreadable: when there is no store, or it cannot be read.
    """
    if not store.root.is_dir():
        raise StoreUnreadable(
            f"a store was to be checked, there is none at {store.root} ({store.origin})",
            hint="Name the store: --store DIR",
            path=str(store.root),
            reason="it is not there",
        )
    report = Report()
    keys = _trust(store, keys, report)
    for name in store.models():
        _Model(store.model(name), keys, report, tell).check()
    for path, error in writable_places(store.root):
        report.findings.append(Finding(path, error, urgency=2))
    if store.incoming.is_dir():
        report.notes.append(
            "incoming/ is what an interrupted command left, or one that runs; the next command "
            "that writes removes it"
        )
    return report


def _trust(
    store: Store, keys: Sequence[Trusted] | None, report: Report
) -> Sequence[Trusted] | None:
    """Return the keys to believe; None where there are none, which is a finding."""
    try:
        report.keys = len(store.trust.fingerprints())
        return store.trust.keys() if keys is None else keys
    except EdgepackError as error:
        report.findings.append(Finding("trust", error))
        return keys


class _Model:
    """Checks one model into a report."""

    def __init__(
        self,
        model: ModelStore,
        keys: Sequence[Trusted] | None,
        report: Report,
        tell: Callable[[str], None],
    ) -> None:
        self._model = model
        self._keys = keys
        self._report = report
        self._tell = tell

    def check(self) -> None:
        model = self._model
        try:
            reading, installed = model.read(), model.installed()
        except EdgepackError as error:
            self._report.findings.append(Finding(model.name, error))
            return
        if reading.degraded:
            self._find(_record_error(reading), 0 if reading.lost else 1)
        roles = _roles(reading.state)
        for item in installed:
            self._check_version(item, roles.pop(item.digest, INSTALLED))
        for digest, role in roles.items():
            self._report.findings.append(self._absent(digest, role, reading.state))
        for path in disk.entries(model.versions):
            if not is_digest(path.name):
                self._find(_stranger(path), 2)
        health = summarize([model.metrics]).log
        if health.foreign_files or not health.text().startswith("complete"):
            self._report.notes.append(f"{model.name}, metrics: {health.text()}")

    def _find(self, error: EdgepackError, urgency: int) -> None:
        self._report.findings.append(Finding(self._model.name, error, urgency))

    def _absent(self, digest: str, role: str, state: State) -> Finding:
        known = (state.active, state.previous_good, state.candidate)
        version = next(item.version for item in known if item and item.digest == digest)
        error = StoreCorrupt(
            f"the version that is {role} must be installed, {digest[:16]}… is not there",
            hint="Bring its bundle: edge-runtime verify --repair BUNDLE",
            expected=digest,
            found=None,
        )
        return Finding(
            f"{self._model.name} {version}", error, _urgency(role), self._model.name, digest
        )

    def _check_version(self, item: Installed, role: str) -> None:
        manifest = item.manifest
        title = f"{self._model.name} {manifest.version if manifest else item.digest[:16] + '…'}"
        self._tell(f"checking {title}")
        found = self._fault(item)
        if found and not item.directory.is_dir():
            return  # it was removed meanwhile
        files = manifest.files if manifest else ()
        self._report.versions.append(
            Checked(
                model=self._model.name,
                version=manifest.version if manifest else "",
                digest=item.digest,
                role=role,
                files=len(files),
                size=sum(entry.size for entry in files),
                sound=found is None,
            )
        )
        if found:
            finding = Finding(title, found, _urgency(role), self._model.name, item.digest)
            self._report.findings.append(finding)

    def _fault(self, item: Installed) -> EdgepackError | None:
        try:
            open_installed(item.directory, item.digest).check()
            if self._keys is not None:
                check_signature(item.directory, item.digest, self._keys)
        except EdgepackError as error:
            return error
        paths = (item.directory, *item.directory.rglob("*"))
        return next(filter(None, (writable(path, by_owner=True) for path in paths)), None)


def _record_error(reading: Reading) -> StoreCorrupt:
    hint = "The next command that changes the model mends it, and so does verify --repair."
    if reading.lost:
        hint = "Install the bundle that is to serve again: edge-runtime install BUNDLE"
    return StoreCorrupt(
        f"the record must stand in two sound copies: {reading.degraded}",
        hint=hint,
        expected="two sound copies",
        found=reading.degraded,
    )


def _stranger(path: Path) -> StoreCorrupt:
    return StoreCorrupt(
        f"{path.parent} must hold versions named by their digests, found {path.name!r}",
        hint=f"See who put it there, then remove it: {path}",
        path=str(path),
        expected="versions",
        found=path.name,
    )


def _roles(state: State) -> dict[str, str]:
    """Return what the record wants of which version."""
    found: dict[str, str] = {}
    for version, role in ((state.previous_good, GOES_BACK), (state.active, SERVES)):
        if version is not None:
            found[version.digest] = role
    return found


def _urgency(role: str) -> int:
    return (SERVES, GOES_BACK, INSTALLED).index(role)
