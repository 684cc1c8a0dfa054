"""The child that opens models: it shuts itself in, opens one, and answers questions about it.

Started by ``sandbox.Sandbox`` as ``python -m packager.sources.child``, also in environments of
other library versions. Requests come over its standard input, answers go out over what was its
standard output; what the opened model prints goes nowhere.
"""

from __future__ import annotations

import os
import runpy
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from edge_runtime.contract.errors import EdgepackError
from packager.errors import SourceUnsupported
from packager.sources import wire
from packager.sources.attempts import attempt
from packager.sources.confine import Limits, confine
from packager.sources.loaders import open_model
from packager.sources.opened import OpenedModel
from packager.sources.wire import Message

_MESSAGE_LIMIT = 2000


def main() -> None:
    """Serve until the requests end."""
    requests, answers = _private_streams()
    _report_crashes_to(answers)
    tempfile.tempdir = str(Path.cwd())  # else it is found by writing, which may be refused
    start = wire.receive(requests)
    if start is None:
        return
    containment = confine(
        Limits(**start.head["limits"]), home=Path.cwd(), readable=start.head["readable"]
    )
    wire.send(answers, Message({"containment": containment}))
    server = Server()
    while (request := wire.receive(requests)) is not None:
        try:
            answer = server.answer(request)
        except EdgepackError as error:
            answer = Message(error.as_json())
        wire.send(answers, answer)


def _private_streams() -> tuple[BinaryIO, BinaryIO]:
    """Keep the pipes for ourselves: prints of a model must not reach the protocol."""
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    os.close(nothing)
    return os.fdopen(requests, "rb"), os.fdopen(answers, "wb")


def _report_crashes_to(answers: BinaryIO) -> None:
    """Tell the parent what ended the child: any library may raise anything here."""

    def report(
        kind: type[BaseException], error: BaseException, _: TracebackType | None
    ) -> None:
        crash = {"type": kind.__name__, "message": str(error)[:_MESSAGE_LIMIT]}
        wire.send(answers, Message({"crash": crash}))

    sys.excepthook = report


class Server:
    """Answers the parent's requests about one model."""

    def __init__(self) -> None:
        self._model: OpenedModel | None = None

    def answer(self, request: Message) -> Message:
        """Do what the request's ``do`` says."""
        head = request.head
        if head["do"] == "load":
            self._model = _open(head["form"], Path(head["path"]), head["options"])
            return Message(self._model.describe())
        if self._model is None:
            message = "no model was loaded"
            raise ValueError(message)
        return _about(self._model, request)


def _about(model: OpenedModel, request: Message) -> Message:
    head = request.head
    if head["do"] == "plan":
        return Message(model.plan(head["kinds"]))
    if head["do"] == "graph":
        converted = model.graph(head["opset"])
        return Message({"repairs": list(converted.repairs)}, converted.data)
    if head["do"] == "diagnose":
        return Message({"steps": model.diagnose()})
    rows = wire.unpack(request)
    if head["do"] == "probe":
        accepted, answers = model.probe(rows)
        packed = wire.pack(answers)
        return Message({**packed.head, "accepted": accepted}, packed.payload)
    if head["do"] == "attempt":
        refused, answers = attempt(model.answers, rows, head["blocks"])
        packed = wire.pack(answers)
        return Message({**packed.head, "refused": refused}, packed.payload)
    return wire.pack(model.answers(rows))


def _open(form: str, path: Path, options: Mapping[str, Any]) -> OpenedModel:
    sys.path[:0] = options.get("modules", ())
    for file in options.get("converters", ()):
        _run_converters(Path(file))
    return open_model(form, path, options)


def _run_converters(file: Path) -> None:
    """Run a file of the user's own that registers converters."""
    try:
        runpy.run_path(str(file))
    except Exception as error:  # it is the user's program and may raise anything
        raise SourceUnsupported(
            f"{file.name} must register converters, it raised {type(error).__name__}: {error}",
            hint="Run it alone with the Python that runs the packager, and mend it.",
            expected="converters",
            found=type(error).__name__,
        ) from None


if __name__ == "__main__":
    main()
