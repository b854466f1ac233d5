"""Commands `fracture-edge data audit` and `fracture-edge data split`."""

from pathlib import Path
from typing import Annotated

import typer

from fracture_edge.console import say
from train.cli.options import ForceOption

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

FolderArgument = Annotated[Path, typer.Argument(help="FracAtlas, or class folders with or without splits.")]


@app.callback()
def _data() -> None:
    """Audit a folder of labelled X-rays before training, and make splits without leaks.

    Layouts: FracAtlas as published, or class folders ('fractured', 'not fractured', 'normal' ...), optionally
    inside 'train', 'val' and 'test'. The nearest class folder gives the label. What belongs to no class or no
    split is left out, and counted.
    """


@app.command()
def audit(
    folder: FolderArgument,
    splits: Annotated[
        Path | None, typer.Option(help="Check the splits of this file, not the folder's own.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the complete report as JSON.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the complete report to this JSON file, too.")
    ] = None,
    strict: Annotated[bool, typer.Option(help="Exit with status 1 if splits leak.")] = False,
    force: ForceOption = False,
) -> None:
    """Find broken files, copies, conflicting labels, leaks between splits, and shortcuts.

    Example: fracture-edge data audit fracatlas --splits splits.csv --strict
    """
    import json

    from fracture_edge.files import atomic_write_text, refuse_overwrite
    from train.data.audit import audit as examine
    from train.data.audit_text import summary
    from train.data.dataset import read_splits, read_table
    from train.data.splits import scan

    if output is not None and not force:
        refuse_overwrite(output)
    table = read_table(folder) if splits is None else read_splits(folder, splits)
    report = examine(table, scan(table))
    text = json.dumps(report, indent=2) + "\n"
    print(text if as_json else summary(report), end="")
    if output is not None:
        atomic_write_text(output, text, force=force)
    if strict and report["leaking"]:
        raise typer.Exit(1)


@app.command()
def split(
    folder: FolderArgument,
    out: Annotated[Path, typer.Option(help="CSV file to write, with the columns path, label, split, group.")],
    fractions: Annotated[
        tuple[float, float, float], typer.Option(help="Shares of train, validation and test.")
    ] = (0.7, 0.1, 0.2),
    seed: Annotated[int, typer.Option(help="Random seed of the shuffling.")] = 0,
    force: ForceOption = False,
) -> None:
    """Make splits that keep related images together, stratified by class and body part.

    Unreadable images and images whose copies have different labels are left out, and listed on stderr, and so is
    what belongs to no class.

    Example: fracture-edge data split fracatlas --out splits.csv
    """
    from fracture_edge.files import refuse_overwrite
    from train.data.dataset import SPLITS, read_table
    from train.data.splits import make_splits, say_left_out, write_split_file

    if not force:
        refuse_overwrite(out)
    table = read_table(folder)
    say_left_out(table)
    division = make_splits(table, fractions=fractions, seed=seed)
    write_split_file(division.table, out, force=force)
    for path, detail in division.unreadable:
        say(f"left out, cannot be read: {path} ({detail})")
    for path in division.conflicting:
        say(f"left out, its copies have another label: {path}")
    left_out = len(division.unreadable) + len(division.conflicting)
    print(f"{out}: {len(table) - left_out} images, {left_out} left out")
    for name in SPLITS:
        part = division.table.where(name)
        groups = len({item.group for item in part})
        print(f"  {name:5}  {len(part):5} images  {sum(part.labels):4} fractured  {groups:4} groups")
