"""Give a model file outputs for body part and view, or a heat map: `python -m export.attributes --data fracatlas`.

`fracture-edge export` gives them to every file of a model that was trained with such labels, or with boxes around
fractures. This command is for a file whose Keras model is not at hand, the embedded one by default: it fits heads,
or with ``--heatmap`` a localiser, to the features that the file itself computes, adds them to its graph, and
writes it again as `export.embed` does. All other outputs stay as they are. Old ones of these are replaced.
"""

import argparse
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

import fracture_edge.models
from benchmarks.run_files import runs_of_file, update_runs
from export.embed import embed
from export.onnx_passes.graph import add_constant, drop_outputs
from export.onnx_passes.localiser import attach as attach_localiser
from export.onnx_passes.localiser import map_tensors, maps_of_file
from fracture_edge.attributes import OUTPUTS
from fracture_edge.console import say
from fracture_edge.errors import FractureEdgeError
from fracture_edge.modelfile import HEATMAP_NAME, INPUT_NAME, embed_info
from fracture_edge.models import EMBEDDED_FILE
from fracture_edge.runtimes.session import open_session, read_info
from train.artifacts import sha256
from train.data.batches import load_pixels
from train.data.localisation import fracture_masks
from train.data.splits import read_table_with_splits
from train.evaluation.attributes import Head, fit_heads
from train.evaluation.localiser import fit_localiser
from train.evaluation.onnx_features import described_tensor, file_features


def attach(model: onnx.ModelProto, heads: Mapping[str, Head]) -> None:
    """Add an output for each head to a graph, in place of those that it has.

    Args:
        model: Model with an output ``atypicality``, from whose features the heads compute; changed in place.
        heads: Heads by name of the output.
    """
    graph = model.graph
    drop_outputs(graph, OUTPUTS)
    features = described_tensor(graph)
    for name, head in heads.items():
        kernel = add_constant(graph, f"{name}_head/kernel", head.kernel.astype(np.float32))
        bias = add_constant(graph, f"{name}_head/bias", head.bias.astype(np.float32))
        logits = f"{name}_head/log_odds"
        graph.node.append(helper.make_node("Gemm", [features, kernel, bias], [logits], logits))
        graph.node.append(helper.make_node("Sigmoid", [logits], [name], f"{name}_head/sigmoid"))
        shape = ["N", len(head.labels)]
        graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))


def add_attributes(
    source: Path, target: Path, data: Path, splits: Path | None, *, version: str = ""
) -> dict[str, Head]:
    """Fit the heads of body part and view to the features of a model file, and write a copy that has them.

    Args:
        source: Path of an ``.onnx`` file with an output ``atypicality``.
        target: Path of the copy.
        data: Data folder with labels of body part and view.
        splits: Split file; splits are made if ``None``.
        version: Version of the weights in the copy; that of `source` if empty.

    Returns:
        Heads by name of the output.

    Raises:
        FractureEdgeError: The file or the data cannot be used, or another output would change.
    """
    model = onnx.load(source)
    info = read_info(str(source), open_session(str(source), source.read_bytes(), None))
    table = read_table_with_splits(data, splits)
    training, validation = table.where("train"), table.where("val")
    pixels = load_pixels(validation, info.preprocessing)
    heads = fit_heads(
        training,
        file_features(str(source), model, load_pixels(training, info.preprocessing)),
        validation,
        file_features(str(source), model, pixels),
    )
    attach(model, heads)
    onnx.save(model, target)
    attributes = {name: head.metadata for name, head in heads.items()}
    embed_info(target, replace(info, attributes=attributes, version=version or info.version), target)
    check_other_outputs(source, target, pixels)
    return heads


def add_localiser(source: Path, target: Path, data: Path, splits: Path | None, *, version: str = "") -> None:
    """Fit a localiser to the feature maps of a model file, and write a copy whose heat map is made of it.

    Args:
        source: Path of an ``.onnx`` file with a heat map of cells.
        target: Path of the copy.
        data: Data folder with boxes around fractures. Training images are fitted to.
        splits: Split file; splits are made if ``None``.
        version: Version of the weights in the copy; that of `source` if empty.

    Raises:
        FractureEdgeError: The file or the data cannot be used, or another output would change.
    """
    model = onnx.load(source)
    info = read_info(str(source), open_session(str(source), source.read_bytes(), None))
    table = read_table_with_splits(data, splits)
    training = table.where("train")
    masks = fracture_masks(training, info.preprocessing)
    if masks is None:
        raise FractureEdgeError(f"{data}: has no boxes around fractures, which a localiser is fitted to")
    tensors = map_tensors(model)
    maps = maps_of_file(str(source), model, tensors, load_pixels(training, info.preprocessing))
    attach_localiser(model, tensors, fit_localiser(maps, masks, np.array(training.labels), seed=0))
    onnx.save(model, target)
    embed_info(target, replace(info, version=version or info.version), target)
    pixels = load_pixels(table.where("val"), info.preprocessing)
    check_other_outputs(source, target, pixels, changed=(HEATMAP_NAME,))


def check_other_outputs(
    before: Path, after: Path, pixels: npt.NDArray[np.uint8], *, changed: Collection[str] = OUTPUTS
) -> None:
    """Check that two files differ in nothing but some outputs.

    Args:
        before: Path of the file as it was.
        after: Path of the file with these outputs.
        pixels: Images, uint8 [N, H, W, 1].
        changed: Names of the outputs that may differ.

    Raises:
        FractureEdgeError: Another output differs by at least one bit on one of the images.
    """
    # With one thread the order of additions is the same.
    old, new = (open_session(str(path), path.read_bytes(), 1) for path in (before, after))
    names = [entry.name for entry in old.get_outputs() if entry.name not in changed]
    for row in range(len(pixels)):
        answers = (session.run(names, {INPUT_NAME: pixels[row : row + 1]}) for session in (old, new))
        for name, one, other in zip(names, *answers, strict=True):
            if not np.array_equal(one, other):
                raise FractureEdgeError(f"{before}: the output '{name}' changed, which should stay as it was")


def main() -> None:
    """Write the file given on the command line again, with outputs for body part and view or another heat map."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path, nargs="?", default=EMBEDDED_FILE)
    parser.add_argument("--data", type=Path, required=True, help="data folder in the layout of FracAtlas")
    parser.add_argument("--splits", type=Path, help="split file; splits are made if it is left out")
    parser.add_argument(
        "--heatmap", action="store_true", help="fit the heat map, and leave body part and view as they are"
    )
    parser.add_argument("--model-version", default="", help="version of the weights; unchanged if it is left out")
    parser.add_argument(
        "--run", type=Path, action="append", default=[], metavar="RUN.json", help="benchmark of the file"
    )
    arguments = parser.parse_args()
    try:
        print(_embed_with_attributes(arguments))
    except FractureEdgeError as error:
        parser.exit(1, f"error: {error}\n")


def _embed_with_attributes(arguments: argparse.Namespace) -> Path:
    old = sha256(arguments.model)
    measured = runs_of_file(arguments.run, old)
    with TemporaryDirectory() as work:
        copy = Path(work) / arguments.model.name
        given = (arguments.model, copy, arguments.data, arguments.splits)
        if arguments.heatmap:
            add_localiser(*given, version=arguments.model_version)
        else:
            heads = add_attributes(*given, version=arguments.model_version)
            for name, head in heads.items():
                say(f"{name}: {', '.join(head.labels)}; named from {head.threshold:.2f} on")
        target = embed(copy, Path(fracture_edge.models.__file__).parent)
    info = read_info(str(target), open_session(str(target), target.read_bytes(), None))
    # The new heads may see other body parts than the old ones did.
    update_runs(measured, old, target, info, parts=arguments.heatmap)
    return target


if __name__ == "__main__":
    main()
