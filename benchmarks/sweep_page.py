"""What the sweep found, as lines on the terminal and as the page of the documentation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

from sweep_data import LEARN, ROWS, SEEN
from sweep_judge import AGREES, BROKEN, NOTHING_TO_CONVERT, REFUSED, WRONG, Verdict

_LIBRARIES = ("scikit-learn", "skl2onnx", "onnx", "onnxruntime")
_REASON = 160
# The worst word of the easy and the hard rows is the estimator's.
_WORST_FIRST = (BROKEN, WRONG, REFUSED, NOTHING_TO_CONVERT, AGREES)

_HEAD = """\
# scikit-learn: what converts

Every estimator of `sklearn.utils.all_estimators()`, and {traps} conversions that are known to
go wrong easily, learned on easy and on hard rows (noisy, collinear, with ties, and with missing
values where it takes them), passed through the gate of `packager build`, and was then judged
by code that shares nothing with the gate. **Agrees** means that on {fresh:,} rows which
neither the converter nor the gate saw every label is the same, but where the estimator itself
is in doubt, that figures differ by no more than float32 explains, and that the answers vary;
**refused** means that the build stops with the reason given. A conversion that passed the gate
and was wrong would be listed as **silently wrong**.

Made by `python benchmarks/sklearn_sweep.py --write docs/sklearn.md` with {versions}.
Of {rows:,} rows each learned on {learn:,} where nothing else is said; the gate saw {seen:,}.
"""


@dataclass(frozen=True)
class Line:
    """One line of a table.

    Attributes:
        name: the estimator's class, or the trap in words.
        made_with: what was chosen beside the defaults.
        found: the verdict on each kind of rows.
    """

    name: str
    made_with: str
    found: Sequence[Verdict]

    @property
    def worst(self) -> Verdict:
        """The verdict that counts."""
        return min(self.found, key=lambda one: _WORST_FIRST.index(one.verdict))

    @property
    def largest(self) -> float:
        """The largest difference on any rows."""
        return max(one.largest for one in self.found)

    def cells(self) -> list[str]:
        """Return the line's cells for the page."""
        worst = self.worst
        agrees = worst.verdict == AGREES
        rows = sum(one.rows for one in self.found)
        note = self.made_with if agrees else self.reason()
        figures = [f"{rows:,}", f"{self.largest:.0e}"] if agrees else ["", ""]
        return [self.name, worst.verdict, *figures, note.replace("|", "\\|")]

    def reason(self) -> str:
        """Return on one line why it does not agree."""
        text = " ".join(self.worst.reason.split())
        text = text if len(text) <= _REASON else f"{text[: _REASON - 1]}…"
        easy = len(self.found) > 1 and self.found[0].verdict == AGREES
        return f"on hard rows: {text}" if easy else text

    def __str__(self) -> str:
        told = f"largest difference {self.largest:.0e}"
        if self.worst.verdict != AGREES:
            told = self.reason()
        return f"{self.worst.verdict:15} {self.name}: {told}"


def counted(lines: Sequence[Line]) -> dict[str, int]:
    """Return how many lines have each verdict, those that none has too."""
    found = Counter(line.worst.verdict for line in lines)
    return {word: found[word] for word in (AGREES, REFUSED, WRONG, NOTHING_TO_CONVERT, BROKEN)}


def summary(lines: Sequence[Line]) -> str:
    """Return the totals in one sentence."""
    told = counted(lines)
    if not told[BROKEN]:
        del told[BROKEN]
    return f"{len(lines)} estimators: " + ", ".join(f"{n} {word}" for word, n in told.items())


def page(estimators: Sequence[Line], traps: Sequence[Line]) -> str:
    """Return the page in Markdown."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _LIBRARIES)
    head = _HEAD.format(
        traps=len(traps),
        fresh=ROWS - LEARN - SEEN,
        versions=versions,
        rows=ROWS,
        learn=LEARN,
        seen=SEEN,
    )
    return "\n".join(
        [
            head,
            f"**{summary(estimators)}.**",
            "",
            *_table("estimator", estimators),
            "",
            "## Traps",
            "",
            "Where converters are known to answer wrongly without a word, or not at all.",
            "",
            *_table("trap", traps),
            "",
        ]
    )


def _table(first: str, lines: Sequence[Line]) -> list[str]:
    head = [first, "verdict", "rows", "largest difference", "made with, or why not"]
    rule = ["---", "---", "--:", "--:", "---"]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *(x.cells() for x in lines))]
