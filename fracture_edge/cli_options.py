"""Options that several commands share, so that they read alike."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

DataOption: TypeAlias = Annotated[Path, typer.Option("--data", help="The data folder.")]
SplitsOption: TypeAlias = Annotated[
    Path, typer.Option("--splits", help="As `fracture-edge data split` writes it.")
]
ArtifactsOption: TypeAlias = Annotated[
    Path, typer.Option("--artifacts", help="Folder of all artefacts; each model has a folder of its own in it.")
]
ForceOption: TypeAlias = Annotated[bool, typer.Option("--force", help="Replace what is there already.")]


def quiet_tensorflow() -> None:
    """Import TensorFlow, if Keras will run on it, without its start-up chatter on stderr.

    Its C++ parts write there before any level can be set: build options, and a search for GPUs. What goes
    wrong later still shows.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        return
    with _stderr_closed(), suppress(ModuleNotFoundError):
        import tensorflow as tf

        tf.config.list_physical_devices()


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
