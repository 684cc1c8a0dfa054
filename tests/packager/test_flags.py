"""Flags that several values or several commands share."""

from __future__ import annotations

import tomllib

import pytest

from packager.cli import packager as program
from packager.config import config_template, resolve
from packager.errors import ConfigInvalid
from packager.flags import BUILD_FLAGS, DOCTOR_FLAGS
from packager.options import OPTIONS

FLAGS = {
    "model": "net.py:make",
    "path": ("src", "lib"),
    "converter": ("own.py",),
    "from_step": 2,
    "weights": "net.pt",
    "input": ("x:float32[N,3]", "y:int64[N]"),
    "labels": "cat,dog",
    "threshold": 0.25,
    "image": "8x8x3",
    "mean": "0.5,0.5,0.5",
    "std": "0.25,0.25,0.25",
    "layout": "nhwc",
    "data": "rows.csv",
    "metric": "neg_log_loss",
    "max_drop": "2.5%",
    "max_size": "5MB",
    "max_latency_ms": 2.5,
    "max_memory": "64MB",
    "effort": "full",
    "jobs": 2,
    "single": True,
}


def test_the_template_asks_for_the_same_build(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = resolve(FLAGS, {})

    document = tomllib.loads(config_template(config))

    fields = {option.key: option.field for option in OPTIONS}
    assert resolve({fields[key]: value for key, value in document.items()}, {}) == config


@pytest.mark.parametrize(("image", "count"), [(None, 3), ("8x8x1", 3), ("8x8x3", 1)])
@pytest.mark.parametrize("key", ["mean", "std"])
def test_there_is_one_number_for_each_channel(key, image, count):
    numbers = ",".join(["0.5"] * count)

    with pytest.raises(ConfigInvalid, match="as many numbers as --image has channels"):
        resolve({"model": "m.onnx", "image": image, key: numbers}, {})


@pytest.mark.parametrize(
    ("command", "keys"), [("build", BUILD_FLAGS), ("doctor", DOCTOR_FLAGS)]
)
def test_a_command_has_the_flags_of_its_options(command, keys):
    flags = {flag for one in program.commands[command].params for flag in one.opts}

    assert keys <= {option.key for option in OPTIONS}
    assert {f"--{key}" for key in keys - {"model"}} <= flags
