"""Command `fracture-edge page`."""

from pathlib import Path
from typing import Annotated

import typer

from fracture_edge.commands.options import ModelOption

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def page(
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")] = Path(
        "fracture-edge.html"
    ),
    model: ModelOption = None,
    force: Annotated[bool, typer.Option(help="Replace the file that --output names.")] = False,
) -> None:
    """Write one HTML file that classifies images in a browser, offline, with nothing to install.

    The model and everything it needs are inside, 9 MB with the embedded model. Copy the file to any computer and
    open it: images are dropped on it, and never leave it. Its answers are those of `classify` with the same model.

    For research and education. Not a medical device.

    \b
    With the embedded model:   fracture-edge page
    With a model of your own:  fracture-edge page --model artifacts/edge/edge-int8.onnx -o edge.html
    """  # noqa: D301
    from fracture_edge.console import say
    from fracture_edge.files import atomic_write_text, refuse_overwrite
    from fracture_edge.web.assemble import assemble

    if not force:
        refuse_overwrite(output)
    text = assemble(model)
    atomic_write_text(output, text, force=force)
    say(f"fracture-edge: {output}, {len(text.encode()) / 1e6:.1f} MB; open it in a browser")
