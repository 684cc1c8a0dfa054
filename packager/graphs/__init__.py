"""ONNX graphs as files and as nodes: read, mended, folded, made ready."""
