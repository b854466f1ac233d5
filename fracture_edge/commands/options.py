"""Options that several commands share, so that they read alike."""

from pathlib import Path
from typing import Annotated, TypeAlias

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
