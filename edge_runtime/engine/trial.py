"""The trial: a child process proves the variants of a package on this chip, best first.

A wrong model may kill its process (an illegal instruction, no memory) or never return, so the
first load of anything happens where that is a sentence instead of an outage.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_runtime.contract import strictjson
from edge_runtime.contract.bundle.installed import open_installed
from edge_runtime.contract.bundle.verify import VerifiedPackage
from edge_runtime.contract.errors import (
    EdgepackError,
    GoldenMismatch,
    JsonMalformed,
    TrialFailed,
)
from edge_runtime.engine.golden import prove, session_plan
from edge_runtime.engine.limits import confine
from edge_runtime.engine.session import CPU, engine_facts

TIMEOUT_S = 120.0

# -I keeps the environment and the current directory out of the child's imports, so it is told
# where the parent's came from.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from edge_runtime.engine.trial import main; main(sys.argv[2:])"
)


@dataclass(frozen=True)
class Verdict:
    """What the trial found for one variant: ``code`` is empty when it passed."""

    variant: str
    code: str
    reason: str

    @property
    def passed(self) -> bool:
        """Tell whether the variant may serve here."""
        return not self.code

    def to_json(self) -> dict[str, str]:
        """Return the verdict as it is kept and shown."""
        return asdict(self)


def verdict_from_json(value: object) -> Verdict:
    """Read what ``to_json`` returned.

    Raises:
        JsonMalformed: when it is anything else.
    """
    fields = strictjson.Fields(value, "verdict", JsonMalformed)
    verdict = Verdict(fields.text("variant"), fields.text("code"), fields.text("reason"))
    fields.done()
    return verdict


def run_trial(
    directory: Path,
    digest: str,
    variants: Sequence[str],
    *,
    threads: int,
    timeout_s: float = TIMEOUT_S,
) -> tuple[Verdict, ...]:
    """Try variants in order until one passes; the last verdict is then the one that serves.

    Raises:
        GoldenMismatch: when none passes and the first gave wrong answers.
        TrialFailed: when none passes for another reason.
    """
    verdicts: list[Verdict] = []
    for name in variants:
        verdicts.append(_try_in_child(directory, digest, name, threads, timeout_s))
        if verdicts[-1].passed:
            return tuple(verdicts)
    reasons = "; ".join(f"{verdict.variant}: {verdict.reason}" for verdict in verdicts)
    wrong = verdicts[0].code == GoldenMismatch.code
    raise (GoldenMismatch if wrong else TrialFailed)(
        f"one variant must pass its trial on this device, of {len(verdicts)} none did: "
        f"{reasons}",
        hint="Keep the version that runs; build for this processor and engine: see probe.",
        expected="one variant that passes",
        found=[verdict.to_json() for verdict in verdicts],
    )


def _try_in_child(
    directory: Path, digest: str, variant: str, threads: int, timeout_s: float
) -> Verdict:
    task = [str(directory.resolve()), digest, variant, str(threads), str(timeout_s)]
    command = [sys.executable, "-I", "-c", _START, json.dumps(_import_path()), *task]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            cwd="/",
        )
    except subprocess.TimeoutExpired:
        return _failed(variant, f"it did not answer within {timeout_s:g} s")
    except OSError as error:
        reason = f"no child could be started from {sys.executable!r}: {error.strerror}"
        return _failed(variant, reason)
    if done.returncode < 0:
        return _failed(variant, f"it was ended by {_signal_name(-done.returncode)}")
    return _read_verdict(variant, done)


def _import_path() -> list[str]:
    """Return where to import from: never the current directory, where anything may lie.

    It is only searched if this very package came from there, and then after everything else.
    """
    try:
        here = Path.cwd()
    except OSError:
        here = None  # somebody has removed it
    absolute = [entry for entry in sys.path if Path(entry).is_absolute()]
    ours = Path(__file__).resolve().parents[2]
    return [*(entry for entry in absolute if Path(entry).resolve() != here), str(ours)]


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name}, as happens when memory runs out" if name == "SIGKILL" else name


def _read_verdict(variant: str, done: subprocess.CompletedProcess[bytes]) -> Verdict:
    """Read the child's last line; libraries may have printed before it."""
    try:
        last = done.stdout.strip().rpartition(b"\n")[2]
        return verdict_from_json(strictjson.loads(last, what="the trial's answer"))
    except JsonMalformed:
        tail = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        reason = f"exit status {done.returncode} without a verdict: {tail[-200:] or 'silence'}"
        return _failed(variant, reason)


def _failed(variant: str, reason: str) -> Verdict:
    return Verdict(variant, TrialFailed.code, reason)


def main(arguments: Sequence[str]) -> None:
    """Prove one variant of an installed package and print the verdict: the child's life."""
    directory, digest, name, threads, timeout_s = arguments
    try:
        package = open_installed(Path(directory), digest)
        verdict = _prove_within_limits(package, name, int(threads), float(timeout_s))
    except EdgepackError as error:
        verdict = Verdict(name, error.code, error.message)
    except MemoryError:
        verdict = _failed(name, "it ran out of memory")
    sys.stdout.buffer.write(b"\n" + strictjson.dumps(verdict.to_json()) + b"\n")


def _prove_within_limits(
    package: VerifiedPackage, name: str, threads: int, timeout_s: float
) -> Verdict:
    manifest = package.manifest
    variant = manifest.variant(name)
    if variant is None:
        return _failed(name, "the package has no such variant")
    engine_facts()  # imports the engine, whose own memory is not the model's
    # Older engines map weights in a way that counts as private memory.
    sizes = {entry.path: entry.size for entry in manifest.files}
    mapped = sum(sizes[path] for path in variant.weights)
    confine(
        # An accelerator's driver maps far more than it uses.
        memory_bytes=manifest.target.memory_bytes + mapped if variant.provider == CPU else None,
        threads=threads,
        cpu_s=timeout_s * threads,
    )
    prove(package, variant, session_plan(manifest, variant, threads=threads))
    return Verdict(name, "", "golden vectors hold")
