"""Which pictures a model flags as unusable: `python -m benchmarks.studies unlike MODEL.onnx`.

Counts how often the answer is "uncertain" because of the picture (`fracture_edge.suitability`, and the distance of
the network's features from those of its training images): false alarms on validation radiographs, hits on
photographs (the pictures that scikit-image's wheel carries, where it is installed, or any folder), on drawn pages,
screenshots and noise, and on validation radiographs that were spoilt.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.environment import environment
from benchmarks.studies.robustness.non_radiographs import DRAWN, SPOILT, drawn
from fracture_edge.batch.inputs import expand
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_write_text
from fracture_edge.images.image_file import ImageSource, load_image
from fracture_edge.suitability import Doubt
from train.cli.options import DataOption, SplitsOption
from train.data.batches import fingerprint
from train.data.dataset import ImageTable
from train.data.splits import divided_table
from train.evaluation.metrics import wilson

app = typer.Typer(add_completion=False, rich_markup_mode=None)
#: Pictures of each kind that is drawn.
DRAWN_EACH = 100
#: Validation radiographs that are spoilt in each way, at most.
SPOILT_EACH = 400


def flagged(classifier: FractureClassifier, pictures: Iterable[ImageSource]) -> dict[str, Any]:
    """Classify pictures and count the doubted ones.

    Returns:
        ``images`` that have an answer, how many are ``flagged``, their ``share`` with its 95 % Wilson interval,
        and the counts of the ``reasons``.
    """
    images, reasons = 0, Counter[str]()
    for prediction in classifier.predict_many(pictures):
        if not prediction.ok:
            continue
        images += 1
        if prediction.reason.startswith(tuple(Doubt)):
            # Without the figures, which differ from picture to picture.
            doubt, _, words = prediction.reason.partition(": ")
            kind = words.split(",")[0].split(" (")[0].lstrip("0123456789% ")
            reasons[f"{doubt}: {kind}"] += 1
    count = reasons.total()
    return {
        "images": images,
        "flagged": count,
        "share": wilson(count, images).to_json(),
        "reasons": dict(reasons.most_common()),
    }


def photographs(folder: Path | None) -> list[Path]:
    """Pictures of `folder`, or of the installed scikit-image.

    Raises:
        FractureEdgeError: There are none.
    """
    if folder is None:
        spec = find_spec("skimage")
        if spec is None or spec.origin is None:
            raise FractureEdgeError(
                "scikit-image is not installed: pip install scikit-image, or name --photographs"
            )
        folder = Path(spec.origin).parent / "data"
    found, _ = expand([folder], recursive=False)
    return list(found)


def measure(
    classifier: FractureClassifier, table: ImageTable, pictures: Sequence[Path], *, photographs_from: str
) -> dict[str, Any]:
    """Show a model everything.

    Args:
        classifier: The model.
        table: Radiographs with their splits; the validation part is used.
        pictures: Photographs.
        photographs_from: What they are, in words.
    """
    part = [table.file(item) for item in table.where("val")]
    some = [load_image(path) for path in part[:: math.ceil(len(part) / SPOILT_EACH)]]
    rows = {"validation radiographs": flagged(classifier, part), photographs_from: flagged(classifier, pictures)}
    for name in DRAWN:
        rows[f"drawn: {name}"] = flagged(classifier, drawn(name, DRAWN_EACH))
    for name, spoil in SPOILT.items():
        rows[f"radiographs, {name}"] = flagged(classifier, map(spoil, some))
    return {
        "model": classifier.info.name,
        "model_sha256": classifier.sha256,
        "typicality": dict(classifier.info.typicality),
        "suitability": dict(classifier.info.suitability),
        "data_fingerprint": fingerprint(table),
        "rows": rows,
        "environment": environment(),
    }


@app.command()
def run(
    data: DataOption,
    splits: SplitsOption,
    model: Annotated[
        Path | None,
        typer.Argument(metavar="MODEL", help="A model file; the embedded one if not given.", show_default=False),
    ] = None,
    photographs_from: Annotated[
        Path | None,
        typer.Option("--photographs", metavar="FOLDER", help="Photographs; scikit-image's if not given."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.json", help="Write the JSON here.")
    ] = None,
) -> None:
    """Count how often a model takes radiographs, photographs, drawn and spoilt pictures for unusable."""
    result = measure(
        FractureClassifier(model),
        divided_table(data, splits, seed=0),
        photographs(photographs_from),
        photographs_from="pictures of scikit-image" if photographs_from is None else "photographs",
    )
    if output is not None:
        atomic_write_text(output, json.dumps(result, indent=2) + "\n")
    print(table_of(result), end="")


def table_of(result: dict[str, Any]) -> str:
    """The rows as a Markdown table."""
    lines = ["| pictures | number | flagged | most frequent reason |", "| --- | --- | --- | --- |"]
    for name, row in result["rows"].items():
        share = row["share"]
        reason = next(iter(row["reasons"]), "–")
        lines.append(
            f"| {name} | {row['images']} | {share['value']:.1%} [{share['low']:.1%}, {share['high']:.1%}] | "
            f"{reason} |"
        )
    return "\n".join(lines) + "\n"
