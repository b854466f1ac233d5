"""Images a second in training: `python -m benchmarks.studies training-speed`.

Measured beside the same step on one constant batch, which is what the device can do; what training falls
short of it is the input pipeline's fault. Both go
through the recipe's augmentation, loss and optimizer, in turns. Images are random bytes: the speed does not
depend on what they show.
"""

import gc
import json
import os
import statistics
import time
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import typer

from benchmarks.environment import environment
from fracture_edge.files import atomic_write_text
from train.architectures import ARCHITECTURES, build, set_trainable
from train.data.batches import Batches
from train.data.mixing import Mixing
from train.device import prepare
from train.quiet_tensorflow import quiet_tensorflow
from train.recipes.recipe import Recipe, load_recipe
from train.trainer import loop
from train.trainer.batch_norm import fused_norms
from train.trainer.train_once import clear_session

app = typer.Typer(add_completion=False, rich_markup_mode=None)
RESULTS = Path(__file__).resolve().parents[2] / "results" / "training-speed.json"


def training_speed(recipe: Recipe, *, batches: int, rounds: int) -> dict[str, Any]:
    """Time the last phase of `recipe` with and without the input pipeline.

    Args:
        recipe: Names network, size, batch size and augmentation.
        batches: Batches of one timing.
        rounds: Timings of each, in turns.

    Returns:
        Images a second of both (medians), and the median of the rounds' ratios.
    """
    clear_session()
    keras.utils.set_random_seed(0)
    size, count = recipe.preprocessing, batches * recipe.batch_size
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (count, size.height, size.width, 1), np.uint8)
    labels = random.permutation(np.arange(count) % 2).tolist()
    phase = recipe.phases[-1]
    model = build(recipe.architecture, size.height, size.width, **recipe.options)
    set_trainable(model, phase.trainable, phase.last_layers)
    trainer = loop.with_augmentation(model, recipe, 0)
    loop.compile_phase(trainer, recipe, phase, steps=batches)
    training = Batches(
        pixels, labels, batch_size=recipe.batch_size, seed=0, mixing=Mixing.of(recipe.augmentation, 0)
    )
    clock = _Clock(training[0], batches)
    # The first epoch traces and warms up.
    with fused_norms(model):
        trainer.fit(training, epochs=rounds + 1, shuffle=False, verbose=0, callbacks=[clock])
    piped_seconds, bare_seconds = clock.piped[1:], clock.bare[1:]
    ratios = [bare / piped for piped, bare in zip(piped_seconds, bare_seconds, strict=True)]
    piped, bare = count / statistics.median(piped_seconds), count / statistics.median(bare_seconds)
    return {
        "model": recipe.architecture,
        "input": f"{size.height}x{size.width}",
        "batch_size": recipe.batch_size,
        "trainable": phase.trainable if not phase.last_layers else f"head and last {phase.last_layers} layers",
        "images_per_second": round(piped, 2),
        "images_per_second_constant_batch": round(bare, 2),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


class _Clock(keras.callbacks.Callback):
    """Times every epoch, and after it as many steps on one constant batch.

    All in one call of `fit`, as in training: every further call would trace the step anew.
    """

    def __init__(self, constant: tuple[Any, ...], batches: int) -> None:
        super().__init__()
        self.constant, self.batches = constant, batches
        self.piped: list[float] = []
        self.bare: list[float] = []
        self._started = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Stop it, and time the bare step."""
        self.piped.append(time.perf_counter() - self._started)
        started = time.perf_counter()
        for _ in range(self.batches):
            self.model.train_on_batch(*self.constant)
        self.bare.append(time.perf_counter() - started)


@app.command()
def run(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL[:PRECISION]...", help="All if none is named.", show_default=False),
    ] = None,
    batches: Annotated[int, typer.Option(min=1, help="Batches of one timing.")] = 6,
    rounds: Annotated[int, typer.Option(min=1, help="Timings of each, in turns.")] = 5,
    output: Annotated[
        Path, typer.Option(metavar="FILE.json", help="Write the JSON here.", show_default=False)
    ] = RESULTS,
) -> None:
    """Time training by the recipe `corrected`, beside the same step on one constant batch.

    \b
    python -m benchmarks.studies training-speed vgg16 vgg16:mixed_bfloat16
    """  # noqa: D301
    quiet_tensorflow()
    rows = []
    for entry in models or list(ARCHITECTURES):
        model, _, precision = entry.partition(":")
        device = prepare(precision or "auto")
        row = training_speed(load_recipe(model, "corrected"), batches=batches, rounds=rounds)
        rows.append(row | {"device": device.name, "precision": device.precision})
        print(json.dumps(rows[-1]), flush=True)
        gc.collect()
    result = {
        "batches": batches,
        "rounds": rounds,
        "models": rows,
        # 0: TensorFlow's own kernels, where it would take oneDNN's, see `train`.
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS"),
        "environment": environment(),
    }
    atomic_write_text(output, json.dumps(result, indent=2) + "\n")
