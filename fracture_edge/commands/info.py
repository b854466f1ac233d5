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

    if model is not None and model.suffix.lower() == ".tflite":
        import hashlib

        from fracture_edge.modelfile import read_tflite_info

        about = read_tflite_info(model)
        sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
    else:
        from fracture_edge.classifier import FractureClassifier

        classifier = FractureClassifier(model, threads=1)
        about, sha256 = classifier.info, classifier.sha256
    print(json.dumps({"sha256": sha256, **json.loads(about.to_json())}, indent=2))
