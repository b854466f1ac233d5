"""Files of the reference's custom CNN, trained for a moment on drawn bones, to make pages of."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.studies.page.pictures import bone
from fracture_edge.errors import FractureEdgeError

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
