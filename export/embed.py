"""Make an exported model the embedded one: `python -m export.embed artifacts/edge/edge-int8.onnx`.

Run it in a checkout; it writes the model file and its SHA-256 into ``fracture_edge/models``.
"""

import argparse
import hashlib
import json
from pathlib import Path

import onnxruntime as ort

import fracture_edge.models
from fracture_edge import known_answers
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_path, atomic_write_text
from fracture_edge.modelfile import embed_info
from fracture_edge.models import EMBEDDED
from fracture_edge.session import session_options


def embed(source: Path, folder: Path) -> Path:
    """Write a model file, its graph optimised ahead of time, its checksum and its known answers beside it.

    Fused quantised operators load faster than QDQ pairs, which every single `classify` feels. The level is the
    highest whose result does not depend on the processor; probabilities stay the same. Run it where int8 sums are
    exact (any ARM, or x86 with VNNI): what it answers here is what `fracture-edge doctor` expects elsewhere.

    Args:
        source: An ``.onnx`` file of `fracture-edge export`.
        folder: Where the embedded model lies.

    Returns:
        The embedded file.

    Raises:
        FractureEdgeError: The file does not load, or is of another name than the embedded model.
    """
    info = FractureClassifier(source).info
    name = info.name
    if name != EMBEDDED:
        raise FractureEdgeError(f"{source}: the embedded model is '{EMBEDDED}', this is '{name}'")
    target = folder / f"{name}.onnx"
    with atomic_path(target) as temporary:
        options = session_options(1)
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(temporary)
        ort.InferenceSession(source.read_bytes(), options, providers=["CPUExecutionProvider"])
        embed_info(temporary, info, temporary)
    data = target.read_bytes()
    checksum = {"file": f"{name}.onnx", "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    atomic_write_text(folder / f"{name}.json", json.dumps(checksum, indent=2) + "\n")
    known = known_answers.answers(FractureClassifier(target))
    atomic_write_text(folder / "known-answers.json", json.dumps(known, indent=2) + "\n")
    return target


def main() -> None:
    """Embed the file named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    print(embed(parser.parse_args().model, Path(fracture_edge.models.__file__).parent))


if __name__ == "__main__":
    main()
