"""Which of scikit-learn's estimators convert, and whether their graphs answer as they do.

    python benchmarks/sklearn_sweep.py [--only NAME…] [--data easy|hard|both] [--write FILE]

Every estimator of ``sklearn.utils.all_estimators`` learns on a part of 6,000 rows, passes the
gate of ``packager build`` on another part, and is judged on a third; and so do conversions that
are known to go wrong easily. Each runs in a process of its own, with a limit of time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
import warnings
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path

from sweep_cases import Case, cases, fit
from sweep_data import LEARN, SEEN, make_table
from sweep_judge import BROKEN, NOTHING_TO_CONVERT, REFUSED, Verdict, verdict
from sweep_page import Line, page, summary
from sweep_traps import traps
from threadpoolctl import threadpool_limits

import packager.sources.sklearn.graph  # noqa: F401 - once, not in every process

LIMIT_SECONDS = 120.0
WORKERS = 2
KINDS = ("easy", "hard")


def main() -> None:
    """Sweep, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=(), help="estimators or traps by name")
    parser.add_argument("--data", choices=(*KINDS, "both"), default="both")
    parser.add_argument("--write", type=Path, help="a page to write the tables to")
    options = parser.parse_args()
    if options.write and (options.only or options.data != "both"):
        parser.error("--write takes the whole sweep: leave out --only and --data")
    kinds = KINDS if options.data == "both" else (options.data,)
    warnings.simplefilter("ignore")
    tables = [
        list(swept(_chosen(listed, options.only), kinds)) for listed in (cases(), traps())
    ]
    print(summary(tables[0]))
    if options.write:
        options.write.write_text(page(*tables), encoding="utf-8")


def _chosen(listed: Sequence[Case], only: Sequence[str]) -> list[Case]:
    return [case for case in listed if not only or case.name in only]


def swept(chosen: Sequence[Case], kinds: Sequence[str]) -> Iterator[Line]:
    """Yield a line for each case, in order, and print it; two are worked on at a time."""
    running: dict[Connection, tuple[Case, multiprocessing.Process, float]] = {}
    ready: dict[str, Line] = {}
    left, told = list(chosen), 0
    while told < len(chosen):
        while left and len(running) < WORKERS:
            case = left.pop(0)
            receive, process = _started(case, kinds)
            running[receive] = (case, process, time.monotonic() + LIMIT_SECONDS)
        soonest = min(end for _, _, end in running.values())
        done = wait(list(running), max(0.0, soonest - time.monotonic()))
        late = [one for one in running if running[one][2] <= time.monotonic()]
        for receive in dict.fromkeys([*done, *late]):
            case, process, _ = running.pop(receive)
            found = (
                _received(receive) if receive in done else _failed(kinds, REFUSED, "too slow")
            )
            ready[case.name] = Line(case.name, case.made_with(), found)
            process.kill()
            process.join()
        while told < len(chosen) and chosen[told].name in ready:
            line = ready[chosen[told].name]
            print(line, flush=True)
            yield line
            told += 1


def _started(case: Case, kinds: Sequence[str]) -> tuple[Connection, multiprocessing.Process]:
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(send, case, kinds))
    process.start()
    send.close()
    return receive, process


def _work(send: Connection, case: Case, kinds: Sequence[str]) -> None:
    try:
        with threadpool_limits(1):
            send.send([judged(case, hard=kind == "hard") for kind in kinds])
    except Exception as error:  # an estimator that does not fit must not end the sweep
        send.send(_failed(kinds, BROKEN, f"{type(error).__name__}: {error}"))


def _received(receive: Connection) -> list[Verdict]:
    try:
        return receive.recv()
    except EOFError:
        return _failed(KINDS, BROKEN, "its process died")


def _failed(kinds: Sequence[str], word: str, reason: str) -> list[Verdict]:
    return [Verdict(word, reason) for _ in kinds]


def judged(case: Case, *, hard: bool) -> Verdict:
    """Fit a case, convert it and judge it; the three parts of its rows are disjoint."""
    unfitted = case.make()
    if not any(hasattr(one, name) for one in (unfitted, type(unfitted)) for name in _ANSWERS):
        return Verdict(NOTHING_TO_CONVERT, "it has no predict or transform for new rows")
    table = make_table(case.form, case.target, hard=hard, missing=case.missing)
    fitted = fit(case, table.take(slice(case.learn)))
    seen, fresh = slice(LEARN, LEARN + SEEN), slice(LEARN + SEEN, None)
    return verdict(fitted, table.take(seen), table.take(fresh))


_ANSWERS = ("predict", "transform")


if __name__ == "__main__":
    main()
