"""TensorFlow models in the child: SavedModel directories, and files that Keras 2 wrote.

It runs in a helper environment, which holds TensorFlow, Keras 2 (as tf-keras) and tf2onnx.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edge_runtime.contract.tensors import Array, Arrays, TensorSpec
from packager.errors import (
    ConversionFailed,
    SourceUnreadable,
    SourceUnsupported,
    SourceUntrustedType,
)
from packager.graph import legal_names
from packager.sources.onnx_model import MAX_MODEL_BYTES
from packager.sources.opened import Converted
from packager.sources.processing.graph_edit import GraphEdit
from packager.sources.tensors.canonical import canonical
from packager.sources.tensors.model import (
    PROVED_ROWS,
    TensorFacts,
    TensorModel,
    check_dtype,
    check_inputs,
    is_value,
    output_names,
    prove_rows,
)

NEWEST_OPSET = 18  # of those that tf2onnx writes
_LIBRARIES = ("tf-keras", "tf2onnx", "onnx", "numpy")
_SIGNATURE = "serving_default"
_GRAPH_NAME = "model"
_UNKNOWN_AXIS = 2  # how long an example is where any length fits
# Rounding of its own kernels for some processors; without them answers are the same everywhere.
_QUIET = {"TF_ENABLE_ONEDNN_OPTS": "0", "TF_CPP_MIN_LOG_LEVEL": "3"}

Call = Callable[..., Sequence[Any]]


def open_tensorflow(path: Path) -> TensorModel:
    """Open a SavedModel directory or a file of Keras 2.

    Raises:
        SourceUnreadable: when it is damaged, or needs classes that are not here.
        SourceUntrustedType: when it holds Python code.
        SourceUnsupported: when its inputs or outputs are not rows of tensors.
        ConversionFailed: when it answers a row otherwise with other rows beside it.
    """
    os.environ.update(_QUIET)
    # Libraries below ask where, and nothing may be written to find out.
    tempfile.tempdir = str(Path.cwd())
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = (_saved_model if path.is_dir() else _keras_model)(tf, path)
    fixed = model.facts.inputs[0].shape[0] is not None
    prove_rows(model.run, _example_rows(model.facts.inputs), fixed=fixed)
    return model


class TensorflowModel(TensorModel):
    """A function of TensorFlow.

    Args:
        facts: what it is.
        call: takes its inputs one by one and returns its outputs, both in the facts' order.
    """

    def __init__(self, facts: TensorFacts, call: Call) -> None:
        import tensorflow as tf

        super().__init__(facts)
        signature = [
            tf.TensorSpec(spec.shape, spec.dtype, f"input_{index}")
            for index, spec in enumerate(facts.inputs)
        ]
        self._signature = signature
        # What rewrites Python code as a graph writes it to files, and call has no branches.
        self._function = tf.function(call, input_signature=signature, autograph=False)

    def run(self, feed: Arrays) -> Arrays:
        """Return its own answers for one batch."""
        answers = self._function(*(_tensor(feed[spec.name]) for spec in self.facts.inputs))
        return {
            spec.name: _array(tensor)
            for spec, tensor in zip(self.facts.outputs, answers, strict=True)
        }

    def graph(self, opset: Mapping[str, int]) -> Converted:
        """Convert the function.

        Raises:
            ConversionFailed: when an operator has no form in ONNX, or the file is too large.
        """
        import tf2onnx

        size = _bytes_of(self._function.get_concrete_function().variables)
        if size > MAX_MODEL_BYTES:
            raise ConversionFailed(
                f"a converted model may have {MAX_MODEL_BYTES} bytes, its weights have {size}",
                hint="Export it to ONNX with external data yourself, and build from that file.",
                expected=MAX_MODEL_BYTES,
                found=size,
            )
        model, _ = tf2onnx.convert.from_function(
            self._function,
            input_signature=self._signature,
            opset=min(opset.get("", NEWEST_OPSET), NEWEST_OPSET),
        )
        _check_operators(model.graph)
        return Converted(_named(model, self.facts).SerializeToString(deterministic=True))


def _keras_model(tf: Any, path: Path) -> TensorflowModel:
    model = _loaded(tf, path)
    inputs = getattr(model, "inputs", None)
    if not inputs:
        raise SourceUnsupported(
            f"the model must say its inputs, this {type(model).__name__} does not",
            hint="Save a Sequential or functional model, or one that was built with an Input.",
            expected="inputs",
            found=None,
        )
    structure = model.input

    def call(*tensors: Any) -> Sequence[Any]:
        answers = model(tf.nest.pack_sequence_as(structure, list(tensors)), training=False)
        return list(tf.nest.flatten(answers))

    facts = _facts(
        tf,
        ("keras", type(model).__name__),
        [(tensor.name, tensor) for tensor in inputs],
        list(zip(model.output_names, model.outputs, strict=True)),
        {layer.name: type(layer).__name__ for layer in model.layers},
    )
    return TensorflowModel(facts, call)


def _loaded(tf: Any, path: Path) -> Any:
    _refuse_code(path)
    try:
        return tf.keras.models.load_model(path, compile=False, safe_mode=True)
    except MemoryError:
        raise
    except Exception as error:  # the file names the classes that read it; each raises its own
        raise _unreadable(path, "a model of Keras 2", error) from None


def _refuse_code(path: Path) -> None:
    """Refuse a file whose layers hold Python code; the reader of HDF5 would run it."""
    import h5py

    if not h5py.is_hdf5(path):
        return  # a .keras file, of which the reader itself refuses it
    try:
        with h5py.File(path, "r") as file:
            layers = json.loads(file.attrs["model_config"])
    except (OSError, KeyError, ValueError) as error:
        raise _unreadable(path, "a model of Keras 2", error) from None
    if "Lambda" in set(_classes(layers)):
        raise SourceUntrustedType(
            f"{path.name} must not hold Python code, it holds a Lambda layer",
            hint="Replace the Lambda layer by a layer of Keras, or save it as a SavedModel.",
            expected="layers without code",
            found="Lambda",
        )


def _classes(config: Any) -> Iterable[str]:
    waiting = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield str(part.get("class_name"))
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _saved_model(tf: Any, path: Path) -> TensorflowModel:
    try:
        loaded = tf.saved_model.load(str(path))
    except MemoryError:
        raise
    except Exception as error:  # it runs what the directory holds, which may raise anything
        raise _unreadable(path, "a SavedModel", error) from None
    names = sorted(loaded.signatures)
    name = _SIGNATURE if _SIGNATURE in names else names[0] if len(names) == 1 else None
    if name is None:
        raise SourceUnsupported(
            f"a SavedModel must have the signature {_SIGNATURE!r}, this one has {names}",
            hint="Save it with signatures={'serving_default': …}",
            expected=_SIGNATURE,
            found=names,
        )
    signature = loaded.signatures[name]
    taken = sorted(signature.structured_input_signature[1].items())
    given = sorted(signature.structured_outputs.items())

    def call(*tensors: Any) -> Sequence[Any]:
        # Not by ``signature``: the variables live as long as ``loaded``.
        fed = {key: tensor for (key, _), tensor in zip(taken, tensors, strict=True)}
        answers = loaded.signatures[name](**fed)
        return [answers[key] for key, _ in given]

    return TensorflowModel(_facts(tf, ("tensorflow", "SavedModel"), taken, given, {}), call)


def _unreadable(path: Path, what: str, error: Exception) -> SourceUnreadable:
    reason = f"{type(error).__name__}: {error}"
    return SourceUnreadable(
        f"{path.name} cannot be read as {what}: {reason}",
        hint="Save the model again, without classes of your own.",
        expected=what,
        found=reason,
    )


def _facts(
    tf: Any,
    what: tuple[str, str],
    taken: Sequence[tuple[str, Any]],
    given: Sequence[tuple[str, Any]],
    steps: Mapping[str, str],
) -> TensorFacts:
    names = legal_names([name for name, _ in taken])
    inputs = tuple(_spec(name, t) for name, (_, t) in zip(names, taken, strict=True))
    check_inputs(inputs)
    called = output_names(legal_names([name for name, _ in given]), names)
    outputs = tuple(_spec(name, t) for name, (_, t) in zip(called, given, strict=True))
    if is_value(outputs) and "value" not in names:
        outputs = (TensorSpec("value", outputs[0].dtype, outputs[0].shape),)
    versions = {name: metadata.version(name) for name in _LIBRARIES}
    versions["tensorflow"] = tf.__version__
    return TensorFacts(*what, inputs, outputs, versions, steps)


def _spec(name: str, tensor: Any) -> TensorSpec:
    if tensor.shape.rank is None:
        raise SourceUnsupported(
            f"every tensor must say how many axes it has, {name!r} does not",
            hint="Save the model with inputs of known rank, such as [None, 224, 224, 3].",
            expected="a shape",
            found=None,
        )
    return TensorSpec(name, check_dtype(name, tensor.dtype.name), tuple(tensor.shape))


def _example_rows(inputs: Sequence[TensorSpec]) -> Arrays:
    """Return a few different rows: numbers from 0 to 1, which also serve as positions."""
    random = np.random.default_rng(0)
    rows = {}
    for spec in inputs:
        count = spec.shape[0] or PROVED_ROWS
        shape = (count, *(axis or _UNKNOWN_AXIS for axis in spec.shape[1:]))
        if spec.dtype == "string":
            rows[spec.name] = random.integers(0, 9, shape).astype(str).astype(object)
        elif spec.dtype.startswith("float"):
            rows[spec.name] = random.random(shape).astype(spec.dtype)
        else:
            rows[spec.name] = random.integers(0, 2, shape).astype(spec.dtype)
    return rows


def _tensor(values: Array) -> Any:
    import tensorflow as tf

    return tf.constant(values.tolist() if values.dtype.kind == "O" else values)


def _array(tensor: Any) -> Array:
    values: Array = tensor.numpy()
    if values.dtype.kind != "O":
        return values
    texts = [cell.decode("utf-8", "surrogateescape") for cell in values.ravel()]
    return np.array(texts, dtype=object).reshape(values.shape)


def _bytes_of(variables: Iterable[Any]) -> int:
    return sum(variable.shape.num_elements() * variable.dtype.size for variable in variables)


def _check_operators(graph: onnx.GraphProto) -> None:
    """Refuse a graph with operators of TensorFlow's own, which the converter leaves in it."""
    strange = sorted({n.op_type for n in graph.node if not onnx.defs.has(n.op_type, n.domain)})
    if strange:
        raise ConversionFailed(
            f"every operator of the model must have a form in ONNX, {', '.join(strange)} has "
            "none",
            hint="Replace the layers that need it, or export the model to ONNX yourself.",
            expected="a form in ONNX",
            found=strange,
        )


def _named(model: onnx.ModelProto, facts: TensorFacts) -> onnx.ModelProto:
    """Give the graph the names and shapes of the facts, and nothing of the author's machine."""
    canonical(model)
    edit = GraphEdit(model)
    graph = edit.model.graph
    graph.name, graph.doc_string = _GRAPH_NAME, ""
    values = [*graph.input, *graph.output]
    for value, spec in zip(values, (*facts.inputs, *facts.outputs), strict=True):
        if value.name != spec.name:
            edit.free(spec.name)
            edit.rename(value.name, spec.name)
    for spec in facts.inputs:
        edit.set_input(spec.name, spec)
    edit.set_outputs(facts.outputs)
    return edit.model
