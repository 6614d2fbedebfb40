"""Vectors for events, narratives and host windows: the port, the ONNX adapter, the model store."""
