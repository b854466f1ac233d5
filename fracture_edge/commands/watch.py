"""`fracture-edge watch`."""

import io
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from fracture_edge.commands.options import (
    CheckImagesOption,
    MaxPixelsOption,
    ModelOption,
    PolicyOption,
    RecursiveOption,
    ThreadsOption,
    ThresholdOption,
)
from fracture_edge.console import say
from fracture_edge.images.limits import MAX_PIXELS

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def watch(
    folder: Annotated[Path, typer.Argument(help="The folder that images appear in.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="JSON lines; records are added, and tell the next start what was answered already."
        ),
    ],
    recursive: RecursiveOption = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 2.0,
    once: Annotated[
        bool, typer.Option("--once", help="Answer what is there, and end; for cron and the like.")
    ] = False,
    move_to: Annotated[
        Path | None,
        typer.Option(
            help="Move files that have a record, an error too, into this folder; they stay if not given."
        ),
    ] = None,
    model: ModelOption = None,
    policy: PolicyOption = None,
    check_images: CheckImagesOption = True,
    threshold: ThresholdOption = None,
    threads: ThreadsOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
) -> None:
    """Answer images as they appear in a folder, until Ctrl-C or SIGTERM: a PACS export, a scanner.

    A file counts as complete when its size and time are the same at two looks; hidden, empty and temporary files
    (.part, .tmp) wait. A file that is replaced is answered again: the last record of a path counts. A file that
    cannot be used gets a record with its status. Each frame of a DICOM file gets a record of its own.

    Each record is on the disk before the answer is printed. A restart goes on where the last run ended, a kill -9
    included, and answers nothing twice; so keep the output where it is. Nothing is moved or changed unless
    --move-to says so.

    Exit status: 0 when it was ended, 1 it failed, 2 wrong usage.

    For research and education. Not a medical device.

    \b
    fracture-edge watch inbox --out results.jsonl
    fracture-edge watch inbox --out results.jsonl --move-to answered --interval 10
    fracture-edge watch inbox --out results.jsonl --once
    """  # noqa: D301
    from fracture_edge.batch import watch as watching
    from fracture_edge.batch.records import sentence
    from fracture_edge.classifier import FractureClassifier
    from fracture_edge.prediction import Prediction

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")
    stopped = _Stop()

    def note(text: str) -> None:
        say(f"fracture-edge: {text}")

    def report(prediction: Prediction) -> None:
        print(sentence(prediction), flush=True)

    with FractureClassifier(
        model, threads, threshold=threshold, policy=policy, max_pixels=max_pixels, check_images=check_images
    ) as classifier:
        watcher = watching.Watcher(folder, out, classifier, recursive=recursive, move_to=move_to, note=note)
        try:
            watching.watch(watcher, report, interval=interval, once=once, stopped=stopped)
        finally:
            watcher.close()


class _Stop:
    """True once the process was asked to end; asked a second time it ends at once."""

    def __init__(self) -> None:
        self._asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def __call__(self) -> bool:
        return self._asked

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        signal.signal(number, signal.SIG_DFL)
