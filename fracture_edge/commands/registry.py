"""Registry of all commands; the module of a command is imported when the command is called."""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, NamedTuple

import typer
from typer.core import TyperGroup

from fracture_edge._version import __version__
from fracture_edge.errors import FractureEdgeError


class Command(NamedTuple):
    """Command that has not been imported yet.

    Attributes:
        module: Name of the module whose `app` is the command.
        summary: Summary in the list of commands.
        extra: Extra of the package that the command needs; empty if it needs none.
    """

    module: str
    summary: str
    extra: str = ""


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "classify": Command("fracture_edge.commands.classify", "Classify images: is a bone fractured?"),
        "merge": Command("fracture_edge.commands.merge", "Merge the records of several runs, such as shards."),
        "archive": Command(
            "fracture_edge.commands.archive", "Classify an archive on a cluster of machines.", extra="ray"
        ),
        "watch": Command("fracture_edge.commands.watch", "Classify images as they appear in a folder."),
        "gateway": Command(
            "fracture_edge.commands.gateway", "Receive images over DICOM, send results to a PACS.", extra="pacs"
        ),
        "serve": Command("fracture_edge.commands.serve", "Serve the classifier over HTTP.", extra="serve"),
        "page": Command("fracture_edge.commands.page", "Write the classifier as one HTML file for browsers."),
        "hub": Command("fracture_edge.commands.hub", "Write a folder for a model hub: model, card, page."),
        "info": Command("fracture_edge.commands.info", "Print the metadata of a model file as JSON."),
        "doctor": Command(
            "fracture_edge.commands.doctor", "Check the installation, measure the speed of this device."
        ),
        "data": Command(
            "train.cli.data", "Audit a folder of labelled X-rays, split it without leakage.", extra="train"
        ),
        "train": Command("train.cli.train", "Train a model from a data folder and a split file.", extra="train"),
        "train-all": Command(
            "train.cli.train_all", "Train the reference's three models and edge, and compare.", extra="train"
        ),
        "tune": Command("train.cli.tune", "Search for better hyper-parameters of a model.", extra="tune"),
        "evaluate": Command(
            "train.cli.evaluate", "Evaluate trained models on a split, with plots.", extra="train"
        ),
        "export": Command(
            "export.cli", "Export trained models to verified ONNX and TFLite files.", extra="export"
        ),
        "benchmark": Command(
            "benchmarks.cli", "Measure a model's accuracy and latency in every format.", extra="benchmark"
        ),
    }
)
#: Further packages in the order of their imports: each imports only those before it.
_PACKAGES = ("train", "benchmarks", "export")
#: Top-level modules that only extras install: if one is missing, so is the extra of the command.
MODULES_OF_EXTRAS = frozenset(
    {
        "pydicom",
        "highdicom",
        "pynetdicom",
        "starlette",
        "uvicorn",
        "python_multipart",
        "ray",
        "pyarrow",
        "tensorflow",
        "keras",
        "sklearn",
        "scipy",
        "matplotlib",
        "imagehash",
        "tqdm",
        "filelock",
        "optuna",
        "jinja2",
        "markupsafe",
        "tomli_w",
        "tf2onnx",
        "onnx",
        "ai_edge_litert",
        "tf_keras",
        "tensorflow_model_optimization",
    }
)


class LazyGroup(TyperGroup):
    """Command group that lists its commands without importing them.

    Attributes:
        lazy: Commands by name.
    """

    lazy: ClassVar[Mapping[str, Command]] = COMMANDS

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands, in the order of `COMMANDS`."""
        return list(self.lazy)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a command by name."""
        if cmd_name not in self.lazy:
            return None
        module = self.lazy[cmd_name].module
        package = module.partition(".")[0]
        if package in _PACKAGES:
            for needed in _PACKAGES[: _PACKAGES.index(package) + 1]:
                _refuse_shadow(needed)
        command = typer.main.get_command(import_module(module).app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the names and summaries of the commands to the help text."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in self.lazy.items()])


app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"fracture-edge {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit."),
    ] = False,
) -> None:
    """Bone fracture classification of X-ray images: train a model, and classify in milliseconds, offline.

    For research and education. Not a medical device.

    \b
    fracture-edge classify image.png         is this bone fractured?
    fracture-edge watch inbox -o out.jsonl   classify images that arrive in a folder
    fracture-edge doctor                     does everything work on this device?
    fracture-edge COMMAND --help             all options of a command
    """  # noqa: D301


def _refuse_shadow(package: str) -> None:
    """Refuse to run if another module of the same name hides one of fracture-edge's packages.

    Raises:
        FractureEdgeError: Another module hides the package; the message names its file.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise FractureEdgeError(f"the package '{package}' is missing: reinstall fracture-edge")
    ours = Path(__file__).resolve().parents[2] / package / "__init__.py"
    if Path(spec.origin).resolve() != ours:
        raise FractureEdgeError(
            f"{spec.origin} hides fracture-edge's own package '{package}'; rename it or run from elsewhere"
        )
