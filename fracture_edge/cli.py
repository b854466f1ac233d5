"""The `fracture-edge` command.

`classify` and `info` are here and need the bare install only. The commands that train, export and measure live
in their packages and are imported when they are called.
"""

import io
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup

from fracture_edge.errors import FractureEdgeError

EXIT_FAILED, EXIT_SOME_FAILED = 1, 3


class _Elsewhere(NamedTuple):
    """A command of another package: its module, the packages it imports, its extra, and its summary."""

    module: str
    packages: tuple[str, ...]
    extra: str
    summary: str


_WORKSHOP = MappingProxyType(
    {
        "data": _Elsewhere(
            "train.data_cli", ("train",), "train", "Audit a folder of labelled X-rays, divide it without leaks."
        ),
        "train": _Elsewhere(
            "train.cli", ("train", "benchmarks"), "train", "Train a model from a data folder and a split file."
        ),
        "train-all": _Elsewhere(
            "train.all_cli",
            ("train", "benchmarks"),
            "train",
            "Train the reference's three models and edge, and compare.",
        ),
        "tune": _Elsewhere(
            "train.tune_cli", ("train", "benchmarks"), "tune", "Search for better hyper-parameters of a model."
        ),
        "evaluate": _Elsewhere(
            "train.evaluate_cli",
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
_HEAVY = frozenset(
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
        return [*super().list_commands(ctx), *_WORKSHOP]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _WORKSHOP:
            return super().get_command(ctx, cmd_name)
        elsewhere = _WORKSHOP[cmd_name]
        for package in elsewhere.packages:
            _refuse_shadow(package)
        command = typer.main.get_command(import_module(elsewhere.module).app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands without importing those of the other packages."""
        ours = [(name, super(_Commands, self).get_command(ctx, name)) for name in super().list_commands(ctx)]
        rows = [(name, command.get_short_help_str(limit=100)) for name, command in ours if command]
        with formatter.section("Commands"):
            formatter.write_dl(rows + [(name, elsewhere.summary) for name, elsewhere in _WORKSHOP.items()])


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
    """


@app.command()
def classify(
    paths: Annotated[list[Path], typer.Argument(help="Images, or folders of images.", show_default=False)],
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look into sub-folders too.")] = False,
    model: Annotated[Path | None, typer.Option(help="A model file; the embedded one if not given.")] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="In place of the model's own; answers always, never 'uncertain'."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of one inference; as many as help if not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
    as_jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON object a line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write here, not to stdout.")] = None,
    force: Annotated[bool, typer.Option(help="Replace the file that --output names.")] = False,
) -> None:
    """Say of each image whether a bone is fractured: fractured, not_fractured or uncertain.

    PNG, JPEG, TIFF, BMP, WebP, and DICOM with the [dicom] extra. `probability` is P(fractured).
    A file that cannot be used gets a record with its status and stops nothing.

    Exit status: 0 every image has an answer (whatever it is), 1 none has, 2 wrong usage, 3 some have not.

    For research and education. Not a medical device.

    Example: fracture-edge classify -r xrays/ --csv -o answers.csv
    """
    if as_json + as_jsonl + as_csv > 1:
        raise typer.BadParameter("give one of --json, --jsonl and --csv")
    # numpy's linear algebra is not used here; its threads would cost start-up time.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from fracture_edge.classifier import FractureClassifier
    from fracture_edge.files import atomic_path, refuse_overwrite
    from fracture_edge.inputs import expand
    from fracture_edge.records import Format, render

    if output is not None and not force:
        refuse_overwrite(output)
    files, notes = expand(paths, recursive=recursive)
    for note in notes:
        print(f"fracture-edge: {note}", file=sys.stderr)
    classifier = FractureClassifier(model, threads, threshold=threshold)
    answered = 0

    def predictions() -> Any:
        nonlocal answered
        for prediction in classifier.predict_many(files):
            answered += prediction.ok
            yield prediction

    style: Format = "json" if as_json else "jsonl" if as_jsonl else "csv" if as_csv else "text"
    if output is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A file's name need not be text; it goes out as it came in.
            sys.stdout.reconfigure(errors="surrogateescape")
        for piece in render(predictions(), style):
            sys.stdout.write(piece)
            sys.stdout.flush()
    else:
        with (
            atomic_path(output, force=force) as temporary,
            temporary.open("w", encoding="utf-8", errors="surrogateescape") as stream,
        ):
            stream.writelines(render(predictions(), style))
    if answered < len(files):
        raise typer.Exit(EXIT_SOME_FAILED if answered else EXIT_FAILED)


@app.command()
def info(
    model: Annotated[Path | None, typer.Argument(help="A model file; the embedded one if not given.")] = None,
) -> None:
    """Print what a model file says about itself, as JSON: data, policy, preprocessing, metrics, versions."""
    import json

    from fracture_edge.classifier import FractureClassifier

    classifier = FractureClassifier(model, threads=1)
    print(json.dumps({"sha256": classifier.sha256, **json.loads(classifier.info.to_json())}, indent=2))


def _refuse_shadow(package: str) -> None:
    """Another module of the name `package` may come first on the path: say so rather than fail oddly.

    Raises:
        FractureEdgeError: It does; the text names the file.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise FractureEdgeError(f"the package '{package}' is missing: reinstall fracture-edge")
    ours = Path(__file__).resolve().parent.parent / package / "__init__.py"
    if Path(spec.origin).resolve() != ours:
        raise FractureEdgeError(
            f"{spec.origin} hides fracture-edge's own package '{package}'; rename it or run from elsewhere"
        )


def main() -> None:
    """Run the command line; every expected failure is one line on stderr."""
    try:
        app()
    except FractureEdgeError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        command = next((word for word in sys.argv[1:] if word in _WORKSHOP), None)
        if missing not in _HEAVY or command is None:
            raise
        _fail(f"'{command}' needs {missing}: pip install 'fracture-edge[{_WORKSHOP[command].extra}]'")
    except OSError as error:
        _fail(f"{error.filename or 'input/output'}: {error.strerror or error}")


def run() -> None:
    """The installed command: `main`, and on the device a quick way out.

    Python's teardown costs a good part of the whole process once onnxruntime is loaded (compare with `python -m
    benchmarks.startup`), and there is nothing left to do in it: every file is closed when `main` ends.
    """
    try:
        main()
        code: int | str | None = 0
    except SystemExit as stop:
        code = stop.code
    if not isinstance(code, int) or _WORKSHOP.keys() & set(sys.argv[1:2]):
        sys.exit(code)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        # Whoever read our output is gone, or the disk is full.
        code = code or EXIT_FAILED
    os._exit(code)


def _fail(text: str) -> None:
    print(f"fracture-edge: {text}", file=sys.stderr)
    sys.exit(EXIT_FAILED)
