"""Rewrites of an ONNX graph."""
