"""Command `fracture-edge watch`."""

import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from fracture_edge.batch.watch_records import SETTLE_SECONDS
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
    folder: Annotated[Path, typer.Argument(help="Folder in which images appear.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="File for the records, JSON lines. Records are appended; after a restart, files that have "
            "records in it are skipped.",
        ),
    ],
    recursive: RecursiveOption = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two scans of the folder.")] = 2.0,
    once: Annotated[
        bool,
        typer.Option(
            "--once",
            help="Classify the files that are present and exit, for cron jobs. It waits --settle seconds if the "
            "content of a file does not show that it is complete, and before it moves files.",
        ),
    ] = False,
    settle: Annotated[
        float,
        typer.Option(
            min=0,
            help="Seconds without a change after which a file is moved, and after which it is classified if its "
            "content does not show that it is complete. More for a slow network.",
        ),
    ] = SETTLE_SECONDS,
    move_to: Annotated[
        Path | None,
        typer.Option(
            help="Folder to move files to when they have a record, even of an error. Default: leave them in place."
        ),
    ] = None,
    model: ModelOption = None,
    policy: PolicyOption = None,
    check_images: CheckImagesOption = True,
    threshold: ThresholdOption = None,
    threads: ThreadsOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
) -> None:
    """Classify images as they appear in a folder, until Ctrl-C or SIGTERM: from a PACS export or a scanner.

    A file counts as complete when its content shows it: the end mark of a PNG, JPEG or compressed DICOM file, the
    length of uncompressed pixels that do not contain long runs of zeros. If the content does not show it, nothing
    may have changed for --settle seconds. Hidden, empty and temporary files (.part, .tmp) are ignored. A file
    whose content changes is classified again: the last record of a path counts. A file that cannot be used gets a
    record with its status. Each frame of a DICOM file gets its own record.

    Each record is on the disk before the prediction is printed. A restart continues where the last run ended, even
    after kill -9, and classifies nothing twice, so keep the output file in place. No file is moved or changed
    without --move-to.

    Exit status: 0 stopped by Ctrl-C or SIGTERM, or done with --once, 1 failed, 2 wrong usage.

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

    stopped = Stop()

    def note(text: str) -> None:
        say(f"fracture-edge: {text}")

    def report(prediction: Prediction) -> None:
        print(sentence(prediction), flush=True)

    with FractureClassifier(
        model, threads, threshold=threshold, policy=policy, max_pixels=max_pixels, check_images=check_images
    ) as classifier:
        watcher = watching.Watcher(
            folder, out, classifier, recursive=recursive, move_to=move_to, settle=settle, note=note
        )
        try:
            watching.watch(watcher, report, interval=interval, once=once, stopped=stopped)
        finally:
            watcher.close()


class Stop:
    """Flag that SIGINT or SIGTERM sets from now on; the second signal ends the process at once."""

    def __init__(self) -> None:
        self._asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def __call__(self) -> bool:
        """Return whether a signal has come."""
        return self._asked

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        signal.signal(number, signal.SIG_DFL)
