"""Make an exported model the embedded one: `python -m export.embed artifacts/edge/edge-int8.onnx`.

Run it in a checkout; it writes the model file and its SHA-256 into ``fracture_edge/models``.
"""

import argparse
import hashlib
import json
from pathlib import Path

import fracture_edge.models
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_path, atomic_write_text
from fracture_edge.modelfile import EMBEDDED


def embed(source: Path, folder: Path) -> Path:
    """Copy a model file that loads, and write its checksum beside it.

    Args:
        source: An ``.onnx`` file of `fracture-edge export`.
        folder: Where the embedded model lies.

    Returns:
        The embedded file.

    Raises:
        FractureEdgeError: The file does not load, or is of another name than the embedded model.
    """
    name = FractureClassifier(source).info.name
    if name != EMBEDDED:
        raise FractureEdgeError(f"{source}: the embedded model is '{EMBEDDED}', this is '{name}'")
    data = source.read_bytes()
    with atomic_path(folder / f"{name}.onnx") as temporary:
        temporary.write_bytes(data)
    checksum = {"file": f"{name}.onnx", "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    atomic_write_text(folder / f"{name}.json", json.dumps(checksum, indent=2) + "\n")
    return folder / f"{name}.onnx"


def main() -> None:
    """Embed the file named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    print(embed(parser.parse_args().model, Path(fracture_edge.models.__file__).parent))


if __name__ == "__main__":
    main()
