"""What metrics logs add up to, over windows, processes and directories."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any, Final

from edge_runtime.contract.histogram import Histogram
from edge_runtime.contract.logs import LogHealth, LogReader
from edge_runtime.contract.segments import Subject
from edge_runtime.contract.windows import Tally, Window

SCHEMA: Final = "edgepack.metrics/1"
_ATTEMPTS: Final = 5
_QUANTILES: Final = {"p50_us": 0.5, "p90_us": 0.9, "p99_us": 0.99, "max_us": 1.0}


@dataclass
class Summary:
    """The sum of all windows.

    Attributes:
        by_subject: predictions, rows, latency and errors of each model, version, variant and
            provider.
        windows: how many windows were added up.
        streams: the recorders that wrote them, one a process and loaded model.
        events: how often each kind of event happened.
        rss_kib: the most resident memory at the end of a window; None where unknown.
        cpu_ms: CPU time of the processes within these windows.
        log: what stands in the way of a complete log.
    """

    by_subject: dict[Subject, Tally] = field(default_factory=dict)
    windows: int = 0
    streams: set[str] = field(default_factory=set)
    events: dict[str, int] = field(default_factory=dict)
    rss_kib: int | None = None
    cpu_ms: int = 0
    log: LogHealth = field(default_factory=LogHealth)

    @property
    def tally(self) -> Tally:
        """Predictions, rows, latency and errors of all."""
        total = Tally()
        for tally in self.by_subject.values():
            total.add(tally)
        return total

    def add(self, stream: str, subject: Subject, window: Window) -> None:
        """Add one window."""
        self.by_subject.setdefault(subject, Tally()).add(window.tally)
        self.windows += 1
        self.streams.add(stream)
        for event in window.events:
            self.events[event.kind] = self.events.get(event.kind, 0) + 1
        if window.rss_kib is not None:
            self.rss_kib = max(window.rss_kib, self.rss_kib or 0)
        self.cpu_ms += window.cpu_ms

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints; ``docs/metrics.md`` describes it."""
        return {
            "schema": SCHEMA,
            **_tally_json(self.tally),
            "windows": self.windows,
            "streams": len(self.streams),
            "events": dict(sorted(self.events.items())),
            "process": {"rss_max_kib": self.rss_kib, "cpu_ms": self.cpu_ms},
            "models": [
                {**asdict(subject), **_tally_json(tally)} for subject, tally in self._parts()
            ],
            "log": asdict(self.log),
        }

    def text(self) -> str:
        """Return what a person reads."""
        total = self.tally
        lines = [
            f"predictions  {total.predictions} (rows {total.rows}, windows {self.windows}, "
            f"recorders {len(self.streams)})",
            f"errors       {_counts_text(total.errors)}",
            f"latency      {_latency_text(total.latency)}",
            f"process      {_process_text(self.rss_kib, self.cpu_ms)}",
            f"events       {_counts_text(self.events)}",
        ]
        lines += [f"log          {self.log.text()}"]
        parts = self._parts()
        if len(parts) == 1:  # the figures above are its own
            return "\n".join([f"model        {_subject_text(parts[0][0])}", *lines])
        lines += [
            f"  {_subject_text(subject)}: predictions {tally.predictions}, "
            f"errors {sum(tally.errors.values())}, {_latency_text(tally.latency)}"
            for subject, tally in parts
        ]
        return "\n".join(lines)

    def _parts(self) -> list[tuple[Subject, Tally]]:
        return sorted(self.by_subject.items(), key=lambda part: astuple(part[0]))


def summarize(directories: Iterable[Path]) -> Summary:
    """Add up the logs of any number of directories, while processes may be writing to them.

    Never fails over what the directories hold; ``Summary.log`` says what could not be read.
    """
    places = tuple(directories)
    for _ in range(_ATTEMPTS):
        reader = LogReader(places)
        summary = Summary(log=reader.health)
        for stream, subject, window in reader:
            summary.add(stream, subject, window)
        if not reader.vanished:
            break  # else the cap dropped a segment under our eyes: its counter is in a new one
    return summary


def _subject_text(subject: Subject) -> str:
    return f"{subject.model} {subject.version} ({subject.variant} on {subject.provider})"


def _tally_json(tally: Tally) -> dict[str, Any]:
    return {
        "predictions": tally.predictions,
        "rows": tally.rows,
        "errors": dict(sorted(tally.errors.items())),
        "latency": _latency_json(tally.latency),
    }


def _latency_json(latency: Histogram) -> dict[str, float | None]:
    values = {name: latency.quantile(share) for name, share in _QUANTILES.items()}
    values["mean_us"] = latency.mean()
    return {
        name: None if nanoseconds is None else round(nanoseconds / 1000, 3)
        for name, nanoseconds in values.items()
    }


def _counts_text(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {times}" for name, times in sorted(counts.items())) or "none"


def _latency_text(latency: Histogram) -> str:
    if not latency.count:
        return "unknown"
    return ", ".join(
        f"{name.removesuffix('_us')} {_duration(latency.quantile(share) or 0.0)}"
        for name, share in _QUANTILES.items()
    )


def _duration(nanoseconds: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds / 1e3:.3g} us"


def _process_text(rss_kib: int | None, cpu_ms: int) -> str:
    memory = (
        "memory unknown" if rss_kib is None else f"at most {rss_kib / 1024:.0f} MiB resident"
    )
    return f"{memory}, {cpu_ms / 1000:.1f} s of CPU time"
