"""PyTorch models in the child: exported programs, and functions that make a module."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251 - what torch.load refuses with
from typing import Any

from packager.errors import (
    SourceUnreadable,
    SourceUnsupported,
    SourceUntrustedType,
    nearest,
)
from packager.sources.extras import need
from packager.sources.opened import OpenedModel
from packager.sources.tensors.inputs import parse_inputs
from packager.sources.tensors.model import check_inputs, told
from packager.sources.tensors.torch_archive import check_archive

_EXPORT_HINT = "Save it again: torch.export.save(torch.export.export(model, …), 'model.pt2')"


def open_exported(path: Path) -> OpenedModel:
    """Open what ``torch.export.save`` wrote.

    Raises:
        SourceUnreadable: when it is damaged, or no program of this PyTorch.
        SourceUntrustedType: when loading it could run code.
        SourceUnsupported: when its inputs or outputs are not rows of tensors.
        ConversionFailed: when it answers a row otherwise with other rows beside it.
        HostExtraMissing: when PyTorch or its exporter is not installed.
    """
    check_archive(path)
    torch = _torch()
    # load falls back to a full unpickler; this outweighs every argument of torch.load.
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        program = torch.export.load(path)
    except MemoryError:
        raise
    except Exception as error:  # the reader of programs raises what it happens to meet
        raise SourceUnreadable(
            f"PyTorch {torch.__version__} cannot load {path.name}: {told(error)}",
            hint=_EXPORT_HINT,
            expected="an exported program",
            found=told(error),
        ) from None
    from packager.sources.tensors.torch_program import TorchModel, facts_of

    # Guards are text in the file; without them a hook checks ranges.
    module = program.module(check_guards=False)
    return TorchModel(program, module, facts_of(program)).proved()


def open_factory(
    path: Path, factory: str, weights: Path | None, inputs: Sequence[str]
) -> OpenedModel:
    """Run a function of the user's own that makes a module, and export that.

    Args:
        path: the Python file.
        factory: the function, which takes no arguments.
        weights: a state_dict as ``torch.save`` writes it; what the function made when None.
        inputs: what the module takes, see ``parse_inputs``.

    Raises:
        SourceUnsupported: when the function, its module or the inputs cannot be used.
        SourceUnreadable: when the weights are damaged.
        SourceUntrustedType: when the weights hold more than tensors.
        ConversionFailed: when the module has no faithful exported form.
        HostExtraMissing: when PyTorch or its exporter is not installed.
    """
    specs = parse_inputs(inputs)
    check_inputs([spec.tensor() for spec in specs])
    _torch()
    module = _made(path, factory)
    if weights is not None:
        _load(module, weights)
    from packager.sources.tensors.torch_factory import export_module

    return export_module(module.eval(), specs)


def _torch() -> Any:
    torch = need("torch", "torch")
    need("onnxscript", "torch")
    return torch


def _made(path: Path, factory: str) -> Any:
    """Run the user's file and its function, and return the module that it makes."""
    from torch import nn

    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise _unusable(f"{path.name} must be a Python file", "a Python file", path.suffix)
    program = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = program
    try:
        spec.loader.exec_module(program)
        make = getattr(program, factory, None)
        made = make() if callable(make) else None
    except MemoryError:
        raise
    except Exception as error:  # it is the user's program and may raise anything
        raise _unusable(
            f"{path.name}:{factory} must make a model, it raised {told(error)}",
            "a model",
            told(error),
        ) from None
    if not callable(make):
        known = [name for name, value in vars(program).items() if inspect.isfunction(value)]
        message = f"{path.name} must have a function {factory!r}{nearest(factory, known)}"
        raise _unusable(message, factory, known)
    if not isinstance(made, nn.Module):
        message = f"{path.name}:{factory} must return a torch.nn.Module, it returned "
        raise _unusable(message + type(made).__name__, "torch.nn.Module", type(made).__name__)
    return made


def _unusable(message: str, expected: object, found: object) -> SourceUnsupported:
    return SourceUnsupported(
        message,
        hint="Name a function without arguments that returns the model, and give the "
        "directories of other modules that it imports by --path.",
        expected=expected,
        found=found,
    )


def _load(module: Any, weights: Path) -> None:
    """Load a state_dict without running code."""
    import torch

    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise SourceUntrustedType(
            f"{weights.name} must hold tensors by name only: {told(error)}",
            hint="Save torch.save(model.state_dict(), 'weights.pt').",
            expected="tensors by name",
            found=told(error),
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise SourceUnreadable(
            f"{weights.name} must be a file of torch.save: {told(error)}",
            hint="Save torch.save(model.state_dict(), 'weights.pt').",
            expected="a state_dict",
            found=told(error),
        ) from None
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise SourceUnsupported(
            f"{weights.name} must be the state_dict of the model made: {told(error)}",
            hint="Save torch.save(model.state_dict(), 'weights.pt') from the same model.",
            expected="the model's state_dict",
            found=told(error),
        ) from None
