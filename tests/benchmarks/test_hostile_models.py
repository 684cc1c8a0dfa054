"""The table of hostile models: made by its script, which fails where one is not contained."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_script_writes_its_table_into_the_page(checkout: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- hostile_models.py -->\nold\n<!-- end -->\nafter\n")
    script = checkout / "benchmarks" / "hostile_models.py"
    done = subprocess.run(
        [sys.executable, script, "--timeout", "2", "--write", page],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("<!-- end -->\nafter\n")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    found = [row[1].partition(":")[0].strip("`") for row in rows]
    refused = ["trial-failed", "trial-failed", "graph-refused", "trial-failed", "trial-failed"]
    assert found == [*refused, "passed", "passed"]
