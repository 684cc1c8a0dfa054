"""The benchmark of deadlines, with fewer calls: nobody innocent is hit, the page is written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def test_no_innocent_call_fails_and_every_worker_is_bounded(
    checkout: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- watchdog.py -->\nold\n<!-- end -->\nafter\n")
    script = checkout / "benchmarks" / "watchdog.py"
    flags = ("--calls", "8000", "--stops", "3", "--seconds", "1", "--write", page)
    done = subprocess.run(
        [sys.executable, script, *flags], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert text.startswith("before\n<!-- watchdog.py -->\nMeasured with Python ")
    assert text.endswith("<!-- end -->\nafter\n")
    assert "old" not in text
    raced = re.findall(r"^\| [^|]+ \| 8,000 \| ([\d,]+) \| (\d+) \| (\d+) \|$", text, re.M)
    assert [row[1:] for row in raced] == [("0", "0"), ("0", "0")]
    assert raced[0][0] != "0"
    assert raced[1][0] == "0"
