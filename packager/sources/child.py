"""The child that opens saved models: it shuts itself in, unpickles, and answers questions.

Started by ``sandbox.Sandbox`` as ``python -m packager.sources.child``. This is the only file
that unpickles. Requests come over its standard input, answers go out over what was its standard
output; what the opened model prints goes nowhere.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from edge_runtime.contract.errors import EdgepackError
from packager.errors import SourceUnsupported, SourceUntrustedType, SourceVersionSkew
from packager.sources import wire
from packager.sources.confine import Limits, confine
from packager.sources.wire import Message

if TYPE_CHECKING:
    from packager.sources.sklearn_model import SklearnModel

_MESSAGE_LIMIT = 2000


def main() -> None:
    """Serve until the requests end."""
    requests, answers = _private_streams()
    _report_crashes_to(answers)
    start = wire.receive(requests)
    if start is None:
        return
    containment = confine(Limits(**start.head["limits"]))
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
        self._model: SklearnModel | None = None

    def answer(self, request: Message) -> Message:
        """Do what the request's ``do`` says."""
        from packager.sources.sklearn_model import SklearnModel

        head = request.head
        if head["do"] == "load":
            self._model = SklearnModel(load(head["format"], request.payload))
            return Message(self._model.describe())
        if self._model is None:
            message = "no model was loaded"
            raise ValueError(message)
        if head["do"] == "plan":
            return Message(self._model.plan(head["kinds"]))
        if head["do"] == "graph":
            from packager.sources.sklearn_graph import convert

            return Message({}, convert(self._model, head["opset"]))
        rows = wire.unpack(request)
        if head["do"] == "probe":
            accepted, answers = self._model.probe(rows)
            packed = wire.pack(answers)
            return Message({**packed.head, "accepted": accepted}, packed.payload)
        return wire.pack(self._model.answers(rows))


def load(form: str, data: bytes) -> Any:
    """Open a saved estimator. A pickle runs whatever code its writer chose.

    Args:
        form: ``skops`` or ``pickle`` (joblib's files are pickles).
        data: the file's bytes.

    Raises:
        SourceUntrustedType: when a skops file names a type outside the allow-list.
        SourceVersionSkew: when another version of scikit-learn wrote the file.
        SourceUnsupported: when what it holds is no fitted scikit-learn estimator.
    """
    from sklearn.base import BaseEstimator
    from sklearn.exceptions import InconsistentVersionWarning, NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", InconsistentVersionWarning)
            model = _load_skops(data) if form == "skops" else _load_pickle(data)
    except InconsistentVersionWarning as skew:
        saved, installed = skew.original_sklearn_version, skew.current_sklearn_version
        raise SourceVersionSkew(
            f"the model was saved by scikit-learn {saved}, this Python has {installed}",
            hint=f"Install scikit-learn=={saved} beside the packager, or save the model again.",
            expected=saved,
            found=installed,
        ) from None
    if not isinstance(model, BaseEstimator):
        kind = type(model)
        raise SourceUnsupported(
            "the file must hold a scikit-learn estimator, it holds a "
            f"{kind.__module__}.{kind.__qualname__}",
            hint="Save the fitted estimator or pipeline itself.",
            expected="estimator",
            found=f"{kind.__module__}.{kind.__qualname__}",
        )
    try:
        check_is_fitted(model)
    except NotFittedError:
        raise SourceUnsupported(
            f"the {type(model).__name__} must be fitted, it is not",
            hint="Call fit before saving the model.",
            expected="fitted",
            found="not fitted",
        ) from None
    return model


def _load_pickle(data: bytes) -> Any:
    import joblib

    return joblib.load(io.BytesIO(data))


def _load_skops(data: bytes) -> Any:
    import skops.io

    from packager.sources.skops_types import TRUSTED

    named = skops.io.get_untrusted_types(data=data)
    untrusted = sorted(set(named) - TRUSTED)
    if untrusted:
        raise SourceUntrustedType(
            f"the skops file holds {', '.join(untrusted)}, outside scikit-learn's own types",
            hint="Take that part out of the pipeline, or build from a pickle that you trust.",
            expected="types of scikit-learn, scipy and numpy that hold numbers",
            found=untrusted,
        )
    return skops.io.loads(data, trusted=named)


if __name__ == "__main__":
    main()
