"""Which pictures a model flags as unusable: `python -m benchmarks.studies unlike MODEL.onnx`.

Counts how often the answer is "uncertain" because of the picture (`fracture_edge.suitability`, and the distance of
the network's features from those of its training images): false alarms on validation radiographs, hits on
photographs (the pictures that scikit-image's wheel carries, where it is installed, or any folder), on drawn pages,
screenshots and noise, and on validation radiographs that were spoilt.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.records.environment import Environment
from benchmarks.studies.robustness.non_radiographs import DRAWN, SPOILT, drawn
from fracture_edge.batch.inputs import expand
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.images.image_file import ImageSource, load_image
from train.cli.options import DataOption, SplitsOption
from train.data.batches import fingerprint
from train.data.dataset import ImageTable
from train.data.splits import read_table_with_splits
from train.evaluation.formatting import NONE, markdown_table
from train.evaluation.metrics import Estimate, wilson
from train.json_records import write_record

app = typer.Typer(add_completion=False, rich_markup_mode=None)
#: Pictures of each kind that is drawn.
DRAWN_EACH = 100
#: Validation radiographs that are spoilt in each way, at most.
SPOILT_EACH = 400


@dataclass(frozen=True, slots=True)
class Flagged:
    """How many pictures of a kind were flagged.

    Attributes:
        images: Pictures that have an answer.
        flagged: Number of those that were doubted.
        share: Share of those, with Wilson's interval.
        reasons: Counts by `ReasonCode`, the most frequent first.
    """

    images: int
    flagged: int
    share: Estimate
    reasons: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlike:
    """What a model takes for no radiograph.

    Attributes:
        model: Name of the model.
        model_sha256: Checksum of its file, hexadecimal.
        typicality: Limit of the distance of features; empty for a model without one.
        suitability: Limits of the picture itself.
        data_fingerprint: Checksum of data and splits.
        rows: Counts by kind of picture.
        environment: Machine and versions.
    """

    model: str
    model_sha256: str
    typicality: dict[str, float]
    suitability: dict[str, float]
    data_fingerprint: str
    rows: dict[str, Flagged]
    environment: Environment


def flagged(classifier: FractureClassifier, pictures: Iterable[ImageSource]) -> Flagged:
    """Classify pictures and count the doubted ones."""
    images, reasons = 0, Counter[str]()
    for prediction in classifier.predict_many(pictures):
        if not prediction.ok:
            continue
        images += 1
        if prediction.reason_code and prediction.reason_code.is_about_picture:
            reasons[prediction.reason_code] += 1
    count = reasons.total()
    return Flagged(images, count, wilson(count, images), dict(reasons.most_common()))


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
) -> Unlike:
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
    return Unlike(
        model=classifier.info.name,
        model_sha256=classifier.sha256,
        typicality=dict(classifier.info.typicality),
        suitability=dict(classifier.info.suitability),
        data_fingerprint=fingerprint(table),
        rows=rows,
        environment=Environment.here(),
    )


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
        read_table_with_splits(data, splits, seed=0),
        photographs(photographs_from),
        photographs_from="pictures of scikit-image" if photographs_from is None else "photographs",
    )
    if output is not None:
        write_record(output, result)
    print(table_of(result), end="")


def table_of(result: Unlike) -> str:
    """Tabulate the rows, as Markdown."""
    return markdown_table(
        ("pictures", "number", "flagged", "most frequent reason"),
        (
            (
                name,
                row.images,
                f"{row.share.value:.1%} [{row.share.low:.1%}, {row.share.high:.1%}]",
                next(iter(row.reasons), NONE),
            )
            for name, row in result.rows.items()
        ),
    )
