"""The benchmark of large models, on a small one: memory must not grow with the weights."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

MEGABYTES = 200
PRIVATE_LIMIT = 100  # megabytes; half of the weights held anywhere would be as much


def test_no_step_holds_the_weights_in_private_memory(checkout: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- large_model.py -->\nold\n<!-- end -->\nafter\n")
    script = checkout / "benchmarks" / "large_model.py"
    flags = ("--megabytes", str(MEGABYTES), "--room", tmp_path, "--write", page)
    done = subprocess.run(
        [sys.executable, script, *flags, "--one-file", "--limit", "2.2"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("<!-- end -->\nafter\n")
    rows = re.findall(r"^\| ([^|]+) \| [\d,]+ \| [\d.]+ \| ([\d,]+) \| [\d.]+ \|$", text, re.M)
    private = {name: int(figure.replace(",", "")) for name, figure in rows}
    assert {"build: source", "verify", "install, with its trial"} < private.keys()
    assert max(private.values()) < PRIVATE_LIMIT, private
    assert list(tmp_path.iterdir()) == [page]
