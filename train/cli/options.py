"""Options shared by several training commands."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

DataOption: TypeAlias = Annotated[Path, typer.Option("--data", help="Data folder.")]
SplitsOption: TypeAlias = Annotated[
    Path, typer.Option("--splits", help="Split file written by `fracture-edge data split`.")
]
OptionalSplitsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--splits",
        help="Split file written by `fracture-edge data split`. If not given: the folder's own train and val "
        "folders, or else new grouped splits.",
    ),
]
ArtifactsOption: TypeAlias = Annotated[
    Path, typer.Option("--artifacts", help="Folder of all artefacts; each model has a folder of its own in it.")
]
ForceOption: TypeAlias = Annotated[bool, typer.Option("--force", help="Overwrite existing output.")]
EpochsOption: TypeAlias = Annotated[
    int | None, typer.Option("--epochs", min=1, help="Largest number of epochs of every phase of the recipe.")
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
SeedOption: TypeAlias = Annotated[
    int, typer.Option("--seed", help="Random seed of weights, order and augmentation.")
]
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
