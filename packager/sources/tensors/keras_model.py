"""Keras models in the child, computed by PyTorch: .keras files, and .h5 files of Keras 3."""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from packager.errors import (
    SourceUnreadable,
    SourceUnsupported,
    SourceUntrustedType,
    SourceVersionSkew,
)
from packager.sources.extras import need
from packager.sources.opened import OpenedModel
from packager.sources.tensors.inputs import InputSpec
from packager.sources.tensors.model import check_dtype, told

_MODULE = re.compile(r'"module":\s*"([A-Za-z_][\w.]*)"')
_HINT = "Save it again with Keras 3: model.save('model.keras')"


def open_keras(path: Path, directories: Sequence[str] = ()) -> OpenedModel:
    """Open a saved Keras model without running code that it holds.

    Args:
        path: the file.
        directories: where modules of the user's own lie, whose classes the file may name.

    Raises:
        SourceUnreadable: when it is damaged, or needs classes that are not here.
        SourceUntrustedType: when it holds Python code.
        SourceVersionSkew: when Keras 2 wrote it and Keras 3 cannot read it.
        SourceUnsupported: when it does not say its inputs, or does not answer with rows.
        ConversionFailed: when it has no faithful exported form.
        HostExtraMissing: when Keras or PyTorch is not installed.
    """
    need("torch", "keras")
    need("onnxscript", "keras")
    # Keras draws models where it can; what it draws with wants to write files.
    sys.modules.setdefault("matplotlib", None)  # type: ignore[arg-type]
    keras = need("keras", "keras")
    _import_own(path, directories)
    model = _loaded(keras, path)
    inputs = _inputs(model)
    from packager.sources.tensors.torch_factory import export_module

    return export_module(
        _module(keras, model),
        inputs,
        framework="keras",
        kind=type(model).__name__,
        steps={layer.name: type(layer).__name__ for layer in model.layers},
    )


def _import_own(path: Path, directories: Sequence[str]) -> None:
    """Import the user's modules that the file names, so that their classes register."""
    for module in sorted(set(_MODULE.findall(_config(path)))):
        first = module.partition(".")[0]
        if not any(
            Path(directory, name).exists()
            for directory in directories
            for name in (first, f"{first}.py")
        ):
            continue
        try:
            import_module(module)
        except Exception as error:  # it is the user's program and may raise anything
            raise SourceUnsupported(
                f"the module {module} must register the classes of {path.name}, "
                f"it raised {told(error)}",
                hint="Import it alone with the Python that runs the packager, and mend it.",
                expected=module,
                found=told(error),
            ) from None


def _config(path: Path) -> str:
    """Return the text that describes a model's layers; "" where there is none."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return archive.read("config.json").decode("utf-8", "replace")
        return _attribute(path, "model_config")
    except (OSError, KeyError, zipfile.BadZipFile):
        return ""


def _attribute(path: Path, name: str) -> str:
    """Return a text that stands at the root of an HDF5 file; "" where there is none."""
    h5py = need("h5py", "keras")
    try:
        with h5py.File(path, "r") as file:
            value = file.attrs.get(name, "")
    except OSError:
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _loaded(keras: Any, path: Path) -> Any:
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except MemoryError:
        raise
    except Exception as error:  # the file names the classes that read it; each raises its own
        raise _refusal(keras, path, error) from None


def _refusal(keras: Any, path: Path, error: Exception) -> Exception:
    reason = told(error)
    if "safe_mode" in reason or "unsafe" in reason.lower():
        return SourceUntrustedType(
            f"{path.name} must not hold Python code, it holds a Lambda layer",
            hint="Write the function as a registered layer in a module of your own, and give "
            "its directory by --path.",
            expected="layers without code",
            found="Lambda",
        )
    written = _attribute(path, "keras_version")
    if written.startswith(("1.", "2.")):
        return SourceVersionSkew(
            f"{path.name} was written by Keras {written}, and Keras {keras.__version__} cannot "
            f"read it: {reason}",
            hint="Build it where TensorFlow can be had, or save it again with Keras 3.",
            expected=written,
            found=keras.__version__,
        )
    return SourceUnreadable(
        f"Keras {keras.__version__} cannot read {path.name}: {reason}",
        hint=f"{_HINT}, and give directories of its own classes by --path.",
        expected="a Keras model",
        found=reason,
    )


def _inputs(model: Any) -> list[InputSpec]:
    """Read what a model takes; None in a shape is an axis of any length."""
    tensors = getattr(model, "inputs", None)
    if not tensors:
        raise SourceUnsupported(
            f"the model must say its inputs, this {type(model).__name__} does not",
            hint="Save a Sequential or functional model, or one that was built with an Input.",
            expected="inputs",
            found=None,
        )
    names: list[str] = []
    specs = []
    for index, tensor in enumerate(tensors):
        name = re.sub(r"\W", "_", tensor.name, flags=re.ASCII)
        name = name if name.isidentifier() and name not in names else f"input_{index + 1}"
        names.append(name)
        inner = [
            length if length is not None else f"axis_{index + 1}_{axis}"
            for axis, length in enumerate(tensor.shape[1:], 1)
        ]
        rows = tensor.shape[0] if tensor.shape[0] is not None else "batch"
        dtype = check_dtype(name, str(tensor.dtype))
        specs.append(InputSpec(name, dtype, (rows, *inner)))
    return specs


def _module(keras: Any, model: Any) -> Any:
    """Return the model as a module of PyTorch that takes its inputs one by one."""
    from torch import nn

    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    names = list(getattr(model, "output_names", ()))

    class Inference(nn.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Any) -> Any:
            packed = keras.tree.pack_sequence_as(structure, list(tensors))
            answers = self.model(packed, training=False)
            if isinstance(answers, (list, tuple)) and len(answers) == len(names):
                return dict(zip(names, answers, strict=True))
            return answers

    return Inference().eval()
