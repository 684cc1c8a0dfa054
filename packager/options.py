"""Every option of a build: a key of ``packager.toml``, and the flag of the same name."""

from __future__ import annotations

from dataclasses import dataclass

from packager.option_kinds import (
    CLASSES,
    COUNT,
    DROP,
    EFFORT,
    FLAG,
    IMAGE,
    LAYOUT,
    LAYOUTS,
    METRIC,
    NAME,
    NUMBER,
    NUMBERS,
    PATH,
    PATHS,
    POSITIVE,
    RELEASE,
    ROWS,
    SIZE,
    TARGETS,
    TENSORS,
    TEXT,
    VERSION,
    Kind,
)
from packager.recipes import EFFORTS


@dataclass(frozen=True)
class Option:
    """A key of ``packager.toml``, and the flag of the same name.

    Attributes:
        key: as written, ``split-by``; the flag is ``--split-by``.
        kind: what value it takes.
        help: one line; the template shows it as a comment.
        example: what the template shows where nothing is set, as TOML.
    """

    key: str
    kind: Kind
    help: str
    example: str

    @property
    def field(self) -> str:
        """The field of ``BuildConfig``; the flag ``--target`` may come several times."""
        return "targets" if self.key == "target" else self.key.replace("-", "_")


OPTIONS = (
    Option(
        "model",
        PATH,
        "the model: .skops, .onnx, .pt2, .keras and others, or module.py:function",
        '"model.skops"',
    ),
    Option("name", NAME, "what the bundle is called; else as the model's file", '"fraud"'),
    Option("version", VERSION, "the version, for people; else 1.0.0", '"1.4.0"'),
    Option("release", RELEASE, "the same for machines; 1.4.0 makes 1004000", "1004000"),
    Option(
        "target",
        TARGETS,
        "profiles, by name or path; else x86-64-cpu, arm64-cpu",
        '["arm64-cpu"]',
    ),
    Option(
        "data", PATH, "rows that calibrate and judge: CSV, Parquet, NPZ, images", '"rows.csv"'
    ),
    Option("label", TEXT, "the column of the rows that holds the truth", '"fraud"'),
    Option("holdout", PATH, "rows that judge; data then only calibrates", '"holdout.csv"'),
    Option("split-by", TEXT, "a column; rows alike in it stay together", '"customer"'),
    Option("key", PATH, "the signing key; else keys/release.key", '"keys/release.key"'),
    Option(
        "passphrase-file", PATH, "its first line opens the key; else you are asked", '"pass"'
    ),
    Option("unsigned", FLAG, "leave signing to packager sign", "true"),
    Option("out", PATH, "where bundle and report go; else dist", '"dist"'),
    Option("replay", PATH, "a report; make its bytes again, or fail", '"fraud.report.json"'),
    Option("trust-pickle", FLAG, "open pickles, which run code: only your own", "true"),
    Option("golden", ROWS, "rows that prove devices: synthetic, real or a file", '"synthetic"'),
    Option("metric", METRIC, "agreement, cosine or any scorer of scikit-learn", '"f1_macro"'),
    Option("max-drop", DROP, "what of it a variant may lose; else 0.01, of errors 1%", '"1%"'),
    Option("max-size", SIZE, "bytes that a variant may have", '"5MB"'),
    Option("max-latency-ms", POSITIVE, "the most that a call of one row may take", "2.5"),
    Option("max-memory", SIZE, "bytes that a variant may take when it runs", '"64MB"'),
    Option("effort", EFFORT, f"how much is tried: {', '.join(EFFORTS)}", '"full"'),
    Option("jobs", COUNT, "candidates worked on at once; else one a processor", "4"),
    Option("single", FLAG, "ship one variant a target, not a ladder", "true"),
    Option("description", TEXT, "what the model is for, in one line", '"Card fraud, EU"'),
    Option("license", TEXT, "the model's licence, as SPDX", '"Apache-2.0"'),
    Option("path", PATHS, "directories of modules that a saved model needs", '["src"]'),
    Option("converter", PATHS, "Python files that register converters", '["own_step.py"]'),
    Option("from-step", COUNT, "steps that the application computes itself", "1"),
    Option("allow-version-skew", FLAG, "open it with other versions than wrote it", "true"),
    Option("weights", PATH, "the state_dict for module.py:function", '"weights.pt"'),
    Option("input", TENSORS, "an input of module.py:function", '["x:float32[N,3,224,224]"]'),
    Option("show-rows", FLAG, "show the values of rows that answer worst", "true"),
    Option("labels", CLASSES, "names of the classes, in the model's order", '["cat", "dog"]'),
    Option("threshold", NUMBER, "score from which the second class is answered", "0.5"),
    Option(
        "image", IMAGE, "the application hands over uint8 images of this size", '"224x224x3"'
    ),
    Option("mean", NUMBERS, "subtracted from each channel, scaled to 0..1", "[0.5, 0.5, 0.5]"),
    Option("std", NUMBERS, "each channel is then divided by it", "[0.25, 0.25, 0.25]"),
    Option("layout", LAYOUT, f"where the model has channels: {', '.join(LAYOUTS)}", '"nchw"'),
)
