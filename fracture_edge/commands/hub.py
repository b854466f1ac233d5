"""Command `fracture-edge hub`."""

from pathlib import Path
from typing import Annotated

import typer

from fracture_edge.commands.options import ModelOption

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def hub(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write.", show_default=False)],
    model: ModelOption = None,
    licence: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Licence of your model as the hub names it, such as apache-2.0. Default: other.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace files of the same names in DIR.")] = False,
) -> None:
    """Write a folder for a model hub: model, card, config.json and the page for browsers.

    The card begins with the YAML header that hubs read: licence, tags, training data and results. That of the
    embedded model is the card of the package; that of another model says what its file knows, and you complete it.
    Nothing is uploaded and nothing is ever downloaded: upload the folder with the hub's own program.

    For research and education. Not a medical device.

    \b
    With the embedded model:   fracture-edge hub upload/
    With a model of your own:  fracture-edge hub upload/ --model artifacts/edge/edge-int8.onnx --licence cc-by-4.0
    """  # noqa: D301
    from fracture_edge.console import say
    from fracture_edge.models.hub import PAGE, write_hub_folder

    written = write_hub_folder(folder, model, licence=licence, force=force)
    for name, size in written.items():
        say(f"fracture-edge: {folder / name}, {size / 1e6:.1f} MB")
    if PAGE not in written:
        say("fracture-edge: without the page, which needs an .onnx file and the parts that `make web` builds")
