"""Command `fracture-edge info`."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def info(
    model: Annotated[
        Path | None, typer.Argument(help="Model file, .onnx or .tflite. Default: the embedded model.")
    ] = None,
) -> None:
    """Print the metadata of a model file as JSON: training data, policy, preprocessing, metrics, versions."""
    import json

    from fracture_edge.modelfile import is_tflite, read_model, tflite_info

    name, data, sha256 = read_model(model)
    if is_tflite(name, data):
        about = tflite_info(name, data)
    else:
        from fracture_edge.runtimes.session import open_session, read_info

        about = read_info(name, open_session(name, data, 1))
    print(json.dumps({"sha256": sha256, **json.loads(about.to_json())}, indent=2))
