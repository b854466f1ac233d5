"""`fracture-edge export`."""

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
        list[str] | None, typer.Argument(help="Names of trained models, such as edge; all if none is named.")
    ] = None,
    artifacts: ArtifactsOption = Path("artifacts"),
    onnx: Annotated[bool, typer.Option("--onnx", help="ONNX files only.")] = False,
    tflite: Annotated[bool, typer.Option("--tflite", help="TFLite files only.")] = False,
    float32: Annotated[bool, typer.Option("--float32", help="float32 files.")] = False,
    float16: Annotated[bool, typer.Option("--float16", help="float16 files: half the size, no faster.")] = False,
    dynamic: Annotated[
        bool, typer.Option("--dynamic", help="TFLite files with int8 weights and float32 activations.")
    ] = False,
    int8: Annotated[bool, typer.Option("--int8", help="int8 files: a quarter of the size, and fast.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Every format, for every target.")] = False,
    recipe: Annotated[
        list[str] | None,
        typer.Option("--recipe", metavar="NAME", help="This format, such as tflite_float16; may be repeated."),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            help="int8 ONNX for: x86 (with VNNI), safe (any x86: cannot overflow; slower with VNNI), or arm64."
        ),
    ] = "x86",
    heatmap: Annotated[
        bool, typer.Option("--heatmap", help="Add a heat map as second output (not to int8 TFLite).")
    ] = False,
    calibration: Annotated[
        str,
        typer.Option(
            help="int8 ONNX: ranges of the activations from minmax, percentile or entropy; auto keeps the "
            "nearest to Keras of the first two, and tries entropy when neither passes the gate."
        ),
    ] = "auto",
    calibration_images: Annotated[int, typer.Option(min=1, help="Training images to calibrate with.")] = 256,
    factorise: Annotated[
        int | None,
        typer.Option(min=1, metavar="RANK", help="First split a large Dense layer in two of this rank."),
    ] = None,
    prune: Annotated[
        float | None,
        typer.Option(min=0.01, max=0.99, metavar="SHARE", help="First set this share of the weights to 0."),
    ] = None,
    cluster: Annotated[
        int | None,
        typer.Option(min=2, max=256, metavar="N", help="First give every layer's weights N different values."),
    ] = None,
    qat: Annotated[
        bool, typer.Option("--qat", help="Only TFLite int8 after quantisation-aware training (tflite_int8_qat).")
    ] = False,
    tune_epochs: Annotated[int, typer.Option(min=1, help="Epochs of --prune, --cluster and --qat.")] = 1,
    budgets: Annotated[
        Path | None, typer.Option(help="A TOML file with bounds of your own, see export/recipes.toml.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The data folder, where it has moved.")] = None,
    licence: Annotated[
        str, typer.Option(help="Goes into the files; FracAtlas's attribution if not given, for FracAtlas.")
    ] = "",
    model_version: Annotated[
        str,
        typer.Option(help="Version of the weights, such as 1.2; shown by `info`, and part of `model` in records."),
    ] = "",
    seed: Annotated[int, typer.Option(help="Seed of the draw of calibration images.")] = 0,
    verify: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Export nothing: check the files in DIR (artifacts/MODEL) again."),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Turn trained models into single files that carry all they need, in the formats that devices run.

    Without a selection: ONNX float32 and int8, TFLite float16 and int8. The options --onnx, --tflite and the
    precisions select; export/recipes.toml lists all formats. Files are named artifacts/MODEL/MODEL-FORMAT.

    Each file is run by its own runtime on the validation images and compared with the Keras model at the
    frozen threshold. One that loses too much goes to artifacts/MODEL/rejected. int8 ONNX is made with two
    calibrations, of which the nearer to Keras is kept; if neither passes, with a third, then with its most
    sensitive layers left in float32. export.json says what was made, how, and how good it is.

    Exit status: 0 all made and accepted, 1 none, 2 wrong usage, 3 some failed or were rejected.

    Examples: fracture-edge export --int8
              fracture-edge export custom_cnn --factorise 64 --onnx --int8
              fracture-edge export --verify artifacts/edge
    """
    from export.options import ExportOptions, Outcome
    from export.recipes import METHODS, load_budgets, select
    from export.run import export_model
    from export.verify import verify as check
    from train.artifacts import trained_models
    from train.export_record import Compression

    if verify is not None:
        _end(check(verify, data=data, budgets=load_budgets(budgets)), verb="verified")
        return
    if calibration not in ("auto", *METHODS):
        raise typer.BadParameter(f"--calibration {calibration}: must be one of: auto, {', '.join(METHODS)}")
    formats = select(
        names=[*(recipe or ()), *(["tflite_int8_qat"] if qat else [])],
        runtimes=_chosen(onnx=onnx, tflite=tflite),
        precisions=_chosen(float32=float32, float16=float16, dynamic=dynamic, int8=int8),
        target=target,
        everything=everything,
    )
    if not formats:
        raise typer.BadParameter("no format matches all of these options; see export/recipes.toml")
    compression = None
    if (factorise, prune, cluster) != (None, None, None):
        compression = Compression(rank=factorise, sparsity=prune, clusters=cluster, epochs=tune_epochs, seed=seed)
    options = ExportOptions(
        methods=METHODS if calibration == "auto" else (calibration,),
        calibration_images=calibration_images,
        seed=seed,
        data=data,
        heatmap=heatmap,
        compression=compression,
        tune_epochs=tune_epochs,
        budgets=load_budgets(budgets),
        licence=licence,
        version=model_version,
        force=force,
    )
    outcomes: list[Outcome] = []
    for model in models or trained_models(artifacts):
        try:
            outcomes += export_model(model, formats, artifacts=artifacts, options=options)
        except FractureEdgeError as error:
            if not models or len(models) > 1:
                # The other models go on.
                say(f"fracture-edge: {error}")
                outcomes.append(Outcome(model, None, str(error)))
            else:
                raise
    _end(outcomes, verb="written")


def _chosen(**flags: bool) -> list[str]:
    return [name for name, given in flags.items() if given]


def _end(outcomes: Sequence[Any], *, verb: str) -> None:
    """Accepted files on stdout, a table of all on stderr where something failed, and the exit status."""
    failed = [outcome for outcome in outcomes if outcome.reason]
    for outcome in outcomes:
        if not outcome.reason:
            print(outcome.path)
    if not failed:
        return
    width = max(len(outcome.file) for outcome in outcomes)
    for outcome in outcomes:
        say(f"{outcome.file:<{width}}  {outcome.reason or verb}")
    raise typer.Exit(EXIT_FAILED if len(failed) == len(outcomes) else EXIT_SOME_FAILED)
