"""Who has loaded which version, and how the loads of one on probation ended.

``models/NAME/loads/`` belongs to the store's group, because unprivileged processes serve. Every
load is a file there that its process keeps locked: the kernel lets go of the lock when the
process ends, however it ends, so a file that nobody holds is a load that was not ended in
order. Files, each named after the version's digest: ``DIGEST.N.load`` (one load: the process,
the boot, and whether it ever answered), ``DIGEST.rows`` (rows answered by loads that ended in
order), ``DIGEST.good`` and ``DIGEST.failed`` (the verdict, which the next writer of the store
takes into the record). Nothing here is believed beyond that: who may write here could as well
refuse to predict.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.contract.terminal import harmless
from edge_runtime.state import disk, held
from edge_runtime.state.record import State, Version

MAX_LOADS = 256
MAX_REASON = 500
_MODE = 0o664
_LOAD = re.compile(r"(?P<digest>[0-9a-f]{64})\.(?P<number>\d{1,4})\.load")
_MARK = re.compile(r"(?P<digest>[0-9a-f]{64})\.(?P<kind>rows|good|failed)")
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_ANSWERED = "answered"


@dataclass(frozen=True)
class Running:
    """A load that lasts.

    Attributes:
        digest: the version.
        pid: the process.
    """

    digest: str
    pid: int


@dataclass(frozen=True)
class Marks:
    """How the loads of one version ended.

    Attributes:
        failures: loads that ended out of order: a signal, a power cut before the first answer.
        rows: answered by loads that ended in order.
        good: whether it was found good.
        failed: why it was given up; empty when it was not.
    """

    failures: int = 0
    rows: int = 0
    good: bool = False
    failed: str = ""


@dataclass(frozen=True)
class Standing:
    """Which version a load takes.

    Attributes:
        version: that one; None when none was ever activated.
        probation: it is not proven yet: the load must be counted.
        reason: why it is not the one that was activated last, or goes on although it failed;
            empty otherwise.
    """

    version: Version | None
    probation: bool
    reason: str


def standing(state: State, loads: Loads) -> Standing:
    """Return which version the next load takes, by the record and how earlier loads ended."""
    active, candidate = state.active, state.candidate
    if active is None or candidate is None:
        return Standing(active, probation=False, reason="")
    marks = loads.marks(candidate.digest)
    if marks.good:
        return Standing(active, probation=False, reason="")
    reason = failure(state, marks)
    if not reason:
        return Standing(active, probation=True, reason="")
    if state.previous_good is None:
        return Standing(active, probation=True, reason=f"{reason}, and nothing older is proven")
    return Standing(state.previous_good, probation=False, reason=reason)


def failure(state: State, marks: Marks) -> str:
    """Return why the version on probation is given up; empty while it is not."""
    if state.candidate is None:
        return ""
    version = state.candidate.version
    if marks.failed:
        return f"{version} failed on probation: {marks.failed}"
    if marks.failures >= state.tries_left:
        return f"{marks.failures} loads of {version} did not end in order"
    return ""


class Loads:
    """The loads of one model: its directory, which need not be there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def begin(self, digest: str, *, durable: bool, candidate: str = "") -> Load:
        """Enter a load, before anything of the version is opened.

        Args:
            digest: the version.
            durable: let the entry outlast a power cut, as a load on probation must.
            candidate: the version on probation, of which ended loads stay, because they count.

        Raises:
            OSError: when this user may not write here, or the disk is full.
        """
        self._sweep({digest, candidate} if durable else {candidate})
        descriptor, path = self._create(digest)
        try:
            os.fchmod(descriptor, _MODE)
            os.write(descriptor, f"{os.getpid()} {boot()}\n".encode())
            if durable:
                os.fsync(descriptor)
                disk.sync_directory(self.directory)
        except BaseException:
            with suppress(OSError):
                path.unlink()
            os.close(descriptor)
            raise
        return Load(self, digest, path, descriptor, durable=durable)

    def _create(self, digest: str) -> tuple[int, Path]:
        for number in range(MAX_LOADS):
            path = self.directory / f"{digest}.{number}.load"
            descriptor = held.create(path)
            if descriptor is not None:
                return descriptor, path
        raise OSError(None, f"{MAX_LOADS} loads are entered already", str(self.directory))

    def _sweep(self, kept: Collection[str]) -> None:
        """Remove what ended loads left, but of a version on probation, where they count."""
        for path in disk.entries(self.directory):
            named = _LOAD.fullmatch(path.name)
            if named and named["digest"] not in kept and held.words(path):
                with suppress(OSError):
                    held.remove(path)

    def running(self) -> list[Running]:
        """Return the loads that last."""
        found = []
        for path in disk.entries(self.directory):
            named = _LOAD.fullmatch(path.name)
            if named and held.is_held(path):
                found += [
                    Running(named["digest"], pid) for pid in held.numbers(held.words(path)[:1])
                ]
        return found

    def marks(self, digest: str) -> Marks:
        """Return how the loads of a version ended, as far as this user may read it."""
        failures, rows, good, failed = 0, 0, False, ""
        for path in disk.entries(self.directory):
            load, mark = _LOAD.fullmatch(path.name), _MARK.fullmatch(path.name)
            if load and load["digest"] == digest:
                failures += not held.is_held(path) and _counts(held.words(path))
            elif mark and mark["digest"] == digest and held.is_plain(path):
                kind = mark["kind"]
                rows = sum(held.numbers(held.words(path))) if kind == "rows" else rows
                good = good or kind == "good"
                failed = (
                    (" ".join(held.words(path)) or "no reason") if kind == "failed" else failed
                )
        return Marks(failures, rows, good, harmless(failed[:MAX_REASON]))

    def known(self) -> set[str]:
        """Return the versions of whose loads anything is known."""
        found = (
            _LOAD.fullmatch(path.name) or _MARK.fullmatch(path.name)
            for path in disk.entries(self.directory)
        )
        return {named["digest"] for named in found if named}

    def mark_good(self, digest: str) -> None:
        """Say that a version is proven; the next writer of the store records it.

        Raises:
            OSError: when it cannot be written.
        """
        self._write(f"{digest}.good", b"")

    def mark_failed(self, digest: str, reason: str) -> None:
        """Say that a version is given up, and why.

        Raises:
            OSError: when it cannot be written.
        """
        plain = " ".join(reason.split())[:MAX_REASON]
        self._write(f"{digest}.failed", plain.encode(errors="replace"))

    def add_rows(self, digest: str, rows: int) -> None:
        """Count rows that a load answered before it ended in order.

        Raises:
            OSError: when it cannot be written.
        """
        path = self.directory / f"{digest}.rows"
        try:
            descriptor = os.open(path, held.NEW | os.O_APPEND, _MODE)
            os.fchmod(descriptor, _MODE)  # whatever the umask
        except FileExistsError:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | held.PLAIN)
        try:
            # Others may write here: a second name could be one of somebody else's file.
            if os.fstat(descriptor).st_nlink == 1:
                os.write(descriptor, f"{rows}\n".encode())
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def forget(self, digest: str) -> None:
        """Remove whatever is known of a version's loads but those that last.

        Raises:
            OSError: when it cannot be removed.
        """
        for path in disk.entries(self.directory):
            named = _LOAD.fullmatch(path.name) or _MARK.fullmatch(path.name)
            if (named and named["digest"] == digest) or path.name.startswith(f".{digest}."):
                held.remove(path)
        if self.directory.is_dir():
            disk.sync_directory(self.directory)

    def _write(self, name: str, data: bytes) -> None:
        """Put a mark in place, whole or not at all."""
        path = self.directory / name
        temporary = self.directory / f".{name}.{os.getpid()}.tmp"
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, held.NEW, _MODE), "wb") as stream:
            os.fchmod(stream.fileno(), _MODE)  # whatever the umask
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        disk.sync_directory(self.directory)


class Load:
    """One load of this process, from before the graph is opened until the model is closed."""

    def __init__(
        self, loads: Loads, digest: str, path: Path, descriptor: int, *, durable: bool
    ) -> None:
        self.digest = digest
        self._loads = loads
        self._path = path
        self._descriptor = descriptor
        self._durable = durable
        self._process = os.getpid()

    def answered(self) -> None:
        """Note durably that the first answer was given: a power cut later is no failure.

        Raises:
            OSError: when it cannot be written.
        """
        os.write(self._descriptor, f"{_ANSWERED}\n".encode())
        os.fdatasync(self._descriptor)

    def keep_over_exec(self) -> None:
        """Leave the lock to the program that takes this process's place."""
        os.set_inheritable(self._descriptor, True)

    def end(self, rows: int = 0) -> None:
        """End the load in order; in a forked child, only let go of the parent's.

        Args:
            rows: answered since it began; they count towards the end of a probation.
        """
        if self._descriptor < 0:
            return
        if os.getpid() == self._process:
            self._leave(rows)
        os.close(self._descriptor)
        self._descriptor = -1

    def _leave(self, rows: int) -> None:
        with suppress(OSError):
            if self._durable and rows:
                self._loads.add_rows(self.digest, rows)
        with suppress(OSError):  # rows that cannot be counted make no failure of it
            self._path.unlink()
            if self._durable:
                disk.sync_directory(self._loads.directory)


def boot() -> str:
    """Return what tells this boot from others; empty where the kernel does not say."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _counts(words: list[str]) -> bool:
    """Tell whether a load that nobody holds any more counts as a failure.

    An empty file was cut short before anything was loaded. A load that had answered, and whose
    machine was started anew since, met a power cut.
    """
    answered = _ANSWERED in words[2:]
    return bool(words) and not (answered and words[1] != boot())
