"""Command `fracture-edge classify`."""

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
    from fracture_edge.batch.shard import Shard

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def classify(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Images, folders of images, quoted patterns such as 'xrays/**/*.png', or - for a list of paths "
            "on stdin (one per line, or each terminated by NUL).",
            show_default=False,
        ),
    ],
    recursive: RecursiveOption = False,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Classify only the I-th of N shards of the images, 1/N to N/N. An image belongs to one of them "
            "by a hash of its path as given, so that machines need the same paths and nothing else; "
            "`fracture-edge merge` puts the records together.",
        ),
    ] = None,
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
            help="Number of images that are classified at a time, at most one per core. Default: 4, fewer if "
            "memory is scarce. 1 needs the least memory.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
    as_jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON object per line.")] = False,
    as_csv: Annotated[
        bool,
        typer.Option(
            "--csv",
            help="Print CSV with a header. Text that a spreadsheet would evaluate as a formula is prefixed with "
            "an apostrophe.",
        ),
    ] = False,
    heatmap: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for overlays: each image with the model's heat map, which shows where the model found "
            "signs of a fracture, not its outline. Needs a model that was exported with --heatmap.",
        ),
    ] = None,
    dicom_results: Annotated[
        Path | None,
        typer.Option(
            "--dicom-results",
            metavar="DIR",
            help="Folder for the results as DICOM objects, which a PACS shows beside the image: for each DICOM "
            "image a Secondary Capture (heat map, decision) and a Structured Report (TID 1500) in the image's own "
            "study, with its patient. A repetition replaces them. Needs the [pacs] extra.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write the records to, instead of stdout.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue an interrupted run, or extend a complete output: skip the paths and frames that "
            "already have a record. Needs --output, and --jsonl or --csv.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option(help="Replace the file that --output names.")] = False,
) -> None:
    """Classify images: is a bone fractured, not_fractured, or is the decision uncertain?

    Reads PNG, JPEG, TIFF, BMP and WebP, DICOM with the [dicom] extra, HEIC with the [heic] extra, and
    rarer kinds of TIFF with the [tiff] extra.
    `probability` is P(fractured), 0 to 1. Records come in the order of the images. A file that cannot be used gets
    a record with its status, and the others are still classified. Each frame of a DICOM file gets its own record;
    of other files with several pictures, only the first is classified.

    Exit status: 0 every image was classified, whatever the decision (a DICOM file counts if each of its frames
    was), 1 none was, or the command failed, 2 wrong usage, 3 only some were.

    For research and education. Not a medical device.

    \b
    One image:              fracture-edge classify image.png
    A folder, for a table:  fracture-edge classify -r xrays/ --csv -o answers.csv
    After an interruption:  fracture-edge classify -r xrays/ --csv -o answers.csv --resume
    One of four machines:   fracture-edge classify -r xrays/ --shard 3/4 --csv -o part-3.csv
    Results for a PACS:     fracture-edge classify -r study/ --dicom-results out/
    A list of paths:        find xrays -name '*.dcm' | fracture-edge classify - --jsonl

    With --jsonl or --csv, --output appends each record to OUTPUT.partial, which is renamed to OUTPUT at the end.
    It is a valid file at any time; --resume continues it.
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
        shard=None if shard is None else _parsed(shard),
        model=model,
        policy=policy,
        check_images=check_images,
        threshold=threshold,
        threads=threads,
        max_pixels=max_pixels,
        jobs=jobs,
        style=style,
        heatmap=heatmap,
        dicom_results=dicom_results,
        output=output,
        resume=resume,
        force=force,
    )
    if code := run(paths, options):
        raise typer.Exit(code)


def _parsed(shard: str) -> "Shard":
    from fracture_edge.batch.shard import Shard
    from fracture_edge.errors import FractureEdgeError

    try:
        return Shard.parse(shard)
    except FractureEdgeError as error:
        raise typer.BadParameter(str(error), param_hint="--shard") from error
