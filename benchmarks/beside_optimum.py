"""Runs optimum-onnx's preset for AVX-512 VNNI, in its own environment.

python beside_optimum.py DIRECTORY FILE ROWS.npz OUT dynamic|static
"""

from __future__ import annotations

import sys

import numpy as np
from datasets import Dataset
from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import AutoCalibrationConfig, AutoQuantizationConfig


def main() -> None:
    """Quantize as the guide of optimum-onnx does."""
    directory, file, rows, out, kind = sys.argv[1:]
    static = kind == "static"
    quantizer = ORTQuantizer.from_pretrained(directory, file_name=file)
    preset = AutoQuantizationConfig.avx512_vnni(is_static=static)
    ranges = None
    if static:
        with np.load(rows) as arrays:
            known = Dataset.from_dict({name: list(arrays[name]) for name in arrays})
        known = known.with_format("numpy")
        ranges = quantizer.fit(
            dataset=known,
            calibration_config=AutoCalibrationConfig.minmax(known),
            operators_to_quantize=preset.operators_to_quantize,
        )
    quantizer.quantize(preset, save_dir=out, calibration_tensors_range=ranges)


if __name__ == "__main__":
    main()
