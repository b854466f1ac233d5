"""Command `fracture-edge archive`."""

from pathlib import Path
from typing import Annotated

import typer

from fracture_edge.commands.options import (
    CheckImagesOption,
    MaxPixelsOption,
    ModelOption,
    PolicyOption,
    RecursiveOption,
    ThresholdOption,
)
from fracture_edge.images.limits import MAX_PIXELS

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def archive(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Images, folders, quoted patterns, objects (s3://bucket/xrays/1.dcm), prefixes of objects "
            "(s3://bucket/xrays/), or - for a list on stdin. Every machine must reach them under these names.",
            show_default=False,
        ),
    ],
    folder: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the records.", show_default=False)
    ],
    address: Annotated[
        str,
        typer.Option(
            metavar="local|auto|HOST:PORT",
            help="Ray cluster: a new one on this machine for this command only, the one that runs here, "
            "or that of another machine.",
        ),
    ] = "local",
    recursive: RecursiveOption = False,
    model: ModelOption = None,
    policy: PolicyOption = None,
    check_images: CheckImagesOption = True,
    threshold: ThresholdOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of workers. Default: one for each core of the cluster.")
    ] = None,
    block: Annotated[
        int, typer.Option(min=1, help="Number of files whose records go into one file until all are merged.")
    ] = 1000,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Write CSV with a header, not one JSON object per line.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the archive that DIR holds.")] = False,
) -> None:
    """Classify an archive on a cluster of machines, with Ray Data.

    Each machine needs the same version of fracture-edge with its extra [ray]. A file that cannot be used gets a
    record; the work of a machine that fails is done by the others. The records are those of `classify`, in the
    order of the files: DIR/answers.jsonl or DIR/answers.csv. Without Ray, `classify --shard` and `merge` do the
    same by hand.

    Exit status: 0 every image was classified, 1 none was, or the command failed, 2 wrong usage, 3 only some were.

    For research and education. Not a medical device.

    \b
    On this machine:     fracture-edge archive -r xrays/ -o answers/
    On a cluster:        fracture-edge archive -r /shared/xrays/ --address 10.0.0.1:6379 -o answers/
    From a store:        fracture-edge archive -r s3://bucket/xrays/ --address auto -o answers/
    After an interruption, the same with --resume.
    """  # noqa: D301
    from fracture_edge.batch.archive.run import ArchiveOptions
    from fracture_edge.batch.archive.run import archive as run
    from fracture_edge.batch.classify import ClassifyOptions

    options = ArchiveOptions(
        classify=ClassifyOptions(
            recursive=recursive,
            model=model,
            policy=policy,
            check_images=check_images,
            threshold=threshold,
            threads=1,
            max_pixels=max_pixels,
            style="csv" if as_csv else "jsonl",
        ),
        folder=folder,
        address=address,
        workers=workers,
        block_files=block,
        resume=resume,
    )
    if code := run(paths, options):
        raise typer.Exit(code)
