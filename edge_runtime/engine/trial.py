"""The trial: a child process proves the variants of a package on this chip, best first.

A wrong model may kill its process (an illegal instruction, no memory) or never return, so the
first load of anything happens where that is a sentence instead of an outage.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_runtime.contract import strictjson
from edge_runtime.contract.bundle.verify import open_installed
from edge_runtime.contract.errors import (
    EdgepackError,
    GoldenMismatch,
    JsonMalformed,
    TrialFailed,
)
from edge_runtime.engine.golden import prove, session_plan

TIMEOUT_S = 120.0
_PASSED = "golden vectors hold"


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
        f"one variant must pass its trial on this device, none of {len(verdicts)} did: {reasons}",
        hint="Keep the version that runs; build for this processor and engine: see probe.",
        expected="one variant that passes",
        found=[verdict.to_json() for verdict in verdicts],
    )


def _try_in_child(
    directory: Path, digest: str, variant: str, threads: int, timeout_s: float
) -> Verdict:
    command = [sys.executable, "-m", __name__, str(directory), digest, variant, str(threads)]
    try:
        done = subprocess.run(  # noqa: S603 - our own module, arguments are not a shell's
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        reason = f"it did not answer within {timeout_s:.0f} s"
        return Verdict(variant, TrialFailed.code, reason)
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return Verdict(variant, TrialFailed.code, f"it was ended by {name}")
    return _read_verdict(variant, done)


def _read_verdict(variant: str, done: subprocess.CompletedProcess[bytes]) -> Verdict:
    try:
        answer = strictjson.loads(done.stdout, what="the trial's answer")
    except JsonMalformed:
        tail = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        reason = f"exit status {done.returncode} without an answer: {' '.join(tail)}"
        return Verdict(variant, TrialFailed.code, reason)
    return Verdict(variant, str(answer["code"]), str(answer["reason"]))


def main(arguments: Sequence[str]) -> int:
    """Prove one variant of an installed package and print the verdict: the child's whole life."""
    directory, digest, name, threads = arguments
    verdict = Verdict(name, "", _PASSED)
    try:
        package = open_installed(Path(directory), digest)
        variant = package.manifest.variant(name)
        if variant is None:
            verdict = Verdict(name, TrialFailed.code, "the package has no such variant")
        else:
            prove(package, variant, session_plan(package.manifest, variant, threads=int(threads)))
    except EdgepackError as error:
        verdict = Verdict(name, error.code, error.message)
    except MemoryError:
        verdict = Verdict(name, TrialFailed.code, "it ran out of memory")
    answer: dict[str, Any] = verdict.to_json()
    sys.stdout.buffer.write(strictjson.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
