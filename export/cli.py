"""`fracture-edge export`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from fracture_edge.cli_options import ArtifactsOption, ForceOption, quiet_tensorflow

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def export(
    models: Annotated[list[str], typer.Argument(help="Names of trained models, such as edge.")],
    artifacts: ArtifactsOption = Path("artifacts"),
    int8: Annotated[bool, typer.Option("--int8", help="Write an int8 file too.")] = False,
    target: Annotated[
        str,
        typer.Option(
            help="int8 for: x86, safe (7-bit weights: cannot overflow on x86 without VNNI, less exact), or arm64."
        ),
    ] = "x86",
    calibration: Annotated[
        str, typer.Option(help="Ranges of the activations from: minmax, entropy or percentile.")
    ] = "minmax",
    calibration_images: Annotated[int, typer.Option(min=1, help="Training images to calibrate with.")] = 256,
    data: Annotated[Path | None, typer.Option(help="The data folder, where it has moved.")] = None,
    licence: Annotated[
        str, typer.Option(help="Goes into the files; FracAtlas's attribution if not given, for FracAtlas.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Seed of the draw of calibration images.")] = 0,
    force: ForceOption = False,
) -> None:
    """Turn trained models into single ONNX files that carry all they need.

    Writes artifacts/MODEL/MODEL-float32.onnx, with --int8 MODEL-int8.onnx too, and export.json. Each file is
    run by onnxruntime on the validation images first; float32 must agree with Keras to 1e-4.

    Example: fracture-edge export edge --int8
    """
    # The converters take TensorFlow functions, whatever backend the model was trained on.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    quiet_tensorflow()
    from export.run import export_model

    for model in models:
        files = export_model(
            model,
            artifacts=artifacts,
            int8=int8,
            processor=target,
            method=calibration,
            calibration_images=calibration_images,
            data=data,
            seed=seed,
            licence=licence,
            force=force,
        )
        for file in files:
            print(file)
