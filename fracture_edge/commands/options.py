"""Options that several commands share, so that they read alike."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

ModelOption: TypeAlias = Annotated[
    Path | None, typer.Option("--model", help="A model file; the embedded one if not given.")
]
ThresholdOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--threshold", min=0, max=1, help="In place of the model's own, without a band of uncertain ones."
    ),
]
CheckImagesOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--check-images/--any-image",
        help="Whether a picture that is unlike the training images, or of low quality, is uncertain whatever its "
        "probability.",
    ),
]
PolicyOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--policy",
        metavar="screening|balanced|specific",
        help="Operating point stored in the model: screening misses fewest fractures, specific raises fewest "
        "false alarms. balanced if not given; `fracture-edge info` shows what each kept on validation.",
    ),
]
ThreadsOption: TypeAlias = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Threads of one inference; as many as help if not given."),
]
MaxPixelsOption: TypeAlias = Annotated[
    int,
    typer.Option(
        "--max-pixels",
        min=1024,
        help="Refuse larger pictures before they are decoded; decoding one may take 5 bytes of memory a pixel.",
    ),
]
RecursiveOption: TypeAlias = Annotated[bool, typer.Option("--recursive", "-r", help="Look into sub-folders too.")]
DataOption: TypeAlias = Annotated[Path, typer.Option("--data", help="The data folder.")]
SplitsOption: TypeAlias = Annotated[
    Path, typer.Option("--splits", help="As `fracture-edge data split` writes it.")
]
OptionalSplitsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--splits",
        help="As `fracture-edge data split` writes it. If not given: the folder's own train and val folders, or "
        "grouped splits that are drawn on the way.",
    ),
]
ArtifactsOption: TypeAlias = Annotated[
    Path, typer.Option("--artifacts", help="Folder of all artefacts; each model has a folder of its own in it.")
]
ForceOption: TypeAlias = Annotated[bool, typer.Option("--force", help="Replace what is there already.")]
EpochsOption: TypeAlias = Annotated[
    int | None, typer.Option("--epochs", min=1, help="Most epochs of every phase of the recipe.")
]
SetOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Replace any value of the recipe; may be repeated: --set patience=3 --set augmentation.mixup=0.2 "
        "--set phases.1.learning_rate=1e-6 (phases are counted from 0).",
    ),
]
SeedOption: TypeAlias = Annotated[int, typer.Option("--seed", help="Seed of weights, order and augmentation.")]
PrecisionOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--precision",
        help="auto (mixed_float16 on a GPU, float32 on a CPU), float32, mixed_float16 or mixed_bfloat16 (faster "
        "on CPUs with AVX512-BF16 or AMX).",
    ),
]
DistributeOption: TypeAlias = Annotated[
    bool, typer.Option("--distribute", help="Share every batch among all devices; needs KERAS_BACKEND=jax.")
]
TensorBoardOption: TypeAlias = Annotated[
    Path | None, typer.Option("--tensorboard", help="Write TensorBoard logs into this folder.")
]


def quiet_tensorflow() -> None:
    """Import TensorFlow, if Keras will run on it, without its start-up chatter on stderr.

    Its C++ parts write there before any level can be set: build options, and a search for GPUs. What goes
    wrong later still shows, but for a warning of several functions where there are several models.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        return
    with _stderr_closed(), suppress(ModuleNotFoundError):
        import tensorflow as tf

        tf.config.list_physical_devices()
        tf.get_logger().addFilter(_no_retracing)


def _no_retracing(record: Any) -> bool:
    """TensorFlow counts the functions of all models together, and has each new one for a loop gone wrong."""
    return "triggered tf.function retracing" not in record.getMessage()


@contextmanager
def _stderr_closed() -> Iterator[None]:
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
