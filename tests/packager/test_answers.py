"""Running rows in batches, and how clear labels are."""

from __future__ import annotations

import numpy as np
import pytest
import trained
from onnx import ModelProto
from trained import candidate

from packager.answers import label_margins, row_count, run_rows

PROBABILITIES = {"label": "label", "probability": "p"}
SCORES = {"label": "label", "score": "s"}


@pytest.mark.parametrize("batch", [1, 7, 32, 1000])
def test_answers_do_not_depend_on_how_rows_are_batched(batch: int) -> None:
    model = trained.cancer_forest()
    session = candidate(model.graph).open_here()
    whole, parts = session.run(model.feed), run_rows(session, model.feed, batch)
    assert row_count(parts) == len(model.rows)
    assert all(np.allclose(whole[name], parts[name], atol=1e-6) for name in whole)


def test_a_graph_of_fixed_batch_answers_any_number_of_rows() -> None:
    model = trained.digits_convolutions()
    graph = ModelProto()
    graph.CopyFrom(model.graph)
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    rows = {"features": model.feed["features"][:10]}
    found = run_rows(candidate(graph).open_here(), rows)
    expected = run_rows(candidate(model.graph).open_here(), rows)
    assert row_count(found) == 10
    assert all(np.allclose(found[name], expected[name], atol=1e-6) for name in found)


def test_a_margin_is_the_distance_between_the_two_best_scores() -> None:
    scores = {"p": np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0], [np.nan, 0.2, 0.1]])}
    margins = label_margins("classification", PROBABILITIES, scores)
    assert margins is not None
    assert margins == pytest.approx([0.5, 0.0, 0.1])


def test_a_single_score_decides_by_its_sign_and_distances_by_the_nearest() -> None:
    outliers = label_margins("outliers", SCORES, {"s": np.array([[-0.3], [0.1]])})
    assert outliers is not None
    assert outliers == pytest.approx([0.3, 0.1])
    clusters = label_margins("clustering", SCORES, {"s": np.array([[1.0, 9.0, 1.5]])})
    assert clusters is not None
    assert clusters == pytest.approx([0.5])


def test_without_scores_no_margin_is_known() -> None:
    assert label_margins("classification", {"label": "label"}, {}) is None
