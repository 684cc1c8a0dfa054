"""The calls of ``hot_swap.py``: threads that predict flat out and check every bit."""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from hot_swap_models import Feed
from numpy.typing import NDArray

from edge_runtime.model import Model

Span = tuple[int, int]


@dataclass
class Tally:
    """What one thread did: when each call began and how long it took, in nanoseconds."""

    began: array[int] = field(default_factory=lambda: array("q"))
    took: array[int] = field(default_factory=lambda: array("q"))
    by_version: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Callers:
    """Threads that call a model until they are told to stop.

    Args:
        model: what they call.
        feeds: the rows that they send, in turn.
        references: the bytes of every version's answer to each of them, by version.
        threads: how many.
    """

    def __init__(
        self,
        model: Model,
        feeds: Sequence[Feed],
        references: Mapping[str, Sequence[bytes]],
        threads: int,
    ) -> None:
        self._model = model
        self._feeds = feeds
        self._references = references
        self._stop = threading.Event()
        self.tallies = [Tally() for _ in range(threads)]
        self._threads = [
            threading.Thread(target=self._call, args=(number, tally))
            for number, tally in enumerate(self.tallies)
        ]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, number: int, tally: Tally) -> None:
        turn = number
        while not self._stop.is_set():
            turn = (turn + 1) % len(self._feeds)
            self._one(turn, tally)

    def _one(self, turn: int, tally: Tally) -> None:
        began = time.perf_counter_ns()
        try:
            answers = self._model.predict(self._feeds[turn])
        except Exception as error:  # whatever it is, it is what must not happen
            tally.failed.append(f"{type(error).__name__}: {error}")
            return
        took = time.perf_counter_ns() - began
        tally.began.append(began)
        tally.took.append(took)
        version = answers.version
        if answers["answer"].tobytes() != self._references[version][turn]:
            tally.wrong.append(f"{version} to row {turn}")
        tally.by_version[version] = tally.by_version.get(version, 0) + 1

    @property
    def calls(self) -> int:
        """How many calls were answered."""
        return sum(len(tally.took) for tally in self.tallies)

    @property
    def failed(self) -> list[str]:
        """Every call that raised."""
        return [text for tally in self.tallies for text in tally.failed]

    @property
    def wrong(self) -> list[str]:
        """Every answer that was not its version's."""
        return [text for tally in self.tallies for text in tally.wrong]

    @property
    def versions(self) -> set[str]:
        """The versions that answered."""
        return {version for tally in self.tallies for version in tally.by_version}

    def taken(self, spans: Sequence[Span]) -> NDArray[np.int64]:
        """Return how long each call took that was under way in one of these spans."""
        began = np.concatenate([np.array(tally.began, np.int64) for tally in self.tallies])
        took = np.concatenate([np.array(tally.took, np.int64) for tally in self.tallies])
        inside = np.zeros(len(took), bool)
        for start, end in spans:
            inside |= (began < end) & (began + took > start)
        return np.asarray(took[inside])
