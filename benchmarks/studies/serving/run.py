"""`python -m benchmarks.studies serving abuse|equal|load|container`: the HTTP server, on loopback."""

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from fracture_edge.console import say
from train.json_records import to_plain, write_record

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="JSON file for the result. Default: stdout.")
]
SeedOption = Annotated[int | None, typer.Option(help="Seed; from the clock by default, and printed.")]


@app.callback()
def _root() -> None:
    """Abuse the HTTP server, compare it with the command line, and measure latency and throughput."""


@app.command()
def abuse(
    mutated: Annotated[int, typer.Option(min=0, help="Broken requests.")] = 1000,
    slow: Annotated[int, typer.Option(min=0, help="Slow connections.")] = 200,
    bombs: Annotated[int, typer.Option(min=1, help="Picture bombs of 100 megapixels at the same time.")] = 64,
    seed: SeedOption = None,
    output: OutputOption = None,
) -> None:
    """Send broken requests, hold slow connections, send picture bombs; time normal requests, measure memory."""
    from benchmarks.studies.serving.abuse import run_abuse

    seed = _seed(seed)
    with TemporaryDirectory(prefix="fracture-edge-study-") as folder:
        _write(run_abuse(Path(folder), mutated=mutated, slow=slow, bombs=bombs, seed=seed), output)


@app.command()
def equal(
    files: Annotated[int, typer.Option(min=1, help="Files.")] = 100,
    seed: SeedOption = None,
    output: OutputOption = None,
) -> None:
    """Compare the records of drawn pictures with those of the command line."""
    from benchmarks.studies.serving.equal import run_equal

    seed = _seed(seed)
    with TemporaryDirectory(prefix="fracture-edge-study-") as folder:
        _write(run_equal(Path(folder), files=files, seed=seed), output)


@app.command()
def load(
    requests: Annotated[int, typer.Option(min=10, help="Requests whose latency is measured.")] = 500,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds with each number of clients.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds of one number of clients in a round.")] = 10.0,
    output: OutputOption = None,
) -> None:
    """Measure latency beside `predict`, and throughput with 1, 2 and 8 clients, in turns."""
    from benchmarks.studies.serving.load import run_load

    with TemporaryDirectory(prefix="fracture-edge-study-") as folder:
        result = run_load(
            Path(folder), requests=requests, rounds=rounds, seconds=seconds, clients=(1, 2, 8), seed=1
        )
    _write(result, output)


@app.command()
def container(
    root: Annotated[
        Path, typer.Argument(help="Folder where the image is mounted: `podman image mount`, `buildah mount`.")
    ],
    inspected: Annotated[
        Path, typer.Argument(help="JSON of `podman image inspect` or `buildah inspect --type image`.")
    ],
    files: Annotated[int, typer.Option(min=1, help="Files that are classified.")] = 29,
    seed: SeedOption = None,
    output: OutputOption = None,
) -> None:
    """Run an image as its user, with a read-only root and no network: classify and serve. Needs Linux and root."""
    from benchmarks.studies.gateway.processes import in_namespace, is_inside

    if not is_inside():
        raise typer.Exit(in_namespace(["-m", "benchmarks.studies", *sys.argv[1:]]).returncode)
    from benchmarks.studies.serving.container import run_container

    seed = _seed(seed)
    with TemporaryDirectory(prefix="fracture-edge-study-") as folder:
        _write(run_container(Path(folder), root, inspected, files=files, seed=seed), output)


def _seed(seed: int | None) -> int:
    seed = int(time.time()) if seed is None else seed
    say(f"seed {seed}")
    return seed


def _write(result: object, output: Path | None) -> None:
    if output is None:
        print(json.dumps(to_plain(result), indent=2))
    else:
        write_record(output, result)
