"""What is put around a model inside its graph: images before it, labels after it."""
