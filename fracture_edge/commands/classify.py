"""`fracture-edge classify`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from fracture_edge.images.limits import MAX_PIXELS

if TYPE_CHECKING:
    from fracture_edge.batch.records import Format

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
    from fracture_edge.batch.classify import ClassifyOptions
    from fracture_edge.batch.classify import classify as run

    options = ClassifyOptions(
        recursive=recursive,
        model=model,
        policy=policy,
        check_images=check_images,
        threshold=threshold,
        threads=threads,
        max_pixels=max_pixels,
        jobs=jobs,
        style=style,
        heatmap=heatmap,
        output=output,
        resume=resume,
        force=force,
    )
    if code := run(paths, options):
        raise typer.Exit(code)
