"""Install an exported model as the embedded model: `python -m export.embed artifacts/edge/edge-int8.onnx`.

Run it in a checkout; it writes the model file, its SHA-256 and its known answers to ``fracture_edge/models``.
"""

import argparse
import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import onnxruntime as ort

import fracture_edge.models
from export.onnx_passes.storage import unshare_zero_points
from fracture_edge.classifier import FractureClassifier
from fracture_edge.doctor import known_answers
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_path, atomic_write_text
from fracture_edge.modelfile import embed_info, read_model
from fracture_edge.models import EMBEDDED
from fracture_edge.runtimes.session import read_info


def embed(source: Path, folder: Path) -> Path:
    """Optimise the graph of a model file ahead of time and write it with its checksum and known answers.

    Fused quantised operators load faster than QDQ pairs, which shortens every `classify`. The optimisation level
    is the highest whose result does not depend on the processor; probabilities stay the same.

    Args:
        source: Path of an ``.onnx`` file written by `fracture-edge export`, or of an embedded one to write again.
        folder: Folder of the embedded model.

    Returns:
        Path of the embedded file.

    Raises:
        FractureEdgeError: The file does not load, or its model name is not that of the embedded model.
    """
    name, data, _ = read_model(source)
    model = onnx.load_model_from_string(data)
    unshare_zero_points(model)
    # Not the package's session options: wider sums, if this processor needs them, would be stored in the file.
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    with TemporaryDirectory() as work:
        fused = Path(work) / "fused.onnx"
        options.optimized_model_filepath = str(fused)
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        info = read_info(name, session)
        if info.name != EMBEDDED:
            raise FractureEdgeError(f"{source}: the embedded model is '{EMBEDDED}', this is '{info.name}'")
        model = onnx.load(fused)
    unshare_zero_points(model)
    target = folder / f"{info.name}.onnx"
    with atomic_path(target) as temporary:
        onnx.save(model, temporary)
        embed_info(temporary, info, temporary)
    write_checks(target)
    return target


def write_checks(target: Path) -> None:
    """Write checksum and known answers of an embedded model file beside it.

    Args:
        target: Path of the file.
    """
    data = target.read_bytes()
    checksum = {"file": target.name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    atomic_write_text(target.with_suffix(".json"), json.dumps(checksum, indent=2) + "\n")
    known = known_answers.predictions(FractureClassifier(target))
    atomic_write_text(target.with_name("known-answers.json"), json.dumps(known, indent=2) + "\n")


def main() -> None:
    """Embed the file given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    print(embed(parser.parse_args().model, Path(fracture_edge.models.__file__).parent))


if __name__ == "__main__":
    main()
