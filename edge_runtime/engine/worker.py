"""The worker: a process that answers for one installed version, and is ended if it does not.

It belongs to the process that started it and talks to nobody else. ``isolated.py`` is the other
end of its two pipes, ``frames.py`` what goes through them.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Final

import numpy as np

from edge_runtime.contract.bundle.installed import open_installed
from edge_runtime.contract.errors import EdgepackError, NotInstalled, PredictionFailed
from edge_runtime.engine import frames
from edge_runtime.engine.frames import Frame, Part
from edge_runtime.engine.golden import session_plan
from edge_runtime.engine.limits import confine
from edge_runtime.engine.session import CPU, Session, engine_facts, open_session
from edge_runtime.engine.watchdog import WATCHDOG

_LOOK_AGAIN_MS: Final = 1000


def main(arguments: Sequence[str]) -> None:
    """Open a version and answer what comes in until nothing can come any more.

    Args:
        arguments: the version's directory and digest, the variant, how many threads, how many
            bytes of arrays may go in or out at once, and who started it.
    """
    directory, digest, variant, threads, limit, parent = arguments
    _end_with(int(parent))
    reader, writer = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # whatever a library prints is no answer
    try:
        session = _open(Path(directory), digest, variant, int(threads), int(limit))
    except EdgepackError as error:
        _send(writer, _refusal(error, 0))
        return
    os.dup2(nowhere, 2)  # nobody reads it from here on
    _send(writer, frames.parts(Frame("ready")))
    while frame := _receive(reader, int(limit)):
        _send(writer, _answer(session, frame, int(limit)))


def _end_with(parent: int) -> None:
    """End this process with the one that started it, even in the middle of a prediction.

    Not by a signal of the kernel's, which already comes when the *thread* ends that started it.
    """

    def watch() -> None:
        hung_up = select.poll()
        hung_up.register(0, 0)
        # A process that was forked meanwhile may keep the pipe open, hence also the look.
        while not hung_up.poll(_LOOK_AGAIN_MS) and os.getppid() == parent:
            pass
        os._exit(0)

    threading.Thread(target=watch, name="edgepack-parent", daemon=True).start()


def _open(directory: Path, digest: str, name: str, threads: int, limit: int) -> Session:
    package = open_installed(directory, digest)
    manifest = package.manifest
    variant = manifest.variant(name)
    if variant is None:
        raise NotInstalled(
            f"the worker was to serve {name!r}, the package has no such variant",
            hint="Load the model again.",
            expected=name,
            found=[item.name for item in manifest.variants],
        )
    engine_facts()  # imports the engine, whose own memory is not the model's
    WATCHDOG.start()
    sizes = {entry.path: entry.size for entry in manifest.files}
    confine(
        # An accelerator's driver maps far more than it uses.
        memory_bytes=manifest.target.memory_bytes + 2 * limit
        if variant.provider == CPU
        else None,
        threads=threads,
        cpu_s=None,
        mapped_bytes=sum(sizes[path] for path in variant.weights),
    )
    plan = session_plan(manifest, variant, threads=threads)
    return open_session(package.model(variant), replace(plan, threads=threads))


def _answer(session: Session, frame: Frame, limit: int) -> list[Part]:
    number, timeout_ms = frame.facts["number"], frame.facts["timeout_ms"]
    try:
        answers = session.run(frame.arrays, timeout_ms=timeout_ms)
        parts = frames.parts(Frame("answers", {"number": number}, answers))
    except EdgepackError as error:
        return _refusal(error, number)
    size = sum(map(len, parts[2:]))
    if size > limit:
        return _refusal(
            PredictionFailed(
                f"an isolated model may answer {limit} bytes at once, these are {size}",
                hint="Give fewer rows at once, or build for a profile with more memory.",
                expected=limit,
                found=size,
            ),
            number,
        )
    return parts


def _refusal(error: EdgepackError, number: int) -> list[Part]:
    return frames.parts(Frame("refused", {"number": number, **error.as_json()["error"]}))


def _send(writer: IO[bytes], parts: list[Part]) -> None:
    writer.writelines(parts)
    writer.flush()


def _receive(reader: IO[bytes], limit: int) -> Frame | None:
    """Return the next frame; None when there will be none."""
    start = reader.read(frames.LENGTHS.size)
    if not start:
        return None
    head, size = frames.lengths(start, limit=limit)
    text = reader.read(head)
    body = np.empty(size, np.uint8)
    reader.readinto(body.data)  # type: ignore[attr-defined]
    return frames.unpack(text, body)
