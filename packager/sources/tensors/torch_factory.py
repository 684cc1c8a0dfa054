"""A living module becomes a program: exported for any number of rows, and compared with it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from packager.errors import ConversionFailed, SourceUnsupported
from packager.sources.tensors.inputs import InputSpec
from packager.sources.tensors.model import PROVED_ROWS, agree, told
from packager.sources.tensors.torch_program import (
    TorchModel,
    example_rows,
    facts_of,
    run_module,
)

_LENGTHS = (16, 24, 20, 28)  # of axes that vary: different, and enough for most kernels


def export_module(
    module: torch.nn.Module,
    specs: Sequence[InputSpec],
    *,
    framework: str = "pytorch",
    kind: str = "",
    steps: Mapping[str, str] | None = None,
) -> TorchModel:
    """Export a module in evaluation mode; its own answers stay those of the module itself.

    Args:
        module: the module.
        specs: its inputs, by the names of its arguments or in their order.
        framework: as the parent knows it.
        kind: the class of the model; else the module's.
        steps: the class of each part by its path; else the module's children.

    Raises:
        SourceUnsupported: when it does not take the inputs or does not answer with rows.
        ConversionFailed: when a program would answer otherwise, or there is none.
    """
    args, kwargs = _called(module, specs, _examples(specs))
    _try(module, args, kwargs)
    program = _exported(module, args, kwargs, _shapes(module, specs))
    names = [spec.name for spec in specs] if args else list(kwargs)
    ordered = tuple(sorted(specs, key=lambda spec: names.index(spec.name)))
    children = {path: type(child).__name__ for path, child in module.named_children()}
    facts = facts_of(
        program,
        names,
        framework=framework,
        kind=kind or type(module).__name__,
        steps=children if steps is None else steps,
    )
    wanted = [spec.tensor() for spec in ordered]
    if list(facts.inputs) != wanted:
        asked, found = ([spec.text() for spec in specs] for specs in (wanted, facts.inputs))
        raise _unfaithful(f"its inputs become {', '.join(found)}", asked, found)
    model = TorchModel(program, module, facts)
    model.proved()
    _compare(model, program)
    return model


def _examples(specs: Sequence[InputSpec]) -> dict[str, torch.Tensor]:
    """Make a few rows of fixed seed; whole numbers are 0, which every table of ids has."""
    random = np.random.default_rng(0)
    lengths = {spec.axes[0]: PROVED_ROWS for spec in specs}
    for axis in (axis for spec in specs for axis in spec.axes if isinstance(axis, str)):
        lengths.setdefault(axis, _LENGTHS[len(lengths) % len(_LENGTHS)])
    made = {}
    for spec in specs:
        shape = [axis if isinstance(axis, int) else lengths[axis] for axis in spec.axes]
        floats = spec.dtype.startswith("float")
        values = random.standard_normal(shape) if floats else np.zeros(shape)
        made[spec.name] = torch.from_numpy(values.astype(spec.dtype))
    return made


def _axes(specs: Sequence[InputSpec]) -> dict[str, Any]:
    """Return which axes vary, as the exporter takes it."""
    names = {axis for spec in specs for axis in spec.axes if isinstance(axis, str)}
    made = {name: torch.export.Dim(name) for name in names}
    return {
        spec.name: {i: made[axis] for i, axis in enumerate(spec.axes) if isinstance(axis, str)}
        for spec in specs
    }


def _shapes(module: torch.nn.Module, specs: Sequence[InputSpec]) -> Any:
    args, kwargs = _called(module, specs, _axes(specs))
    kinds = [
        parameter.kind for parameter in inspect.signature(module.forward).parameters.values()
    ]
    if kinds[:1] == [inspect.Parameter.VAR_POSITIONAL]:
        return (args,)
    return kwargs or args


def _called(
    module: torch.nn.Module, specs: Sequence[InputSpec], values: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return values as arguments: by name where the names are its own, else in their order.

    Raises:
        SourceUnsupported: when only some names are its arguments.
    """
    parameters = list(inspect.signature(module.forward).parameters)
    own = [name for name in parameters if name in values]
    if not own:
        return tuple(values[spec.name] for spec in specs), {}
    foreign = [name for name in values if name not in own]
    if foreign:
        raise SourceUnsupported(
            f"the inputs must be the arguments of forward, {', '.join(parameters)}; "
            f"{foreign[0]!r} is none",
            hint="Name the inputs as forward does.",
            expected=parameters,
            found=list(values),
        )
    return (), {name: values[name] for name in own}


def _try(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    try:
        with torch.no_grad():
            module(*args, **kwargs)
    except MemoryError:
        raise
    except Exception as error:  # it is the user's module and may raise anything
        shapes = [list(value.shape) for value in (*args, *kwargs.values())]
        raise SourceUnsupported(
            f"the model must take inputs of the shapes {shapes}, it raised {told(error)}",
            hint="Tell the inputs as the model takes them, fixed lengths as numbers.",
            expected=shapes,
            found=type(error).__name__,
        ) from None


def _exported(
    module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], shapes: Any
) -> torch.export.ExportedProgram:
    try:
        return torch.export.export(module, args, kwargs, dynamic_shapes=shapes)
    except MemoryError:
        raise
    except Exception as error:  # tracing runs the user's module, which may raise anything
        raise _unfaithful(
            f"torch.export refuses it: {told(error)}",
            "an exported program",
            type(error).__name__,
        ) from None


def _compare(model: TorchModel, program: torch.export.ExportedProgram) -> None:
    """Require the program to answer as the module does, for one row and for more.

    Exporting bakes a branch over the number of rows in, without a word.
    """
    rows = example_rows(program, model.facts)
    baked = program.module(check_guards=False)
    fixed = model.facts.inputs[0].shape[0]
    for count in [fixed] if fixed else range(1, PROVED_ROWS + 1):
        feed = {name: values[:count] for name, values in rows.items()}
        own, other = model.run(feed), run_module(baked, program, model.facts, feed)
        for name, values in own.items():
            if not agree(values, other[name]):
                message = f"its {name!r} for {count} rows is another once exported"
                raise _unfaithful(message, "the same answers", message)


def _unfaithful(reason: str, expected: object, found: object) -> ConversionFailed:
    return ConversionFailed(
        f"the model must have one form for any number of rows; {reason}",
        hint="Take branches over shapes or values out of forward, or give fixed lengths.",
        expected=expected,
        found=found,
    )
