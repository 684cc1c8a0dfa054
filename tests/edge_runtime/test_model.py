"""A loaded model: what it takes, what it gives, and that a mistake does it no harm."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import devices
import numpy as np
import pandas as pd
import pytest

import edge_runtime
from edge_runtime.contract.errors import (
    EdgepackError,
    InputDtype,
    InputMissing,
    InputName,
    InputShape,
    InputValue,
    PredictionFailed,
)
from edge_runtime.metrics import summarize
from edge_runtime.model import Model
from edge_runtime.state.store import Store

COLUMNS = {
    "income (k€)": [4.5, None, 30],
    "visits": [1, 2, 3],
    "plan": ["basic", "gold", "basic"],
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a model of columns and one of bare tensors."""
    directory = tmp_path_factory.mktemp("device")
    flag = devices.installed(
        directory, devices.packed(directory / "loan.oci.tar", devices.loan(), name="loan")
    )
    lookup = devices.packed(directory / "lookup.oci.tar", devices.lookup(), name="lookup")
    assert devices.run(*flag, "install", lookup).code == 0
    return Store(Path(flag[1]), "named by the test")


@pytest.fixture
def loan(store: Store) -> Iterator[Model]:
    with edge_runtime.load("loan", store=store) as model:
        yield model


@pytest.fixture
def lookup(store: Store) -> Iterator[Model]:
    with edge_runtime.load("lookup", store=store) as model:
        yield model


def feed(**changes: Any) -> dict[str, Any]:
    return {**devices.loan().feed, **changes}


# --- the fast door -------------------------------------------------------------------------


def test_arrays_by_the_graph_s_names_are_answered(loan: Model) -> None:
    answers = loan.predict(feed())
    assert answers["label"].tolist() == ["no", "yes", "yes"]
    assert answers["probabilities"].shape == (3, 2)


def test_arrays_by_the_user_s_own_names_are_converted(loan: Model) -> None:
    expected = loan.predict(feed())
    for columns in (
        COLUMNS,
        {name: np.array(values) for name, values in COLUMNS.items()},
        pd.DataFrame(COLUMNS),
    ):
        answers = loan.predict(columns)
        np.testing.assert_array_equal(answers["probabilities"], expected["probabilities"])


def test_one_dimensional_columns_are_taken_by_the_graph_s_names(loan: Model) -> None:
    flat = {name: array.reshape(-1) for name, array in feed().items()}
    assert loan.predict(flat)["label"].tolist() == ["no", "yes", "yes"]


@pytest.mark.parametrize(
    ("changes", "error", "both"),
    [
        ({"income": np.ones((3, 1))}, InputDtype, ("float32", "float64")),
        ({"visits": np.ones((3, 1), np.int32)}, InputDtype, ("int64", "int32")),
        ({"income": np.ones((3, 2), np.float32)}, InputShape, ("float32[?, 1]", "[3, 2]")),
        ({"income": np.ones((2, 1), np.float32)}, InputShape, ("income", "2")),
        ({"plan": np.full((3, 1), None)}, InputDtype, ("text", "NoneType")),
        ({"plan": np.array([["a"], [""], ["b"]])}, InputMissing, ("row 1", "plan")),
        ({"income": np.full((3, 1), np.inf, np.float32)}, InputValue, ("row 0", "inf")),
        ({"more": np.ones(3)}, InputName, ("more", "income")),
    ],
)
def test_a_feed_that_is_not_as_declared_is_refused_naming_both_sides(
    loan: Model, changes: dict[str, Any], error: type[EdgepackError], both: tuple[str, str]
) -> None:
    with pytest.raises(error) as caught:
        loan.predict(feed(**changes))
    assert all(text in caught.value.message for text in both)
    assert loan.predict(feed())["label"].tolist() == ["no", "yes", "yes"]


def test_a_missing_value_is_taken_where_the_manifest_allows_it_and_only_there(
    loan: Model,
) -> None:
    assert loan.predict(COLUMNS | {"income (k€)": [None] * 3})["label"].tolist()[1] == "yes"
    for column in ("visits", "plan"):
        with pytest.raises(InputMissing, match=f"row 2 .*'{column}'"):
            loan.predict(COLUMNS | {column: [*COLUMNS[column][:2], None]})


@pytest.mark.parametrize(
    "given", [None, 7, "income", [1, 2], np.ones(3), {1: 2}, {None: 1}, {}]
)
def test_what_is_no_feed_at_all_is_a_typed_error(
    loan: Model, lookup: Model, given: Any
) -> None:
    for model in (loan, lookup):
        with pytest.raises(InputName):
            model.predict(given)


def test_the_caller_may_name_the_rows(loan: Model) -> None:
    with pytest.raises(InputMissing, match="request 70, row 2"):
        loan.predict(COLUMNS | {"plan": ["a", "b", ""]}, where=lambda n: f"request 70, row {n}")


def test_a_failing_engine_is_a_typed_error_and_the_model_goes_on(lookup: Model) -> None:
    with pytest.raises(PredictionFailed):
        lookup.predict({"index": np.array([99])})
    assert lookup.predict({"index": np.array([1])})["value"].tolist() == [2.0]


# --- the easy door -------------------------------------------------------------------------


def test_records_are_answered_with_the_model_s_own_classes(loan: Model) -> None:
    records = [
        {"income (k€)": 4.5, "visits": 1, "plan": "basic"},
        {"plan": "gold", "visits": 2, "income (k€)": None, "ignored": object()},
    ]
    first, second = loan.predict_records(records)
    assert first["label"] == "no"
    assert first["probability"] == pytest.approx({"no": 0.999877, "yes": 0.000123}, abs=1e-6)
    assert (second["label"], list(second["probability"])) == ("yes", ["no", "yes"])
    assert loan.predict_records([]) == []
    assert len(loan.predict_records(tuple(records))) == 2


@pytest.mark.parametrize(
    ("record", "error", "text"),
    [
        ({"visits": 1, "plan": "gold"}, InputName, "income"),
        ({"income (k€)": "4,5", "visits": 1, "plan": "gold"}, InputValue, "'4,5'"),
        ({"income (k€)": 1, "visits": 1.5, "plan": "gold"}, InputValue, "1.5"),
        ({"income (k€)": 1, "visits": 1, "plan": 7}, InputValue, "7"),
        ({"income (k€)": 1, "visits": None, "plan": "a"}, InputMissing, "visits"),
        ("income", InputName, "str"),
    ],
)
def test_a_record_that_is_wrong_names_its_row_and_column(
    loan: Model, record: Any, error: type[EdgepackError], text: str
) -> None:
    sound = {"income (k€)": 1, "visits": 1, "plan": "gold"}
    with pytest.raises(error) as caught:
        loan.predict_records([sound, record])
    assert "row 1 (counted from 0)" in caught.value.message
    assert text in caught.value.message


def test_records_are_refused_where_the_model_takes_bare_tensors(lookup: Model) -> None:
    with pytest.raises(InputName, match=r"lookup takes tensors \(index\)"):
        lookup.predict_records([{"index": 1}])


# --- counting and closing ------------------------------------------------------------------


def totals(store: Store, name: str) -> tuple[int, dict[str, int]]:
    tally = summarize([store.model(name).metrics]).tally
    return tally.rows, tally.errors


def test_predictions_and_refusals_are_counted(store: Store) -> None:
    rows, errors = totals(store, "loan")
    with edge_runtime.load("loan", store=store) as model:
        model.predict(feed())
        model.predict_records([{"income (k€)": 1, "visits": 1, "plan": "gold"}])
        for wrong in ({}, None):
            with pytest.raises(InputName):
                model.predict(wrong)  # type: ignore[arg-type]
        with pytest.raises(InputName):
            model.predict_records([{}])
        model.count_refused(InputShape("a", hint="b"))
    now, counted = totals(store, "loan")
    assert now - rows == 4
    assert counted.get("input-name", 0) - errors.get("input-name", 0) == 3
    assert counted.get("input-shape", 0) - errors.get("input-shape", 0) == 1


def test_a_closed_model_answers_and_says_that_nothing_counts_it(store: Store) -> None:
    model = edge_runtime.load("loan", store=store)
    assert model.status()["metrics"] == "recorded"
    model.close()
    model.close()
    before = totals(store, "loan")
    assert len(model.predict(feed())["label"]) == 3
    model.close()
    assert model.status()["metrics"] == "not recorded: the model was closed"
    assert totals(store, "loan") == before


def test_its_status_says_what_serves_and_how(loan: Model) -> None:
    status = loan.status()
    assert status["name"] == loan.name == "loan"
    assert status["version"] == loan.version == "1.4.0"
    assert status["variant"] == loan.variant == "float32"
    assert status["provider"] == loan.provider == "CPUExecutionProvider"
    assert status["target"] == devices.TARGET
    assert status["engine"].startswith("onnxruntime")
    assert status["proof"].startswith("golden vectors held")
    assert (status["degraded"], status["release"]) == ("", 1_004_000)
    assert status["metrics"] == "recorded"


# --- threads -------------------------------------------------------------------------------


def in_threads(count: int, work: Callable[[int], None]) -> list[BaseException]:
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def test_several_threads_get_each_their_own_answers(store: Store) -> None:
    rows, errors = totals(store, "loan")

    def work(number: int) -> None:
        for turn in range(50):
            size = number + turn % 7 + 1
            income = np.full((size, 1), float(turn % 20), np.float32)
            given = feed(
                income=income,
                visits=np.full((size, 1), number),
                plan=np.full((size, 1), "basic", object),
            )
            expected = "yes" if turn % 20 + number >= 10 else "no"
            assert model.predict(given)["label"].tolist() == [expected] * size
            if turn % 10 == 0:
                with pytest.raises(InputName):
                    model.predict({"x": 1})

    with edge_runtime.load("loan", store=store) as model:
        assert in_threads(4, work) == []
    now, counted = totals(store, "loan")
    expected_rows = sum(n + turn % 7 + 1 for n in range(4) for turn in range(50))
    assert now - rows == expected_rows
    assert counted["input-name"] - errors.get("input-name", 0) == 20
