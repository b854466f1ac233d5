"""The embedded model and its model card."""

from pathlib import Path

#: Name of the embedded model, and the path of its file.
EMBEDDED = "edge-int8"
EMBEDDED_FILE = Path(__file__).with_name(f"{EMBEDDED}.onnx")
