"""`fracture-edge info`."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def info(
    model: Annotated[Path | None, typer.Argument(help="A model file; the embedded one if not given.")] = None,
) -> None:
    """Print what a model file says about itself, as JSON: data, policy, preprocessing, metrics, versions."""
    import json

    from fracture_edge.classifier import FractureClassifier

    classifier = FractureClassifier(model, threads=1)
    print(json.dumps({"sha256": classifier.sha256, **json.loads(classifier.info.to_json())}, indent=2))
