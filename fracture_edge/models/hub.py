"""Folder of a model for a hub: the model file, its card, its configuration and the page."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from fracture_edge._version import __version__
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_path, atomic_write_text, refuse_overwrite, write_json
from fracture_edge.modelfile import INPUT_NAME, read_model
from fracture_edge.models import EMBEDDED_FILE
from fracture_edge.models.card import HOME, LIBRARY, card_of, header_of
from fracture_edge.runtimes.opening import open_model

CARD, CONFIG, PAGE = "README.md", "config.json", "fracture-edge.html"
#: Licence of a model of one's own if none is given, in the hub's words.
OTHER_LICENCE = "other"
_CARD_OF_EMBEDDED = Path(__file__).with_name("README.md")
#: Folder of the embedded model's card in the repository, which its relative links start from.
_FROM = "fracture_edge/models"


def write_hub_folder(
    folder: Path, model: str | os.PathLike[str] | None, *, licence: str | None = None, force: bool = False
) -> Mapping[str, int]:
    """Write a folder that is ready to be uploaded; the card is written last.

    Args:
        folder: Folder to write; it is made if it does not exist.
        model: Path of a model file; the embedded model if ``None``.
        licence: Identifier of the licence on the hub. Default: `OTHER_LICENCE`; the embedded model has its own.
        force: Whether files of the same names are replaced; others are left alone.

    Returns:
        Size of each file in bytes by name. There is no `PAGE` if the page cannot be made of this model.

    Raises:
        ModelError: The model cannot be used.
        FractureEdgeError: A file exists and `force` is false, or a licence is given for the embedded model.
    """
    if model is None and licence is not None:
        raise FractureEdgeError("the embedded model has its licence; --licence is for --model")
    name, data, sha256 = read_model(model)
    opened = open_model(model, 1)
    file = EMBEDDED_FILE.name if model is None else Path(name).name
    kind = "tflite" if opened.lacks_typicality else "onnx"
    if not force:
        for written in (file, CARD, CONFIG, PAGE):
            refuse_overwrite(folder / written)
    info = opened.info
    with atomic_path(folder / file, force=force) as temporary:
        temporary.write_bytes(data)
    config = {
        "library_name": LIBRARY,
        "library_version": __version__,
        "model_file": file,
        "model_sha256": sha256,
        "input": {
            "name": INPUT_NAME,
            "type": "uint8",
            "shape": ["N", info.preprocessing.height, info.preprocessing.width, 1],
        },
        "outputs": sorted(opened.outputs),
        "metadata": json.loads(info.to_json()),
    }
    write_json(folder / CONFIG, config, force=force)
    if kind == "onnx":
        from fracture_edge.web.assemble import BUILT, assemble

        # A checkout without `make web` has no parts of the page.
        if BUILT.is_dir():
            atomic_write_text(folder / PAGE, assemble(model), force=force)
    if model is None:
        card = with_absolute_links(_CARD_OF_EMBEDDED.read_text(encoding="utf-8"))
    else:
        card = card_of(info, file, sha256, header_of(info, kind, licence or OTHER_LICENCE))
    atomic_write_text(folder / CARD, card, force=force)
    return {
        each: (folder / each).stat().st_size for each in (file, CONFIG, PAGE, CARD) if (folder / each).exists()
    }


def with_absolute_links(card: str) -> str:
    """Replace the relative links of the embedded model's card by links to the repository."""

    def absolute(match: re.Match[str]) -> str:
        target, _, anchor = match[1].partition("#")
        path = os.path.normpath(os.path.join(_FROM, target)).replace(os.sep, "/")  # noqa: PTH118
        return f"]({HOME}/blob/main/{path}{'#' * bool(anchor)}{anchor})"

    return re.sub(r"\]\((?!https?://|#)([^)\s]+)\)", absolute, card)
