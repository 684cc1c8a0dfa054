"""Models of bare tensors: PyTorch, Keras and TensorFlow."""
