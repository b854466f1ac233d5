"""`python -m benchmarks.studies serving abuse|equal|load|container`: the HTTP server, on loopback."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from benchmarks.studies.network import enter_namespace
from benchmarks.studies.options import OutputOption, SeedOption, chosen_seed, write_result

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


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

    seed = chosen_seed(seed)
    with TemporaryDirectory(prefix="fracture-edge-study-") as folder:
        write_result(run_abuse(Path(folder), mutated=mutated, slow=slow, bombs=bombs, seed=seed), output)


@app.command()
def equal(
    files: Annotated[int, typer.Option(min=1, help="Files.")] = 100,
    seed: SeedOption = None,
    output: OutputOption = None,
) -> None:
    """Compare the records of drawn pictures with those of the command line."""
    from benchmarks.studies.serving.equal import run_equal

    seed = chosen_seed(seed)
    with TemporaryDirectory(prefix="fracture-edge-study-") as folder:
        write_result(run_equal(Path(folder), files=files, seed=seed), output)


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
    write_result(result, output)


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
    enter_namespace()
    from benchmarks.studies.serving.container import run_container

    seed = chosen_seed(seed)
    with TemporaryDirectory(prefix="fracture-edge-study-") as folder:
        write_result(run_container(Path(folder), root, inspected, files=files, seed=seed), output)
