"""Images at a graph's front: uint8 as the application has them become what the model takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edge_runtime.contract.tensors import DTYPES, Array, TensorSpec
from packager.errors import ConfigInvalid
from packager.graph import Graph
from packager.sources.processing.graph_edit import GraphEdit, element_type

WHITE = 255
# How large the floats of images that are scaled at once may be.
_CHUNK_BYTES = 16 << 20
_TO_NCHW = (0, 3, 1, 2)
_AXES = 4


@dataclass(frozen=True)
class ImageInput:
    """How images enter a model: ``(x / 255 - mean) / std``, then its layout.

    The steps are taken one after another, each rounded to float32 (float64 where the model
    takes that), channels last; the axes are swapped at the end.  A model of float16 gets the
    result rounded once more.

    Attributes:
        wanted: the model's own input.
        image: height, width and channels.
        mean: subtracted from each channel; empty where nothing is.
        std: what each channel is then divided by; empty where it is not.
        layout: ``nchw`` or ``nhwc``, where the model has the channels.
    """

    wanted: TensorSpec
    image: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layout: str

    @property
    def spec(self) -> TensorSpec:
        """The input as the application sees it: ``uint8[?, height, width, channels]``."""
        batch = self.wanted.shape[0]
        return TensorSpec(self.wanted.name, "uint8", (batch, *self.image))

    def told(self) -> str:
        """Say in one line what is done."""
        parts = [f"uint8{list(self.image)} / {WHITE}"]
        parts += [f"- {list(self.mean)}"] if self.mean else []
        parts += [f"/ {list(self.std)}"] if self.std else []
        return f"{' '.join(parts)}, as {self.layout}"

    def chunks(self, images: Array) -> Iterator[Array]:
        """Yield a few images at a time, as many as take bounded memory as floats."""
        size = int(np.prod(self.image)) * self._work.itemsize
        step = max(1, _CHUNK_BYTES // size)
        for start in range(0, len(images), step):
            yield images[start : start + step]

    def scaled(self, images: Array) -> Array:
        """Return the model's own input for images, computed by numpy."""
        values = images.astype(self._work) / self._work.type(WHITE)
        values = values - self._numbers(self.mean) if self.mean else values
        values = values / self._numbers(self.std) if self.std else values
        values = values.astype(DTYPES[self.wanted.dtype], copy=False)
        swapped = values.transpose(_TO_NCHW) if self.layout == "nchw" else values
        return np.ascontiguousarray(swapped)

    def put_before(self, graph: Graph) -> Graph:
        """Return the graph that takes images.

        Raises:
            ConversionFailed: when it is of an operator set too old to be added to.
        """
        edit = GraphEdit(graph.model)
        name, work = self.wanted.name, self._work.name
        inner = edit.rename(name, f"{name}_scaled")
        edit.set_input(inner, self.spec)
        steps: list[tuple[str, list[str], dict[str, Any]]] = [
            ("Cast", [], {"to": element_type(work)}),
            ("Div", [edit.constant(np.asarray(WHITE, self._work), f"{name}_white")], {}),
        ]
        if self.mean:
            steps.append(("Sub", [edit.constant(self._numbers(self.mean), f"{name}_mean")], {}))
        if self.std:
            steps.append(("Div", [edit.constant(self._numbers(self.std), f"{name}_std")], {}))
        if self.wanted.dtype != work:
            steps.append(("Cast", [], {"to": element_type(self.wanted.dtype)}))
        if self.layout == "nchw":
            steps.append(("Transpose", [], {"perm": list(_TO_NCHW)}))
        value = name
        for number, (kind, constants, attributes) in enumerate(steps, start=1):
            last = number == len(steps)
            output = inner if last else edit.fresh(f"{name}_{kind.lower()}")
            value = edit.ahead(kind, [value, *constants], output, **attributes)
        inputs = tuple(self.spec if spec.name == name else spec for spec in graph.inputs)
        return replace(graph, model=edit.model, inputs=inputs)

    @property
    def _work(self) -> np.dtype[Any]:
        return np.dtype(np.float64 if self.wanted.dtype == "float64" else np.float32)

    def _numbers(self, values: tuple[float, ...]) -> Array:
        return np.array(values, self._work)


def image_input(
    inputs: tuple[TensorSpec, ...],
    image: tuple[int, ...],
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    layout: str,
) -> ImageInput:
    """Decide how images enter a model of these inputs.

    Args:
        inputs: the model's own inputs.
        image: height, width and channels of the application's images.
        mean: a number a channel, or nothing.
        std: a number a channel, or nothing.
        layout: ``nchw`` or ``nhwc``.

    Raises:
        ConfigInvalid: when the model does not take one batch of such images as floats, or a
            channel would be divided by zero.
    """
    height, width, channels = image
    axes = (channels, height, width) if layout == "nchw" else (height, width, channels)
    found = ", ".join(f"{spec.name} {spec.text()}" for spec in inputs)
    only = inputs[0] if len(inputs) == 1 else None
    if only is None or not only.dtype.startswith("float") or not _fits(only.shape, axes):
        raise ConfigInvalid(
            f"images of {height}x{width}x{channels} as {layout} need one input of floats "
            f"[?, {', '.join(map(str, axes))}], the model takes {found}",
            hint="Mend --image or --layout, or leave --image out and hand over what it takes.",
            key="image",
            expected=[None, *axes],
            found=found,
        )
    if any(number <= 0 for number in std):
        raise ConfigInvalid(
            f"std must be greater than zero, it is {list(std)}",
            hint="Give --std one positive number a channel.",
            key="std",
            expected="numbers greater than zero",
            found=list(std),
        )
    return ImageInput(only, image, mean, std, layout)


def _fits(shape: tuple[int | None, ...], axes: tuple[int, ...]) -> bool:
    return len(shape) == _AXES and all(
        found in (None, wanted) for found, wanted in zip(shape[1:], axes, strict=True)
    )
