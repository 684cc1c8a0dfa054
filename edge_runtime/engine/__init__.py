"""The engine: the one door to ONNX Runtime, and the trial that proves a variant."""
