"""Command `fracture-edge export`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fracture_edge.console import say
from fracture_edge.errors import EXIT_FAILED, EXIT_SOME_FAILED, FractureEdgeError
from train.cli.options import ArtifactsOption, ForceOption

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def export(
    models: Annotated[
        list[str] | None, typer.Argument(help="Names of trained models, such as edge; all if omitted.")
    ] = None,
    artifacts: ArtifactsOption = Path("artifacts"),
    onnx: Annotated[bool, typer.Option("--onnx", help="Export ONNX files only.")] = False,
    tflite: Annotated[bool, typer.Option("--tflite", help="Export TFLite files only.")] = False,
    float32: Annotated[bool, typer.Option("--float32", help="Export float32 files.")] = False,
    float16: Annotated[
        bool, typer.Option("--float16", help="Export float16 files: half the size, not faster.")
    ] = False,
    dynamic: Annotated[
        bool, typer.Option("--dynamic", help="Export TFLite files with int8 weights and float32 activations.")
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Export int8 files: a quarter of the size, and faster.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Export all formats, for all targets.")] = False,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe", metavar="NAME", help="Export this format, such as tflite_float16; may be repeated."
        ),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            help="Processor for int8 ONNX: x86 (with VNNI), safe (any x86: cannot overflow, but slower with VNNI) "
            "or arm64."
        ),
    ] = "x86",
    heatmap: Annotated[
        bool, typer.Option("--heatmap", help="Add a heat map as second output (except int8 TFLite).")
    ] = False,
    calibration: Annotated[
        str,
        typer.Option(
            help="Calibration method of int8 ONNX: minmax, percentile, entropy or auto. auto tries the first two "
            "and keeps the file closest to the Keras model, and goes on if neither passes the gate."
        ),
    ] = "auto",
    calibration_images: Annotated[
        int, typer.Option(min=1, help="Number of training images for the calibration.")
    ] = 256,
    factorise: Annotated[
        int | None,
        typer.Option(min=1, metavar="RANK", help="First split a large Dense layer into two of this rank."),
    ] = None,
    prune: Annotated[
        float | None,
        typer.Option(min=0.01, max=0.99, metavar="SHARE", help="First set this share of the weights to 0."),
    ] = None,
    cluster: Annotated[
        int | None,
        typer.Option(min=2, max=256, metavar="N", help="First reduce each layer's weights to N distinct values."),
    ] = None,
    qat: Annotated[
        bool,
        typer.Option("--qat", help="Export only int8 TFLite after quantisation-aware training (tflite_int8_qat)."),
    ] = False,
    tune_epochs: Annotated[
        int, typer.Option(min=1, help="Number of fine-tuning epochs for --prune, --cluster and --qat.")
    ] = 3,
    tune_rate: Annotated[
        float | None,
        typer.Option(
            min=1e-8,
            help="Learning rate of fine-tuning; that of the last phase of the model's recipe if not given.",
        ),
    ] = None,
    budgets: Annotated[
        Path | None, typer.Option(help="Path of a TOML file with custom bounds, see export/recipes.toml.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Path of the data folder, if it has moved since training.")
    ] = None,
    licence: Annotated[
        str,
        typer.Option(
            help="Licence of the weights, written into the files; for FracAtlas its attribution by default."
        ),
    ] = "",
    model_version: Annotated[
        str,
        typer.Option(help="Version of the weights, such as 1.2; shown by `info`, and part of `model` in records."),
    ] = "",
    seed: Annotated[
        int, typer.Option(help="Random seed for sampling the calibration images and for fine-tuning.")
    ] = 0,
    verify: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Only check the exported files in DIR (artifacts/MODEL) again."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the files that an interrupted export has finished.")
    ] = False,
    force: ForceOption = False,
) -> None:
    """Export trained models to single self-contained files, in the formats that devices run.

    By default ONNX float32 and int8 and TFLite float16 and int8 are exported. The options --onnx, --tflite and
    the precisions select other formats; export/recipes.toml lists all. Files are named
    artifacts/MODEL/MODEL-FORMAT.

    Each file is run by its own runtime on the validation images and compared with the Keras model at the
    frozen threshold, an int8 file on training images too. A file that loses too much is moved to
    artifacts/MODEL/rejected. An int8 file is made in several ways, listed in export/recipes.toml from cheap to
    dear, until one passes. export.json records the files, their settings and metrics; the table at the end has
    size, share of equal decisions and change of AUROC on the validation images, and time for one image.

    Exit status: 0 all files written and accepted, 1 none, 2 wrong usage, 3 some failed or were rejected.

    Example: fracture-edge export --int8

    Example: fracture-edge export custom_cnn --factorise 64 --onnx --int8

    Example, checking files again: fracture-edge export --verify artifacts/edge
    """
    from export.options import ExportOptions, Outcome
    from export.recipes import LADDER, METHODS, load_budgets, select
    from export.run import export_model
    from export.verify import verify as check
    from train.artifacts import trained_models
    from train.export_record import Compression

    if verify is not None:
        _report_outcomes(check(verify, data=data, budgets=load_budgets(budgets)), verb="verified")
        return
    if calibration not in ("auto", *METHODS):
        raise typer.BadParameter(f"--calibration {calibration}: must be one of: auto, {', '.join(METHODS)}")
    formats = select(
        names=[*(recipe or ()), *(["tflite_int8_qat"] if qat else [])],
        runtimes=_given(onnx=onnx, tflite=tflite),
        precisions=_given(float32=float32, float16=float16, dynamic=dynamic, int8=int8),
        target=target,
        everything=everything,
    )
    if not formats:
        raise typer.BadParameter("no format matches all of these options; see export/recipes.toml")
    compression = None
    if (factorise, prune, cluster) != (None, None, None):
        compression = Compression(
            rank=factorise,
            sparsity=prune,
            clusters=cluster,
            epochs=tune_epochs,
            seed=seed,
            learning_rate=tune_rate,
        )
    options = ExportOptions(
        ladder=[
            rung
            for rung in LADDER
            if rung.runtime != "onnx" or calibration == "auto" or rung.calibration in ("", calibration)
        ],
        calibration_images=calibration_images,
        seed=seed,
        data=data,
        heatmap=heatmap,
        compression=compression,
        tune_epochs=tune_epochs,
        tune_rate=tune_rate,
        budgets=load_budgets(budgets),
        licence=licence,
        version=model_version,
        force=force,
        resume=resume,
    )
    outcomes: list[Outcome] = []
    for model in models or trained_models(artifacts):
        try:
            outcomes += export_model(model, formats, artifacts=artifacts, options=options)
        except FractureEdgeError as error:
            if not models or len(models) > 1:
                # Continue with the other models.
                say(f"fracture-edge: {error}")
                outcomes.append(Outcome(model, None, str(error)))
            else:
                raise
    _report_outcomes(outcomes, verb="written")


def _given(**flags: bool) -> list[str]:
    return [name for name, given in flags.items() if given]


def _report_outcomes(outcomes: Sequence[Any], *, verb: str) -> None:
    """Print accepted files to stdout and a table of all to stderr; exit with the status."""
    failed = [outcome for outcome in outcomes if outcome.reason]
    accepted = [outcome.path for outcome in outcomes if not outcome.reason]
    for path in accepted:
        print(path)
    if failed or verb == "written":
        for line in _table(outcomes, verb):
            say(line)
    if accepted and verb == "written":
        say(f"next: fracture-edge benchmark {accepted[0].parent.name} -o results.json")
    if failed:
        raise typer.Exit(EXIT_FAILED if len(failed) == len(outcomes) else EXIT_SOME_FAILED)


def _table(outcomes: Sequence[Any], verb: str) -> list[str]:
    """Return the lines of a table: file, MB, decisions equal to Keras's, change of AUROC, time, verdict."""
    if all(outcome.entry is None for outcome in outcomes):
        width = max(len(outcome.file) for outcome in outcomes)
        return [f"{outcome.file:<{width}}  {outcome.reason or verb}" for outcome in outcomes]
    rows = [("file", "MB", "same", "AUROC", "ms", "")]
    for outcome in outcomes:
        figures = ("", "", "", "")
        if outcome.entry is not None:
            entry = outcome.entry
            figures = (
                f"{entry.bytes / 1e6:.2f}",
                f"{entry.gate.same_decision:.1%}",
                f"{entry.gate.auroc_change:+.4f}",
                "" if entry.milliseconds is None else f"{entry.milliseconds:.1f}",
            )
        rows.append((outcome.file, *figures, outcome.reason or verb))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return [
        "  ".join(
            [f"{row[0]:<{widths[0]}}", *(f"{row[column]:>{widths[column]}}" for column in range(1, 5)), row[5]]
        ).rstrip()
        for row in rows
    ]
