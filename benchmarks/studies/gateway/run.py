"""`python -m benchmarks.studies gateway kills|abuse|load`: the gateway between Orthanc and dcmtk.

Everything runs in a network namespace of its own, because Orthanc 1.10 listens on every address. It needs Linux,
root, and the packages orthanc, dcmtk and dicom3tools.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from benchmarks.studies.gateway.processes import missing_programs
from benchmarks.studies.network import enter_namespace, is_inside
from benchmarks.studies.options import OutputOption, SeedOption, chosen_seed, write_result
from fracture_edge.errors import FractureEdgeError

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def _root() -> None:
    """Kill, abuse and load the DICOM gateway between Orthanc and dcmtk, in a network namespace of its own."""


@app.command()
def kills(
    images: Annotated[int, typer.Option(min=1, help="Images that are sent.")] = 50,
    kills: Annotated[int, typer.Option(min=0, help="Times that the gateway is killed.")] = 10,
    outage: Annotated[float, typer.Option(min=0, help="Seconds during which the archive is down.")] = 30.0,
    tls: Annotated[bool, typer.Option("--tls", help="Encrypt every connection.")] = False,
    seed: SeedOption = None,
    output: OutputOption = None,
) -> None:
    """Kill the gateway at random moments while four processes send, and count what the archive holds."""
    _enter_namespace()
    from benchmarks.studies.gateway.kills import run_kills

    seed = chosen_seed(seed)
    with TemporaryDirectory(prefix="fracture-edge-study-") as folder:
        result = run_kills(Path(folder), images=images, kills=kills, outage=outage, seed=seed, tls=tls)
    write_result(result, output)


@app.command()
def abuse(
    silent: Annotated[int, typer.Option(min=0, help="Connections that say nothing.")] = 600,
    wrong_titles: Annotated[int, typer.Option(min=0, help="Associations with a wrong called AE title.")] = 200,
    mutated: Annotated[int, typer.Option(min=0, help="Conversations with mutations.")] = 1000,
    seed: SeedOption = None,
    output: OutputOption = None,
) -> None:
    """Hold silent connections, call by wrong titles, send broken messages, and time the next normal sender."""
    _enter_namespace()
    from benchmarks.studies.gateway.abuse import run_abuse

    seed = chosen_seed(seed)
    with TemporaryDirectory(prefix="fracture-edge-study-") as folder:
        result = run_abuse(Path(folder), silent=silent, wrong_titles=wrong_titles, mutated=mutated, seed=seed)
    write_result(result, output)


@app.command()
def load(
    images: Annotated[int, typer.Option(min=10, help="Images that are sent.")] = 1000,
    height: Annotated[int, typer.Option(min=32, help="Height of each in pixels.")] = 1000,
    width: Annotated[int, typer.Option(min=32, help="Width of each in pixels.")] = 750,
    output: OutputOption = None,
) -> None:
    """Send many images, and measure memory and throughput."""
    _enter_namespace()
    from benchmarks.studies.gateway.load import run_load

    with TemporaryDirectory(prefix="fracture-edge-study-") as folder:
        result = run_load(Path(folder), images=images, size=(height, width), seed=1)
    write_result(result, output)


def _enter_namespace() -> None:
    """Run the same command in a namespace, unless this process is in one.

    Raises:
        FractureEdgeError: A program is missing.
    """
    if not is_inside() and (missing := missing_programs()):
        raise FractureEdgeError(
            f"missing: {', '.join(missing)}; apt-get install orthanc dcmtk dicom3tools openssl"
        )
    enter_namespace()
