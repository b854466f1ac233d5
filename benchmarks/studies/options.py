"""Options that studies share, and what they mean."""

import json
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from fracture_edge.console import say
from train.json_records import to_plain, write_record

OutputOption: TypeAlias = Annotated[
    Path | None, typer.Option("--output", "-o", help="JSON file for the result. Default: stdout.")
]


class Split(StrEnum):
    """Splits to evaluate on."""

    VAL = "val"
    TEST = "test"


SplitOption: TypeAlias = Annotated[
    Split, typer.Option(help="Split to evaluate on; test is for the final evaluation.")
]
SeedOption: TypeAlias = Annotated[int | None, typer.Option(help="Seed; from the clock by default, and printed.")]


def chosen_seed(seed: int | None) -> int:
    """Return the given seed, or one from the clock, and print it."""
    seed = int(time.time()) if seed is None else seed
    say(f"seed {seed}")
    return seed


def write_result(result: object, output: Path | None) -> None:
    """Write the record of a result to a file, or to stdout if ``None``."""
    if output is None:
        print(json.dumps(to_plain(result), indent=2))
    else:
        write_record(output, result)
