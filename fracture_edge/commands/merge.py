"""Command `fracture-edge merge`."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def merge(
    parts: Annotated[
        list[Path],
        typer.Argument(
            help="Record files that `classify` wrote with --jsonl, --csv or --json.", show_default=False
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File for all records.", show_default=False)],
    expect: Annotated[
        Path | None,
        typer.Option(
            metavar="LIST",
            help="List of all images, as `classify -` takes it. Its images without a record are reported, and the "
            "records come in its order. Default: by path, as in a folder.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace the file that --output names.")] = False,
) -> None:
    """Merge the records of several runs of `classify`, such as shards, into one file.

    Records are copied as they are. Reported are images without a record, frames without one, records that are
    there more than once (they are kept once), and records of images that LIST does not name. Parts of different
    models, thresholds or uncertain bands, or with two answers for one image, are not merged.

    Exit status: 0 the parts fit together; 3 the file was written, and something was reported; 1 nothing was
    written; 2 wrong usage.

    \b
    fracture-edge classify -r xrays/ --shard 1/2 --csv -o part-1.csv   on one machine
    fracture-edge classify -r xrays/ --shard 2/2 --csv -o part-2.csv   on another
    fracture-edge merge part-1.csv part-2.csv -o answers.csv
    """  # noqa: D301
    from fracture_edge.batch.merging.merge import merge as run

    if code := run(parts, output, expect=expect, force=force):
        raise typer.Exit(code)
