"""Install an exported model as the embedded model: `python -m export.embed artifacts/edge/edge-int8.onnx`.

Run it in a checkout; it writes the model file, its SHA-256 and its known answers to ``fracture_edge/models``. The
embedded file itself can be written again, with what has been learnt since about faster graphs: benchmark runs that
measured it (``--run``) then name the new file, if it answers as before.
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import onnxruntime as ort

import fracture_edge.models
from benchmarks.run_files import runs_of_file, update_runs
from export.onnx_passes.space_to_depth import group_pixels
from export.onnx_passes.storage import unshare_zero_points
from fracture_edge.classifier import FractureClassifier
from fracture_edge.doctor import known_answers
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_path, atomic_write_text
from fracture_edge.modelfile import embed_info, read_model
from fracture_edge.models import EMBEDDED
from fracture_edge.runtimes.session import read_info


def embed(source: Path, folder: Path, *, version: str = "") -> Path:
    """Optimise the graph of a model file ahead of time and write it with its checksum and known answers.

    Fused quantised operators load faster than QDQ pairs, which shortens every `classify`. The optimisation level
    is the highest whose result does not depend on the processor. A first convolution that reads one channel reads
    blocks of pixels, see `export.onnx_passes.space_to_depth`. `embed_again` checks that the answers stay the same.

    Args:
        source: Path of an ``.onnx`` file written by `fracture-edge export`, or of an embedded one to write again.
        folder: Folder of the embedded model.
        version: Version of the new file; that of `source` if empty.

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
    group_pixels(model)
    target = folder / f"{info.name}.onnx"
    with atomic_path(target) as temporary:
        onnx.save(model, temporary)
        embed_info(temporary, replace(info, version=version or info.version), temporary)
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


def embed_again(folder: Path, *, version: str, runs: Sequence[Path] = ()) -> Path:
    """Write the embedded file again, and bring benchmark runs of it up to date.

    Args:
        folder: Folder of the embedded model.
        version: Version of the new file; that of the old one if empty.
        runs: ``RUN.json`` files that measured the file; their predictions stay, and their times as those of the
            old file.

    Returns:
        Path of the embedded file.

    Raises:
        FractureEdgeError: A run did not measure the file, or the new file answers a known picture otherwise.
            Nothing is written in this case.
    """
    path = folder / f"{EMBEDDED}.onnx"
    before = FractureClassifier(path)
    measured = runs_of_file(runs, before.sha256)
    with TemporaryDirectory() as work:
        after_path = embed(path, Path(work), version=version)
        after = FractureClassifier(after_path)
        if _answers(after) != _answers(before):
            raise FractureEdgeError(f"{path}: written again, it answers otherwise")
        with atomic_path(path) as temporary:
            temporary.write_bytes(after_path.read_bytes())
    write_checks(path)
    update_runs(measured, before.sha256, path, after.info)
    return path


def _answers(classifier: FractureClassifier) -> list[float]:
    return list(known_answers.predictions(classifier)["probabilities"])


def main() -> None:
    """Embed the file given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path, nargs="?", help="default: the embedded file, written again")
    parser.add_argument("--model-version", default="", help="version of the file; unchanged if it is left out")
    parser.add_argument(
        "--run", type=Path, action="append", default=[], metavar="RUN.json", help="benchmark of the embedded file"
    )
    given, folder = parser.parse_args(), Path(fracture_edge.models.__file__).parent
    if given.model is not None and given.run:
        parser.error("--run is for the embedded file, written again: another file must be measured")
    try:
        if given.model is None:
            print(embed_again(folder, version=given.model_version, runs=given.run))
        else:
            print(embed(given.model, folder, version=given.model_version))
    except FractureEdgeError as error:
        parser.exit(1, f"error: {error}\n")


if __name__ == "__main__":
    main()
