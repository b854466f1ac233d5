"""`fracture-edge classify`."""

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fracture_edge.cli import EXIT_FAILED, EXIT_SOME_FAILED
from fracture_edge.cli_options import (
    CheckImagesOption,
    MaxPixelsOption,
    ModelOption,
    PolicyOption,
    RecursiveOption,
    ThreadsOption,
    ThresholdOption,
)
from fracture_edge.limits import MAX_PIXELS

if TYPE_CHECKING:
    from fracture_edge.classifier import FractureClassifier
    from fracture_edge.decoding import Wanted
    from fracture_edge.prediction import Prediction
    from fracture_edge.records import Format

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def classify(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Images, folders of images, patterns in quotes such as 'xrays/**/*.png', or - for a list of "
            "paths on stdin (one a line, or ended by NUL).",
            show_default=False,
        ),
    ],
    recursive: RecursiveOption = False,
    model: ModelOption = None,
    policy: PolicyOption = None,
    check_images: CheckImagesOption = True,
    threshold: ThresholdOption = None,
    threads: ThreadsOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            help="Images that are decoded at a time. If not given: one for each core, at most 4, fewer where "
            "memory is short. 1 needs the least.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
    as_jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON object a line.")] = False,
    as_csv: Annotated[
        bool,
        typer.Option(
            "--csv", help="Print CSV with a header. Text that a spreadsheet would calculate gets an apostrophe."
        ),
    ] = False,
    heatmap: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write a picture of each image there with the model's heat map over it: where the model looked, "
            "not where a fracture is. Needs a model that was exported with --heatmap.",
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write here, not to stdout.")] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Leave out the paths and frames that the output, or what an interruption left of it, holds.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option(help="Replace the file that --output names.")] = False,
) -> None:
    """Say of each image whether a bone is fractured: fractured, not_fractured or uncertain.

    PNG, JPEG, TIFF, BMP, WebP; DICOM with the [dicom] extra, HEIC with [heic]. `probability` is P(fractured). A
    file that cannot be used gets a record with its status and stops nothing. Records come in the order of the
    images. Each frame of a DICOM file gets one, with its number; of other files with several pictures the first.

    Exit status: 0 every image has an answer (whatever it is; a file of frames, if each has one), 1 none has,
    2 wrong usage, 3 some have not.

    For research and education. Not a medical device.

    \b
    One image:              fracture-edge classify image.png
    A folder, for a table:  fracture-edge classify -r xrays/ --csv -o answers.csv
    After an interruption:  fracture-edge classify -r xrays/ --csv -o answers.csv --resume
    A list of paths:        find xrays -name '*.dcm' | fracture-edge classify - --jsonl

    With --jsonl or --csv, --output writes each record as it comes to OUTPUT.partial, which takes the name OUTPUT
    when all is done. It is a valid file at any time; --resume goes on with it.
    """  # noqa: D301
    if as_json + as_jsonl + as_csv > 1:
        raise typer.BadParameter("give one of --json, --jsonl and --csv")
    style: Format = "json" if as_json else "jsonl" if as_jsonl else "csv" if as_csv else "text"
    if resume and (output is None or style not in ("jsonl", "csv")):
        raise typer.BadParameter("--resume needs --output, and --jsonl or --csv")
    if resume and force:
        raise typer.BadParameter("give one of --resume and --force")
    # numpy's linear algebra is not used here; its threads would cost start-up time.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from fracture_edge.classifier import FractureClassifier
    from fracture_edge.decoding import Wanted
    from fracture_edge.inputs import expand

    if output is not None and not (force or resume):
        from fracture_edge.files import refuse_overwrite

        refuse_overwrite(output)
    files, notes = expand(paths, recursive=recursive)
    for note in notes:
        print(f"fracture-edge: {note}", file=sys.stderr)
    classifier = FractureClassifier(
        model, threads, threshold=threshold, policy=policy, max_pixels=max_pixels, check_images=check_images
    )

    overlays = None if heatmap is None else _overlays(classifier, heatmap, max_pixels)
    bar = sys.stderr.isatty() and (output is not None or not sys.stdout.isatty())
    answered = 0

    def predictions(wanted: "Sequence[Wanted]") -> "Iterator[Prediction]":
        nonlocal answered
        for frames in _predict(classifier, wanted, jobs, bar=bar):
            whole = True
            for prediction in frames:
                whole &= prediction.ok
                yield prediction
            answered += whole

    if output is not None and style in ("jsonl", "csv"):
        from fracture_edge.resume import write_resumable

        answered = write_resumable(
            output, style, files, predictions, like=classifier, resume=resume, force=force, overlays=overlays
        )
    elif output is not None:
        _write(predictions(list(map(Wanted, files))), style, output, overlays, force=force)
    else:
        _print(predictions(list(map(Wanted, files))), style, overlays)
    if answered < len(files):
        raise typer.Exit(EXIT_SOME_FAILED if answered else EXIT_FAILED)


def _predict(
    classifier: "FractureClassifier", files: "Sequence[Wanted]", jobs: int | None, *, bar: bool
) -> "Iterator[Iterator[Prediction]]":
    """The answers to the frames of each file."""
    if len(files) <= 1:
        return classifier.predict_files(files)
    from fracture_edge.batch import default_jobs, with_progress

    answers = classifier.predict_files(files, jobs=jobs or default_jobs())
    return with_progress(answers, len(files)) if bar else answers


def _overlays(
    classifier: "FractureClassifier", folder: Path, max_pixels: int
) -> "Callable[[Prediction], str | None]":
    """What writes the overlay of a prediction and names it.

    Raises:
        FractureEdgeError: The model has no heat map.
    """
    from fracture_edge.errors import FractureEdgeError, ImageError
    from fracture_edge.heatmap import OverlayWriter

    if not classifier.has_heatmap:
        raise FractureEdgeError(
            f"{classifier.info.name} has no heat map; `fracture-edge export MODEL --heatmap` makes one that has"
        )

    writer = OverlayWriter(classifier.info.preprocessing, folder, max_pixels=max_pixels)

    def write(prediction: "Prediction") -> str | None:
        try:
            path = writer.write(prediction)
        except ImageError as error:
            # Gone since it was classified: the answer stands.
            print(f"fracture-edge: no heat map, {error}", file=sys.stderr)
            return None
        return None if path is None else str(path)

    return write


def _print(
    predictions: "Iterable[Prediction]", style: "Format", overlays: "Callable[[Prediction], str | None] | None"
) -> None:
    from fracture_edge.records import render

    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name need not be text; it goes out as it came in.
        sys.stdout.reconfigure(errors="surrogateescape")
    for piece in render(predictions, style, overlays=overlays):
        sys.stdout.write(piece)
        sys.stdout.flush()


def _write(
    predictions: "Iterable[Prediction]",
    style: "Format",
    output: Path,
    overlays: "Callable[[Prediction], str | None] | None",
    *,
    force: bool,
) -> None:
    from fracture_edge.files import atomic_path
    from fracture_edge.records import render

    with (
        atomic_path(output, force=force) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        stream.writelines(render(predictions, style, overlays=overlays))
