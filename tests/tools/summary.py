"""Print one table over the stages of ``./dev test`` and close with ``N passed, N failed``."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def counts(report: Path) -> tuple[int, int, int]:
    """Return what passed, failed, was skipped; a stage without a report failed as a whole."""
    if not report.exists():
        return 0, 1, 0
    root = ET.parse(report).getroot()  # noqa: S314 - our own pytest wrote it
    suites = root.findall("testsuite")
    total, failures, errors, skipped = (
        sum(int(suite.get(key, "0")) for suite in suites)
        for key in ("tests", "failures", "errors", "skipped")
    )
    failed = failures + errors
    return total - failed - skipped, failed, skipped


def main() -> int:
    """Read the reports of the stages named as ``stage=seconds`` below a folder."""
    folder = Path(sys.argv[1])
    totals = [0, 0, 0]
    print(f"\n{'stage':<12}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for argument in sys.argv[2:]:
        stage, _, seconds = argument.partition("=")
        numbers = counts(folder / f"{stage}.xml")
        totals = [total + number for total, number in zip(totals, numbers, strict=True)]
        print(f"{stage:<12}{numbers[0]:>8}{numbers[1]:>8}{numbers[2]:>9}{seconds:>9}")
    passed, failed, skipped = totals
    print(f"\n{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
