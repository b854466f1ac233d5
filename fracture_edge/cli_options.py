"""Options that several commands share, so that they read alike."""

import os
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

DataOption: TypeAlias = Annotated[Path, typer.Option("--data", help="The data folder.")]
SplitsOption: TypeAlias = Annotated[
    Path, typer.Option("--splits", help="As `fracture-edge data split` writes it.")
]
ArtifactsOption: TypeAlias = Annotated[
    Path,
    typer.Option("--artifacts", help="Folder of all artefacts; each model has a folder of its own in it."),
]
ForceOption: TypeAlias = Annotated[bool, typer.Option("--force", help="Replace what is there already.")]


def quiet_tensorflow() -> None:
    """Keep TensorFlow's start-up chatter off stderr; its errors still come. Call before it is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
