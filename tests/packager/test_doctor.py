"""The doctor: what would become of a model, told before any build."""

from __future__ import annotations

import json
from pathlib import Path

import joblib
import numpy as np
import onnx
import pytest
from host import packager
from sklearn.decomposition import NMF
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(200, 3)).round(3)
Y = (X.sum(axis=1) > 0).astype(int)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A directory with rows and models, and nothing that a build would need beside."""
    rows = ["a,b,c,y", *(",".join(map(str, [*x, y])) for x, y in zip(X, Y, strict=True))]
    (tmp_path / "rows.csv").write_text("\n".join(rows) + "\n")
    models = {
        "line": LogisticRegression(),
        "forest": make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0)),
        "boosted": GradientBoostingClassifier(n_estimators=3),
        "formless": make_pipeline(StandardScaler(), NMF(2)),
    }
    for name, model in models.items():
        if name == "formless":
            model.steps[0][1].fit(X)
            model.steps[1][1].fit(np.abs(X))
        else:
            model.fit(X, Y)
        joblib.dump(model, tmp_path / f"{name}.joblib")
    return tmp_path


def asked(desk: Path, *arguments: str) -> dict:
    return json.loads(packager("doctor", *arguments, "--json", cwd=desk).out)


def test_it_tells_what_a_model_is_and_that_it_builds(desk: Path) -> None:
    found = asked(desk, "line.joblib", "--trust-pickle", "--data", "rows.csv", "--label", "y")

    assert found["builds"] is True
    assert found["what"].startswith("scikit-learn LogisticRegression, classification, 2 class")
    assert [step["verdict"] for step in found["steps"]] == ["converts"]
    assert found["parity"]["kinds"][0]["kind"] == "held-out"
    assert {reach["reason"] for reach in found["targets"]} == {""}
    assert found["versions"][0]["library"] == "scikit-learn"
    assert found["versions"][0]["inside"] == found["versions"][0]["here"]


def test_it_tells_what_is_mended_and_what_is_slower(desk: Path) -> None:
    forest = asked(desk, "forest.joblib", "--trust-pickle")
    boosted = asked(desk, "boosted.joblib", "--trust-pickle")

    assert "repaired" in {step["verdict"] for step in forest["steps"]}
    assert any("cast to float32" in repair for repair in forest["repairs"])
    assert boosted["steps"][0]["verdict"] == "slower"
    assert "batches" in boosted["steps"][0]["why"]


def test_it_tells_which_step_is_refused_and_why(desk: Path) -> None:
    found = asked(desk, "formless.joblib", "--trust-pickle")

    refused = {step["path"] for step in found["steps"] if step["verdict"] == "refused"}
    assert refused == {"nmf"}
    assert found["builds"] is False
    assert found["refusal"]["code"] == "conversion-failed"
    assert all("nmf has no exact form" in reach["reason"] for reach in found["targets"])


def test_a_build_that_refuses_a_model_says_the_same(desk: Path) -> None:
    text = packager("doctor", "formless.joblib", "--trust-pickle", cwd=desk).out
    build = ("build", "formless.joblib", "--trust-pickle", "--unsigned")
    said = packager(*build, cwd=desk, expect=3).err

    steps = text[text.index("steps") : text.index("packager build refuses it")].strip()
    assert steps in said
    assert "error[conversion-failed]: nmf has no exact form" in said


def test_a_pickle_that_nobody_vouched_for_is_not_opened(desk: Path) -> None:
    found = asked(desk, "line.joblib")

    assert (found["what"], found["steps"]) == ("", [])
    assert found["refusal"]["code"] == "pickle-refused"
    assert found["versions"][0]["library"] == "scikit-learn"


def test_a_graph_that_is_too_new_reaches_no_target(desk: Path) -> None:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 3])
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [value], [out])
    opset = [onnx.helper.make_opsetid("", 24)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset), desk / "new.onnx")

    found = asked(desk, "new.onnx")

    assert all("opset" in reach["reason"] for reach in found["targets"])
    assert found["builds"] is False


def test_without_a_model_it_says_what_opens_here(desk: Path) -> None:
    kinds = {kind["library"]: kind for kind in asked(desk)["kinds"]}

    assert kinds["scikit-learn"]["version"][0].isdigit()
    assert kinds["torch"]["extra"] == "torch"


def test_it_writes_nothing(desk: Path) -> None:
    before = sorted(desk.rglob("*"))

    packager("doctor", "line.joblib", "--trust-pickle", "--data", "rows.csv", cwd=desk)

    assert sorted(desk.rglob("*")) == before
