"""A device for tests: graphs of every temper, bundles of them for this machine, and a store."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bundles
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_runtime import __main__ as command_line
from edge_runtime.contract.bundle.manifest import Golden, Interface, Manifest, Variant
from edge_runtime.contract.bundle.oci import TargetImage
from edge_runtime.contract.npz import write_npz
from edge_runtime.contract.table import Column, TableFormat
from edge_runtime.contract.tensors import Arrays, TensorSpec, Tolerance
from edge_runtime.engine.session import CPU, SessionPlan, open_session
from edge_runtime.probe import probe
from packager.stages.pack import write_bundle
from packager.stages.sign import KeySigner

ARCHITECTURE = probe(engine=False).architecture
TARGET = f"{ARCHITECTURE}-cpu"
ELSEWHERE = "arm64-cpu" if ARCHITECTURE == "x86-64" else "x86-64-cpu"

# --- graphs --------------------------------------------------------------------------------


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    **constants: Any,
) -> bytes:
    """Return a graph as the bytes of its file."""
    body = helper.make_graph(
        list(nodes),
        "test",
        [_value(spec) for spec in inputs],
        [_value(spec) for spec in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    domains = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(body, opset_imports=domains, ir_version=10)
    return bytes(model.SerializeToString(deterministic=True))


def _value(spec: TensorSpec) -> onnx.ValueInfoProto:
    dtype = np.dtype(object) if spec.dtype == "string" else np.dtype(spec.dtype)
    element = helper.np_dtype_to_tensor_dtype(dtype)
    axes = [axis if axis is not None else "N" for axis in spec.shape]
    return helper.make_tensor_value_info(spec.name, element, axes)


def interface(
    inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], **changes: Any
) -> Interface:
    """Return an interface of bare tensors; fields are changed by name."""
    plain = Interface(
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        columns=(),
        table=TableFormat(),
        task="tensors",
        roles={},
        labels=(),
    )
    return replace(plain, **changes)


@dataclass(frozen=True)
class Subject:
    """A graph, how it is used, and rows that it answers."""

    model: bytes
    interface: Interface
    feed: Arrays


def loan() -> Subject:
    """Return a classifier with a number that may be missing, a whole number and a text.

    ``score = income (k€) + visits + 10 if the plan is gold``; a missing income is zero. The
    answer is ``yes`` from 10 on.
    """
    inputs = (
        TensorSpec("income", "float32", (None, 1)),
        TensorSpec("visits", "int64", (None, 1)),
        TensorSpec("plan", "string", (None, 1)),
    )
    outputs = (
        TensorSpec("label", "string", (None,)),
        TensorSpec("probabilities", "float32", (None, 2)),
    )
    node = helper.make_node
    nodes = [
        node("IsNaN", ["income"], ["absent"]),
        node("Where", ["absent", "zero", "income"], ["known"]),
        node("Cast", ["visits"], ["count"], to=TensorProto.FLOAT),
        node(
            "LabelEncoder",
            ["plan"],
            ["bonus"],
            domain="ai.onnx.ml",
            keys_strings=["gold", "basic"],
            values_floats=[10.0, 0.0],
            default_float=0.0,
        ),
        node("Sum", ["known", "count", "bonus"], ["score"]),
        node("Sub", ["score", "ten"], ["yes"]),
        node("Neg", ["yes"], ["no"]),
        node("Concat", ["no", "yes"], ["logits"], axis=1),
        node("Softmax", ["logits"], ["probabilities"], axis=1),
        node("Greater", ["ten", "score"], ["refused"]),
        node("Squeeze", ["refused", "second"], ["flat"]),
        node("Where", ["flat", "word_no", "word_yes"], ["label"]),
    ]
    model = graph(
        nodes,
        inputs,
        outputs,
        zero=np.zeros((1, 1), np.float32),
        ten=np.full((1, 1), 10, np.float32),
        second=np.array([1]),
        word_no=np.array(["no"], object),
        word_yes=np.array(["yes"], object),
    )
    columns = (
        Column("income (k€)", "float", "income", None, "allow"),
        Column("visits", "integer", "visits", None, "refuse"),
        Column("plan", "text", "plan", None, "refuse"),
    )
    feed = {
        "income": np.array([[4.5], [np.nan], [30]], np.float32),
        "visits": np.array([[1], [2], [3]]),
        "plan": np.array([["basic"], ["gold"], ["basic"]], object),
    }
    described = interface(
        inputs,
        outputs,
        columns=columns,
        task="classification",
        roles={"label": "label", "probability": "probabilities"},
        labels=("no", "yes"),
    )
    return Subject(model, described, feed)


def lookup() -> Subject:
    """Return a graph of bare tensors that fails while it runs on any index past 2."""
    inputs = (TensorSpec("index", "int64", (None,)),)
    outputs = (TensorSpec("value", "float32", (None,)),)
    nodes = [helper.make_node("Gather", ["table", "index"], ["value"])]
    model = graph(nodes, inputs, outputs, table=np.array([1, 2, 3], np.float32))
    return Subject(model, interface(inputs, outputs), {"index": np.array([0, 2])})


def unopenable() -> bytes:
    """Return a graph that is sound in form, and that no engine has the operator for."""
    ends = [TensorSpec(name, "float32", (None,)) for name in "xy"]
    return graph([helper.make_node("NoSuchOperator", ["x"], ["y"])], ends[:1], ends[1:])


# --- bundles -------------------------------------------------------------------------------


def variant(name: str, subject: Subject, provider: str = CPU, **changes: Any) -> Variant:
    """Return a rung of a ladder."""
    tolerances = {spec.name: Tolerance(1e-5, 1e-6) for spec in subject.interface.outputs}
    plain = Variant(name, "float32", provider, f"variants/{name}.onnx", {}, {}, tolerances)
    return replace(plain, **changes)


def answers_of(subject: Subject) -> Arrays:
    """Return what a graph answers to its own rows here."""
    return open_session(subject.model, SessionPlan()).run(subject.feed)


def packed(
    path: Path,
    subject: Subject,
    models: Mapping[str, bytes] | None = None,
    *,
    answers: Mapping[str, Arrays] | None = None,
    signer: KeySigner = bundles.SIGNER,
    **changes: Any,
) -> Path:
    """Write a signed bundle for this machine.

    Args:
        path: the file to write.
        subject: what it is about.
        models: graphs by variant, best first; by default the subject's as ``float32``.
        answers: golden answers by variant, where they are not the engine's.
        signer: who signs it.
        changes: fields of the manifest to change.
    """
    models = models or {"float32": subject.model}
    answers = answers or {}
    truth = answers_of(subject) if set(models) - set(answers) else {}
    vectors = {f"in/{name}": array for name, array in subject.feed.items()}
    for name in models:
        for output, array in answers.get(name, truth).items():
            vectors[f"out/{name}/{output}"] = array
    document = manifest(subject, models, **changes)
    files = {f"variants/{name}.onnx": data for name, data in models.items()}
    parts = bundles.parts(document, {bundles.GOLDEN: write_npz(vectors), **files})
    target = TargetImage(
        document.target.name,
        document.target.os,
        document.target.architecture,
        document.name,
        document.version,
        bundles.signed(parts, signer),
    )
    write_bundle(path, [target])
    return path


def manifest(subject: Subject, models: Mapping[str, bytes], **changes: Any) -> Manifest:
    """Return a manifest of these variants; fields are changed by name."""
    rows = len(next(iter(subject.feed.values()), ()))
    fields: dict[str, Any] = {
        "interface": subject.interface,
        "variants": tuple(variant(name, subject) for name in models),
        "golden": Golden(bundles.GOLDEN, rows, synthetic=True),
    }
    plain = bundles.manifest(TARGET)
    known = replace(plain.target, opset={"": 18, "ai.onnx.ml": 3})
    return replace(plain, **{"target": known, **fields, **changes})


def reversed_labels(subject: Subject) -> Arrays:
    """Return answers that are not those of the subject."""
    answers = answers_of(subject)
    answers["label"] = answers["label"][::-1]
    return answers


def ladder(path: Path, *, sound: bool = False, **changes: Any) -> Path:
    """Write a bundle of the loan in two variants, the first of which gives wrong answers.

    Args:
        path: the file to write.
        sound: let the first variant hold as well.
        changes: fields of the manifest to change.
    """
    subject = loan()
    truth = answers_of(subject)
    answers = {"first": truth if sound else reversed_labels(subject), "second": truth}
    return packed(
        path, subject, dict.fromkeys(answers, subject.model), answers=answers, **changes
    )


def trust_file(directory: Path) -> Path:
    """Write the public key that signs the test bundles and return its path."""
    path = directory / "release.pub"
    path.write_bytes(bundles.SIGNER.public_key.pem)
    return path


# --- the command line ----------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout."""
        return json.loads(self.out)


def run(*arguments: Path | str) -> Said:
    """Run the device's command line in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = command_line.main([str(argument) for argument in arguments])
    out.seek(0), err.seek(0)
    return Said(code, out.read(), err.read())


def trusting(directory: Path) -> tuple[str, str]:
    """Make a store that trusts the test key and return its flag."""
    flag = ("--store", str(directory / "store"))
    said = run(*flag, "trust", "add", trust_file(directory))
    assert said.code == 0, said.err
    return flag


def installed(directory: Path, bundle: Path) -> tuple[str, str]:
    """Make a store that trusts the test key, install a bundle, and return the store's flag."""
    flag = trusting(directory)
    said = run(*flag, "install", bundle)
    assert said.code == 0, said.err
    return flag


def snapshot(directory: Path, *, without: str | None = None) -> dict[str, tuple[int, bytes]]:
    """Return names, modes and bytes of all that stands below a directory.

    Args:
        directory: where to look; it need not exist.
        without: leave out what stands below directories of this name.
    """
    return {
        str(path.relative_to(directory)): (
            path.lstat().st_mode,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(directory.rglob("*"))
        if without is None or without not in path.relative_to(directory).parts[:-1]
    }
