"""Photos of three colours, and a small convolutional net that tells them apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

COLOURS = ("blue", "green", "red")
SIZE = (12, 16, 3)
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
_CHANNEL = {"red": 0, "green": 1, "blue": 2}
_FILTERS = 48


def photo(colour: str, seed: int) -> np.ndarray:
    """Return a noisy picture in which one colour is a little stronger."""
    generator = np.random.default_rng([seed, _CHANNEL[colour]])
    pixels = generator.integers(0, 200, SIZE)
    pixels[..., _CHANNEL[colour]] += 30
    return pixels.astype(np.uint8)


def folder(directory: Path, each: int = 20, first: int = 0) -> Path:
    """Write a folder of photos, a folder a colour."""
    for colour in COLOURS:
        (directory / colour).mkdir(parents=True)
        for number in range(first, first + each):
            Image.fromarray(photo(colour, number)).save(directory / colour / f"{number}.png")
    return directory


def net(*, layout: str = "nchw", last: str = "Softmax", batch: int | str = "N") -> bytes:
    """Return the net: normalised photos in, a figure for blue, green and red out."""
    height, width, channels = SIZE
    nchw = [batch, channels, height, width]
    shape = nchw if layout == "nchw" else [batch, height, width, channels]
    generator = np.random.default_rng(0)
    filters = generator.normal(0, 0.1, (_FILTERS, 3, 3, 3)).astype(np.float32)
    filters[:, :, 1, 1] += generator.normal(0, 1, (_FILTERS, 3)).astype(np.float32)
    nodes = [helper.make_node("Transpose", ["input"], ["first"], perm=[0, 3, 1, 2])]
    nodes = nodes if layout == "nhwc" else [helper.make_node("Identity", ["input"], ["first"])]
    nodes += [
        helper.make_node("Conv", ["first", "filters"], ["waves"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["waves"], ["scores"]),
        helper.make_node("GlobalAveragePool", ["scores"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights"], ["logits"], alpha=8.0),
        helper.make_node(last, ["logits"], ["label"]),
    ]
    body = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("label", TensorProto.FLOAT, [batch, len(COLOURS)])],
        [
            numpy_helper.from_array(filters, "filters"),
            numpy_helper.from_array(_readout(filters), "weights"),
        ],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _readout(filters: np.ndarray) -> np.ndarray:
    """Fit by least squares what the pooled filters say about the colours."""
    pictures = [(photo(colour, seed), colour) for colour in COLOURS for seed in range(100, 140)]
    pooled = np.array([_pooled(scaled(pixels), filters) for pixels, _ in pictures])
    wanted = np.array([[colour == one for one in COLOURS] for _, colour in pictures])
    return np.linalg.lstsq(pooled, wanted - 1 / 3, rcond=None)[0].astype(np.float32)


def scaled(pixels: np.ndarray) -> np.ndarray:
    """Return pixels as the net was trained on them, channels last."""
    return (pixels / 255 - np.array(MEAN)) / np.array(STD)


def _pooled(picture: np.ndarray, filters: np.ndarray) -> np.ndarray:
    padded = np.pad(picture, ((1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (0, 1))
    waves = np.einsum("hwcij,fcij->fhw", windows, filters)
    return np.maximum(waves, 0).mean(axis=(1, 2))
