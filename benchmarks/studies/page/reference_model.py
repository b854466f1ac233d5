"""Models to make pages of: the reference's custom CNN, trained for a moment, and one with a changed weight."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.studies.page.pictures import Drawn, bone
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.prediction import Prediction

#: Small, and for a few epochs, in which it learns to tell bright pictures from dark ones: only probabilities that
#: differ show whether its page answers as its file does.
_RECIPE = """
architecture = "custom_cnn"
batch_size = 16

[preprocessing]
height = 96
width = 96

[[phases]]
epochs = 4
learning_rate = 1e-3
"""
#: Images of each class, and their size.
_IMAGES, _SIZE = 40, 128
_BUDGETS = "[float16]\n[dynamic]\n[int8]\n"


def custom_cnn_files(folder: Path) -> list[Path]:
    """Train and export a custom CNN.

    Args:
        folder: Folder for images and artefacts.

    Returns:
        Paths of its ONNX files, float32 and int8.

    Raises:
        FractureEdgeError: Training or export fails.
    """
    rng = np.random.default_rng(0)
    for name, darker in (("fractured", 1), ("normal", 2)):
        target = folder / "bones" / name
        target.mkdir(parents=True)
        for number in range(_IMAGES):
            Image.fromarray(bone(rng, _SIZE) // darker).save(target / f"bone{number:03d}.png")
    (folder / "recipe.toml").write_text(_RECIPE, encoding="utf-8")
    (folder / "budgets.toml").write_text(_BUDGETS, encoding="utf-8")
    _run(folder, "data", "split", "bones", "--out", "splits.csv")
    _run(folder, "train", "custom_cnn", "--data", "bones", "--splits", "splits.csv", "--recipe", "recipe.toml")
    _run(folder, "export", "custom_cnn", "--onnx", "--float32", "--int8", "--budgets", "budgets.toml")
    return [folder / "artifacts" / "custom_cnn" / f"custom_cnn-{kind}.onnx" for kind in ("float32", "int8")]


def _run(folder: Path, *words: str) -> None:
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "fracture_edge", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise FractureEdgeError(f"{' '.join(words[:2])}: {done.stderr[-2000:]}")


def change_weight(source: Path, target: Path, file: Drawn) -> None:
    """Write a copy of a model in which one byte of a weight is another one, and the answer for a file too.

    Args:
        source: Path of the model.
        target: Path of the copy.
        file: Picture whose probability has to change by 0.01: rounding to 8 bits hides most single weights.

    Raises:
        FractureEdgeError: No byte that was tried changes the answer.
    """
    import onnx

    (before,) = predicted(source, [file])
    for index in range(len(onnx.load(source).graph.initializer)):
        model = onnx.load(source)
        tensor = model.graph.initializer[-1 - index]
        raw = bytearray(tensor.raw_data)
        if tensor.data_type != onnx.TensorProto.FLOAT or not raw:
            continue
        # The highest byte of a little-endian number: its sign and most of its exponent.
        raw[3] ^= 0x80
        tensor.raw_data = bytes(raw)
        onnx.save(model, target)
        (after,) = predicted(target, [file])
        if abs((after.probability or 0) - (before.probability or 0)) > 0.01:
            return
    raise FractureEdgeError("no changed byte changes the answer")


def predicted(model: Path, files: Sequence[Drawn], policy: str | None = None) -> list[Prediction]:
    """Return the predictions of the program, with the names of the files as paths."""
    with FractureClassifier(model, policy=policy) as classifier:
        return [
            replace(prediction, path=file.name)
            for file in files
            for prediction in classifier.predict_frames(file.data)
        ]
