"""Every command by name; the one that is called is imported.

Those of the device need the bare install only; those that train, export and measure live in their own packages.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup

from fracture_edge.errors import FractureEdgeError


class _Elsewhere(NamedTuple):
    """A command of another package: its module, the packages it imports, its extra, and its summary."""

    module: str
    packages: tuple[str, ...]
    extra: str
    summary: str


_DEVICE = MappingProxyType(
    {
        "classify": ("fracture_edge.commands.classify", "Say of each image whether a bone is fractured."),
        "watch": ("fracture_edge.commands.watch", "Answer images as they appear in a folder."),
        "info": ("fracture_edge.commands.info", "Print what a model file says about itself, as JSON."),
        "doctor": ("fracture_edge.commands.doctor", "Check the installation and measure this device."),
    }
)
WORKSHOP = MappingProxyType(
    {
        "data": _Elsewhere(
            "train.cli.data", ("train",), "train", "Audit a folder of labelled X-rays, divide it without leaks."
        ),
        "train": _Elsewhere(
            "train.cli.train",
            ("train", "benchmarks"),
            "train",
            "Train a model from a data folder and a split file.",
        ),
        "train-all": _Elsewhere(
            "train.cli.train_all",
            ("train", "benchmarks"),
            "train",
            "Train the reference's three models and edge, and compare.",
        ),
        "tune": _Elsewhere(
            "train.cli.tune", ("train", "benchmarks"), "tune", "Search for better hyper-parameters of a model."
        ),
        "evaluate": _Elsewhere(
            "train.cli.evaluate",
            ("train", "benchmarks"),
            "train",
            "Judge trained models on a split, with pictures.",
        ),
        "export": _Elsewhere(
            "export.cli",
            ("export", "train", "benchmarks"),
            "export",
            "Export trained models to ONNX and TFLite, float and int8, checked.",
        ),
        "benchmark": _Elsewhere(
            "benchmarks.cli",
            ("benchmarks", "train"),
            "benchmark",
            "Measure a model's accuracy and latency in every format.",
        ),
    }
)
#: Modules whose absence means that the extra of a command is not installed.
HEAVY = frozenset(
    {
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


class _Commands(TyperGroup):
    """Knows all commands by name and imports the one that is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*_DEVICE, *WORKSHOP]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in _DEVICE:
            module = _DEVICE[cmd_name][0]
        elif cmd_name in WORKSHOP:
            module = WORKSHOP[cmd_name].module
            for package in WORKSHOP[cmd_name].packages:
                _refuse_shadow(package)
        else:
            return None
        command = typer.main.get_command(import_module(module).app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands without importing them."""
        device = [(name, summary) for name, (_, summary) in _DEVICE.items()]
        with formatter.section("Commands"):
            formatter.write_dl(device + [(name, elsewhere.summary) for name, elsewhere in WORKSHOP.items()])


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root() -> None:
    """Bone fractures on X-rays: from labelled images to an answer in milliseconds, offline.

    For research and education. Not a medical device.

    \b
    fracture-edge classify image.png         is this bone fractured?
    fracture-edge watch inbox -o out.jsonl   answer what arrives in a folder
    fracture-edge doctor                     is everything in order on this device?
    fracture-edge COMMAND --help             what else a command can do
    """  # noqa: D301


def _refuse_shadow(package: str) -> None:
    """Another module of the name `package` may come first on the path: say so rather than fail oddly.

    Raises:
        FractureEdgeError: It does; the text names the file.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise FractureEdgeError(f"the package '{package}' is missing: reinstall fracture-edge")
    ours = Path(__file__).resolve().parents[2] / package / "__init__.py"
    if Path(spec.origin).resolve() != ours:
        raise FractureEdgeError(
            f"{spec.origin} hides fracture-edge's own package '{package}'; rename it or run from elsewhere"
        )
