"""Models with code of the user's own: modules, converters, steps that the application keeps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from host import Done, packager

MODULE = '''
"""A step that no library knows."""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin


class Doubler(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.n_features_in_ = np.asarray(X).shape[1]
        return self

    def transform(self, X):
        return np.asarray(X) * 2

    def get_feature_names_out(self, names=None):
        return np.array(["twice_a", "twice_b"], dtype=object)
'''
CONVERTER = '''
"""How a Doubler is written in ONNX."""

import numpy as np
from own_steps import Doubler
from skl2onnx import update_registered_converter
from skl2onnx.algebra.onnx_ops import OnnxMul
from skl2onnx.common.data_types import FloatTensorType


def shape(operator):
    operator.outputs[0].type = FloatTensorType([None, 2])


def convert(scope, operator, container):
    two = np.array([2], dtype=np.float32)
    value = operator.inputs[0]
    doubled = OnnxMul(value, two, op_version=18, output_names=operator.outputs[:1])
    doubled.add_to(scope, container)


update_registered_converter(Doubler, "OwnDoubler", shape, convert)
'''
TRAINING = """
import joblib, numpy as np
from own_steps import Doubler
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
rows = np.loadtxt("rows.csv", delimiter=",", skiprows=1)
model = make_pipeline(Doubler(), LogisticRegression()).fit(rows[:, :2], rows[:, 2])
joblib.dump(model, "m.joblib")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with rows, own code and a model that was trained with it."""
    desk = tmp_path_factory.mktemp("own")
    (desk / "src").mkdir()
    (desk / "src" / "own_steps.py").write_text(MODULE)
    (desk / "own_converter.py").write_text(CONVERTER)
    values = np.random.default_rng(0).normal(size=(120, 2)).round(3)
    rows = [f"{a},{b},{int(a + b > 0)}" for a, b in values]
    (desk / "rows.csv").write_text("\n".join(["a,b,y", *rows]) + "\n")
    doubled = [f"{2 * a},{2 * b},{int(a + b > 0)}" for a, b in values]
    (desk / "doubled.csv").write_text("\n".join(["twice_a,twice_b,y", *doubled]) + "\n")
    command = [sys.executable, "-c", TRAINING]
    subprocess.run(command, cwd=desk, check=True, env={"PYTHONPATH": "src", "PATH": ""})
    return desk


def build(desk: Path, *flags: str, data: str = "rows.csv", expect: int = 0) -> Done:
    usual = ("--trust-pickle", "--unsigned", "--target", "x86-64-cpu", "--label", "y")
    return packager(
        "build", "m.joblib", *usual, "--data", data, *flags, cwd=desk, expect=expect
    )


def test_a_model_whose_modules_nobody_named_says_which_flag_names_them(made: Path) -> None:
    said = build(made, expect=3).err

    assert "error[source-unreadable]" in said
    assert "own_steps" in said
    assert "--path" in said


def test_a_step_of_ones_own_without_a_form_is_refused_by_name(made: Path) -> None:
    said = build(made, "--path", "src", expect=3).err

    assert "error[conversion-failed]" in said
    assert "Doubler" in said
    assert "--converter" in said


def test_a_converter_of_ones_own_gives_it_a_form_that_is_compared(made: Path) -> None:
    done = build(made, "--path", "src", "--converter", "own_converter.py")

    assert "held-out" in done.out


def test_a_converter_that_answers_otherwise_is_found_out(made: Path) -> None:
    wrong = made / "wrong_converter.py"
    wrong.write_text(CONVERTER.replace("np.array([2]", "np.array([3]"))

    said = build(made, "--path", "src", "--converter", wrong.name, expect=6).err

    assert "error[parity-failed]" in said


def test_a_converter_that_fails_is_named(made: Path) -> None:
    broken = made / "broken_converter.py"
    broken.write_text("raise RuntimeError('not today')")

    said = build(made, "--path", "src", "--converter", broken.name, expect=3).err

    assert "broken_converter.py must register converters, it raised RuntimeError" in said


def test_own_code_is_shut_in_with_the_model(made: Path) -> None:
    nosy = made / "nosy_converter.py"
    nosy.write_text(f"open({str(made / 'left-behind')!r}, 'w')")

    said = build(made, "--path", "src", "--converter", nosy.name, expect=3).err

    assert "raised PermissionError" in said
    assert not (made / "left-behind").exists()


def test_the_application_may_keep_the_first_steps(made: Path) -> None:
    done = build(made, "--path", "src", "--from-step", "1", data="doubled.csv")

    assert "held-out" in done.out


@pytest.mark.parametrize("step", ["2", "7"])
def test_a_model_keeps_at_least_its_last_step(made: Path, step: str) -> None:
    said = build(made, "--path", "src", "--from-step", step, data="doubled.csv", expect=3).err

    assert f"{step}" in said.splitlines()[-2]
