"""Measure the training speed in images per second: `python -m benchmarks.studies training-speed`.

It is compared with the same training step on one constant batch, which is the limit of the device; the difference
is the cost of the input pipeline. Both use the recipe's augmentation, loss and optimizer, and take turns. The
images are random bytes: the speed does not depend on their content.
"""

import gc
import json
import os
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import typer

from benchmarks.records.environment import Environment
from train.architectures import ARCHITECTURES, build, set_trainable
from train.data.batches import Batches
from train.data.mixing import Mixing
from train.device import Device, prepare
from train.json_records import WRITTEN_ALWAYS, to_plain, write_record
from train.quiet_tensorflow import quiet_tensorflow
from train.recipes.recipe import Recipe, load_recipe
from train.trainer import loop
from train.trainer.batch_norm import fused_batch_norms
from train.trainer.train_once import clear_session

app = typer.Typer(add_completion=False, rich_markup_mode=None)
RESULTS = Path(__file__).resolve().parents[2] / "results" / "training-speed.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpeed:
    """Training speed of one network.

    Attributes:
        model: Name of the architecture.
        input: Size of the input, ``HEIGHTxWIDTH``.
        batch_size: Number of images per batch.
        trainable: Layers that are trained, in words.
        images_per_second: Images per second with the input pipeline (median).
        images_per_second_constant_batch: Images per second with one constant batch (median).
        ratio: Median over the rounds of the ratio of the speed with the pipeline to that with a constant batch.
        ratios: Ratios of all rounds.
        device: Device and backend, in words.
        precision: Keras dtype policy.
    """

    model: str
    input: str
    batch_size: int
    trainable: str
    images_per_second: float
    images_per_second_constant_batch: float
    ratio: float
    ratios: tuple[float, ...]
    device: str
    precision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSpeed:
    """Training speed of networks on one machine.

    Attributes:
        batches: Number of batches per round.
        rounds: Number of rounds.
        models: Speeds of the networks.
        onednn: Value of ``TF_ENABLE_ONEDNN_OPTS``; with 0 TensorFlow uses its own kernels where it would use
            oneDNN's, see `train`.
        environment: Machine and package versions.
    """

    batches: int
    rounds: int
    models: tuple[NetworkSpeed, ...]
    onednn: str | None = field(default=None, metadata=WRITTEN_ALWAYS)
    environment: Environment


def training_speed(recipe: Recipe, device: Device, *, batches: int, rounds: int) -> NetworkSpeed:
    """Time the last phase of a recipe with and without the input pipeline.

    Args:
        recipe: Recipe with network, input size, batch size and augmentation.
        device: Device chosen by `train.device.prepare`.
        batches: Number of batches per round.
        rounds: Number of rounds, after one that is not counted.
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
    # The first epoch traces the graph and warms up; it is not counted.
    with fused_batch_norms(model):
        trainer.fit(training, epochs=rounds + 1, shuffle=False, verbose=0, callbacks=[clock])
    piped_seconds, bare_seconds = clock.piped[1:], clock.bare[1:]
    ratios = [bare / piped for piped, bare in zip(piped_seconds, bare_seconds, strict=True)]
    piped, bare = count / statistics.median(piped_seconds), count / statistics.median(bare_seconds)
    return NetworkSpeed(
        model=recipe.architecture,
        input=f"{size.height}x{size.width}",
        batch_size=recipe.batch_size,
        trainable=phase.trainable if not phase.last_layers else f"head and last {phase.last_layers} layers",
        images_per_second=round(piped, 2),
        images_per_second_constant_batch=round(bare, 2),
        ratio=round(statistics.median(ratios), 3),
        ratios=tuple(round(ratio, 3) for ratio in ratios),
        device=device.name,
        precision=device.precision,
    )


class _Clock(keras.callbacks.Callback):
    """Callback that times every epoch, and after it the same number of steps on one constant batch.

    Everything happens in one call of `fit`, as in training: each further call would trace the step again.
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
        """Stop the clock, and time the steps on the constant batch."""
        self.piped.append(time.perf_counter() - self._started)
        started = time.perf_counter()
        for _ in range(self.batches):
            self.model.train_on_batch(*self.constant)
        self.bare.append(time.perf_counter() - started)


@app.command()
def run(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL[:PRECISION]...", help="Models to time. Default: all.", show_default=False),
    ] = None,
    batches: Annotated[int, typer.Option(min=1, help="Number of batches per round.")] = 6,
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds.")] = 5,
    output: Annotated[
        Path, typer.Option(metavar="FILE.json", help="Write the JSON here.", show_default=False)
    ] = RESULTS,
) -> None:
    """Time training with the recipe `corrected`, and the same step on one constant batch.

    \b
    python -m benchmarks.studies training-speed vgg16 vgg16:mixed_bfloat16
    """  # noqa: D301
    quiet_tensorflow()
    rows = []
    for entry in models or list(ARCHITECTURES):
        model, _, precision = entry.partition(":")
        device = prepare(precision or "auto")
        rows.append(training_speed(load_recipe(model, "corrected"), device, batches=batches, rounds=rounds))
        print(json.dumps(to_plain(rows[-1])), flush=True)
        gc.collect()
    result = TrainingSpeed(
        batches=batches,
        rounds=rounds,
        models=tuple(rows),
        onednn=os.environ.get("TF_ENABLE_ONEDNN_OPTS"),
        environment=Environment.here(),
    )
    write_record(output, result)
