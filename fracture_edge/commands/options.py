"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

ModelOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--model",
        help="Model file, .onnx, or .tflite with the [litert] extra. Default: the embedded model.",
    ),
]
ThresholdOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        min=0,
        max=1,
        help="Decision threshold in place of the model's own, without an uncertain band.",
    ),
]
CheckImagesOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--check-images/--any-image",
        help="Whether an image that is unlike the training images or of low quality is uncertain, whatever its "
        "probability.",
    ),
]
PolicyOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--policy",
        metavar="balanced|certain|screening|specific",
        help="Operating point stored in the model: balanced (the default) wants nine of ten decided images of "
        "either class right, certain 95 of 100, for which it decides fewer; screening misses few fractures, "
        "specific raises few false alarms. `fracture-edge info` prints what each achieved, and on which images. "
        "Files made by earlier versions lack certain.",
    ),
]
ThreadsOption: TypeAlias = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Threads per inference, at most one per core. Default: 4."),
]
MaxPixelsOption: TypeAlias = Annotated[
    int,
    typer.Option(
        "--max-pixels",
        min=1024,
        help="Refuse larger images before they are decoded. Decoding may take 5 bytes of memory for each pixel "
        "that is allowed.",
    ),
]
RecursiveOption: TypeAlias = Annotated[bool, typer.Option("--recursive", "-r", help="Search sub-folders too.")]
