"""Study `page-picture`: the picture of the page in the documents."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from benchmarks.studies.page.browsers import BROWSERS, WEB, drive, executable_of
from benchmarks.studies.page.pictures import bone
from fracture_edge.console import say
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_path, atomic_write_text
from fracture_edge.web.assemble import assemble

PICTURE = WEB.parent / "docs" / "images" / "page.jpg"
#: Width and height of the window, and length of the longer side of the drawn bone, in pixels.
_WINDOW, _SIZE = (1100, 720), 1000
#: A broken bone whose decision rests on its probability: the model doubts most drawn ones for what they look like.
_SEED = 449

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def picture(
    seed: Annotated[int, typer.Option(help="Random seed of the drawn bone.")] = _SEED,
    output: Annotated[Path, typer.Option("--output", "-o", help="JPEG file to write.")] = PICTURE,
) -> None:
    """Photograph the page in Chromium with its answer for a drawn bone, for the documents.

    The page has to be built (`make web`).
    """
    executable = executable_of(BROWSERS["chrome"])
    if executable is None:
        raise FractureEdgeError("no Chromium here: install it, for example with `apt install chromium`")
    with TemporaryDirectory(prefix="fracture-edge-page-") as name:
        folder = Path(name)
        file, page, photograph = folder / "drawn-bone.png", folder / "page.html", folder / "page.png"
        Image.fromarray(bone(np.random.default_rng(seed), _SIZE)).save(file)
        atomic_write_text(page, assemble())
        job = {
            "browser": "chrome",
            "executable": executable,
            "page": page.as_uri(),
            "batches": [[str(file)]],
            "ways": ["choose"],
            "names": ["picture"],
            "window": _WINDOW,
            "photograph": str(photograph),
        }
        found = drive(folder, job)
        with Image.open(photograph) as image, atomic_path(output) as target:
            image.convert("RGB").save(target, "JPEG", quality=88, optimize=True, progressive=True)
    say(f"page-picture: {output}, {found['answers'][0]['state']}")
