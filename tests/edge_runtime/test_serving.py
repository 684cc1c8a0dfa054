"""One version in the place of another: what calls that come in between wait for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import devices
import pytest
import tables

from edge_runtime.contract.errors import DeadlineExceeded, InputName, ModelLoadFailed
from edge_runtime.model import Model

FEED = devices.lookup().feed


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Model]:
    with tables.served(tmp_path, devices.lookup()) as model:
        yield model


def test_an_answer_names_the_version_that_gave_it(model: Model) -> None:
    answers = model.predict(FEED)
    assert (answers.version, answers.digest) == (model.version, model.served.digest)
    assert dict(answers).keys() == {"value"}


def test_calls_wait_while_the_model_is_held_and_go_on_with_what_comes(model: Model) -> None:
    retired = model.hold()
    assert model.held
    assert model.status()["version"] == "1.4.0"
    assert model.provider == "CPUExecutionProvider"
    answers: list[object] = []
    caller = threading.Thread(target=lambda: answers.append(model.predict(FEED)))
    caller.start()
    assert answers == []
    model.swap(retired.revived())
    caller.join()
    assert len(answers) == 1
    assert not model.held


def test_what_a_call_waited_counts_against_its_deadline(model: Model) -> None:
    retired = model.hold()
    with pytest.raises(DeadlineExceeded, match="waited for a version"):
        model.predict(FEED, timeout_ms=10)
    model.swap(retired.revived())
    model.predict(FEED, timeout_ms=60_000)


def test_calls_fail_with_the_reason_each_with_an_error_of_its_own(model: Model) -> None:
    retired = model.hold()
    model.fail_calls(ModelLoadFailed("it must load, it does not", hint="Try.", reason="none"))
    with pytest.raises(ModelLoadFailed, match="it does not") as first:
        model.predict(FEED)
    with pytest.raises(ModelLoadFailed) as second:
        model.predict(FEED)
    assert first.value is not second.value
    assert first.value.values == {"reason": "none"}
    model.swap(retired.revived())
    assert model.predict(FEED)["value"].tolist() == [1, 3]


def test_nothing_is_failed_where_a_version_is_there(model: Model) -> None:
    model.fail_calls(ModelLoadFailed("it must load", hint="Try.", reason="none"))
    assert model.predict(FEED)["value"].tolist() == [1, 3]


def test_a_held_model_can_be_closed(model: Model) -> None:
    model.hold().close()
    model.close()


def test_a_refused_call_holds_nothing(model: Model) -> None:
    with pytest.raises(InputName) as kept:
        model.predict({"wrong": [1]})
    retired = model.hold()
    assert not retired.in_use
    assert kept.value.code == "input-name"
    model.swap(retired.revived())
