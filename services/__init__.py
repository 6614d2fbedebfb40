"""Appia: the memory of a network's defence."""

import os

# While onnxruntime is imported it begins to send what it measures to its makers, under an id of this machine. Only this
# variable, which it reads then, keeps it from that (Privacy.md in its package).
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
