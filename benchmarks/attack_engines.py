"""What engines do by themselves with the graphs that the walker refuses.

    python benchmarks/attack_engines.py 1.20.1=PYTHON 1.32.0=PYTHON … > engines.json

Each graph is opened and run in a process of its own, from a file and from bytes, by every
engine named: a version, and a Python that has it and numpy. Memory is limited to 6 GiB there,
time to 20 seconds. The worse of the two ways is told.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests/support")]

import hostile_graphs  # noqa: E402 - found by the path above

SECONDS = 20
MUCH = 500  # MB beyond what the process had before it opened the graph
ONE = b"\0\0\x80?"

CHILD = """
import json, os, resource, sys
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy, onnxruntime
assert onnxruntime.__version__ == sys.argv[3], onnxruntime.__version__
onnxruntime.set_default_logger_severity(4)
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
model = sys.argv[1] if sys.argv[2] == "path" else open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
done = {"opened": False, "answered": False}
try:
    session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    done["opened"] = True
    feed = {i.name: numpy.ones(1, numpy.float32) for i in session.get_inputs()}
    session.run(None, feed)
    done["answered"] = True
except Exception:
    pass
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps({**done, "megabytes": grown * 1024 // 1_000_000}))
"""


def main() -> None:
    """Print what every engine does with every graph."""
    engines = dict(item.split("=", 1) for item in sys.argv[1:])
    if not engines:
        sys.exit(__doc__)
    table = []
    for hostile in hostile_graphs.LISTED:
        data = hostile.make()
        row = {name: done(Path(python), name, data) for name, python in engines.items()}
        table.append({"what": hostile.what, "engines": row})
        print(json.dumps(table[-1]), file=sys.stderr)
    print(json.dumps(table))


def done(python: Path, version: str, data: bytes) -> str:
    """Return in words what an engine does with a graph."""
    found = []
    with tempfile.TemporaryDirectory() as room:
        home = Path(room, "model")
        home.mkdir()
        (home / "m.onnx").write_bytes(data)
        for place in (home, home.parent):
            (place / hostile_graphs.SECRET).write_bytes(ONE * 4)
        for way in ("path", "bytes"):
            command = [str(python), "-c", CHILD, str(home / "m.onnx"), way, version]
            found.append(_ended(command, home))
    return max(found)[1]


def _ended(command: list[str], home: Path) -> tuple[int, str]:
    """Return how bad it was, and in words."""
    try:
        ended = subprocess.run(
            command, cwd=home, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return 5, f"no end in {SECONDS} s"
    if ended.returncode < 0:
        return 6, f"dies by signal {-ended.returncode}"
    if ended.returncode:
        sys.exit(ended.stderr)
    told: dict[str, Any] = json.loads(ended.stdout)
    how = "opens it" if told["opened"] else "refuses"
    if told["megabytes"] > MUCH:
        return 4, f"{how}, with {told['megabytes'] / 1000:.1f} GB"
    return int(told["opened"]), how


if __name__ == "__main__":
    main()
