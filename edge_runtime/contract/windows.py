"""A metrics window: what one process saw of one model between two flushes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from edge_runtime.contract.errors import JsonMalformed
from edge_runtime.contract.histogram import Histogram
from edge_runtime.contract.strictjson import Fields

Fact: TypeAlias = str | int | float | bool | None

MAX_EVENTS = 64  # events that one window keeps, the latest
MAX_TEXT = 200  # characters of an error code, of an event's kind, of a fact


@dataclass(slots=True)
class Tally:
    """Counters that only grow and add up exactly.

    Attributes:
        rows: rows predicted.
        latency: one duration a successful prediction; its count is the number of predictions.
        errors: failed predictions by error code.
    """

    rows: int = 0
    latency: Histogram = field(default_factory=Histogram)
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def predictions(self) -> int:
        """How many predictions succeeded."""
        return self.latency.count

    def add(self, other: Tally) -> None:
        """Add another tally, which its own thread may be counting on meanwhile."""
        self.rows += other.rows
        self.latency.add(other.latency)
        for code, times in other.errors.items():
            self.errors[code] = self.errors.get(code, 0) + times

    def minus(self, earlier: Tally) -> Tally:
        """Return what came on top of an earlier state of the same counters."""
        grown = {
            code: times - earlier.errors.get(code, 0) for code, times in self.errors.items()
        }
        return Tally(
            self.rows - earlier.rows,
            self.latency.minus(earlier.latency),
            {code: times for code, times in grown.items() if times},
        )


@dataclass(frozen=True)
class Event:
    """Something that happened once: a load, a swap, a refusal.

    Attributes:
        kind: for example ``load``.
        at_ms: when, in milliseconds since boot.
        facts: what a reader should know of it.
    """

    kind: str
    at_ms: int
    facts: dict[str, Fact]

    def to_json(self) -> dict[str, Any]:
        """Return the form that logs hold."""
        return {"kind": self.kind, "at_ms": self.at_ms, "facts": self.facts}

    @classmethod
    def from_json(cls, value: Any) -> Event:
        """Read what ``to_json`` gave.

        Raises:
            JsonMalformed: when it is not of that form.
        """
        fields = Fields(value, "event", JsonMalformed)
        return cls(
            kind=fields.text("kind", limit=MAX_TEXT),
            at_ms=fields.integer("at_ms"),
            facts=fields.object("facts"),
        )


@dataclass(frozen=True)
class Window:
    """One line of a log.

    Attributes:
        sequence: 0, 1, 2 … within a stream; the same number again replaces the earlier line.
        from_ms: beginning, in milliseconds since boot.
        to_ms: end, in milliseconds since boot.
        clock_s: what the wall clock said at the end, in Unix seconds; a hint, it may be unset.
        tally: what was counted.
        events: what happened once, the latest ``MAX_EVENTS``.
        events_dropped: how many earlier events found no room.
        rss_kib: the process's resident memory at the end; None where unknown.
        cpu_ms: the process's CPU time within the window, all threads.
    """

    sequence: int
    from_ms: int
    to_ms: int
    clock_s: int
    tally: Tally
    events: tuple[Event, ...]
    events_dropped: int
    rss_kib: int | None
    cpu_ms: int

    def to_json(self) -> dict[str, Any]:
        """Return the line's object."""
        memory = {} if self.rss_kib is None else {"rss_kib": self.rss_kib}
        return {
            "kind": "window",
            "sequence": self.sequence,
            "from_ms": self.from_ms,
            "to_ms": self.to_ms,
            "clock_s": self.clock_s,
            "rows": self.tally.rows,
            "latency": self.tally.latency.to_json(),
            "errors": self.tally.errors,
            "events": [event.to_json() for event in self.events],
            "events_dropped": self.events_dropped,
            **memory,
            "cpu_ms": self.cpu_ms,
        }

    @classmethod
    def from_json(cls, value: Any) -> Window:
        """Read what ``to_json`` gave; keys that a newer runtime adds are left alone.

        Raises:
            JsonMalformed: when it is not of that form.
        """
        fields = Fields(value, "window", JsonMalformed)
        codes = fields.object("errors")
        errors = Fields(codes, "window.errors", JsonMalformed)
        return cls(
            sequence=fields.integer("sequence"),
            from_ms=fields.integer("from_ms"),
            to_ms=fields.integer("to_ms"),
            clock_s=fields.integer("clock_s"),
            tally=Tally(
                rows=fields.integer("rows"),
                latency=Histogram.from_json(fields.fields("latency")),
                errors={code: errors.integer(code) for code in codes},
            ),
            events=tuple(
                Event.from_json(event) for event in fields.list("events", limit=MAX_EVENTS)
            ),
            events_dropped=fields.integer("events_dropped"),
            rss_kib=fields.integer("rss_kib") if fields.has("rss_kib") else None,
            cpu_ms=fields.integer("cpu_ms"),
        )
