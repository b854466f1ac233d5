"""What a reader wants to see of a training run: the record and the curves."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import keras

from fracture_edge._version import installed
from fracture_edge.files import atomic_path, atomic_write_text
from train.dataset import SPLITS, ImageTable
from train.recipe import Recipe

RECORD_SCHEMA = 1
_PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy", "pillow", "scikit-learn")
#: What was settled on validation and is frozen from here on.
FROZEN = ("temperature", "intercept", "threshold", "uncertain_low", "uncertain_high")


def training_record(
    *,
    recipe: Recipe,
    recipe_name: str,
    seed: int,
    initial_weights: str,
    table: ImageTable,
    data_fingerprint: str,
    parameters: int,
    best: dict[str, Any],
    epochs: int,
    seconds: float,
    validation: dict[str, Any],
    version: str,
    created: str,
) -> dict[str, Any]:
    """Put together ``training.json``: everything the later stages and a reader need to know."""
    counts = Counter((item.split, item.label) for item in table)
    return {
        "schema_version": RECORD_SCHEMA,
        "model": recipe.architecture,
        "positive_class": "fractured",
        "parameters": parameters,
        **{name: validation[name] for name in FROZEN},
        "validation": {name: value for name, value in validation.items() if name not in FROZEN},
        "recipe_name": recipe_name,
        "recipe": recipe.to_dict(),
        "seed": seed,
        "initial_weights": initial_weights,
        "data": {
            "root": str(table.root.resolve()),
            "layout": table.layout,
            "fingerprint": data_fingerprint,
            "images": {
                split: {"fractured": counts[split, 1], "not_fractured": counts[split, 0]} for split in SPLITS
            },
        },
        "epochs": epochs,
        "best_epoch": best["epoch"],
        "seconds": round(seconds),
        "backend": keras.backend.backend(),
        "versions": {"fracture-edge": version, **installed(*_PACKAGES)},
        "created": created,
    }


def write_record(record: dict[str, Any], path: Path) -> None:
    """Write a record as JSON in one step."""
    atomic_write_text(path, json.dumps(record, indent=2) + "\n")


def draw_curves(rows: list[dict[str, Any]], path: Path, *, title: str) -> None:
    """Draw loss and AUROC of training and validation over the epochs as PNG.

    The loss of training images is measured under augmentation and dropout, so it may lie above that of
    validation images.
    """
    # Without pyplot: no global state, no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    epochs = [row["epoch"] for row in rows]
    for axes, name in zip(figure.subplots(1, 2), ("loss", "auroc"), strict=True):
        axes.plot(epochs, [row[name] for row in rows], label="training (augmented)")
        axes.plot(epochs, [row[f"val_{name}"] for row in rows], label="validation")
        axes.set(xlabel="epoch", ylabel={"loss": "loss", "auroc": "AUROC"}[name])
        axes.grid(alpha=0.3)
        axes.legend()
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(f"{title}: training")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130)
