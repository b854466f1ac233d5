"""Count the images that a model flags as unusable: `python -m benchmarks.studies unlike MODEL.onnx`.

An image is flagged if the decision is "uncertain" because of the image itself (`fracture_edge.suitability`, and
the distance of the network's features from those of its training images). Validation radiographs show the false
alarms. Hits are counted on photographs (a given folder, or the images in scikit-image's wheel, if installed), on
generated pages, screenshots and noise, and on radiographs that were made unusable. With `--split test` the
radiographs are test images: a final model (`train --final`) was trained on the validation images.
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
from benchmarks.studies.options import Split, SplitOption
from benchmarks.studies.robustness.non_radiographs import GENERATED, SPOILT, generate
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
#: Number of generated images of each kind.
GENERATED_EACH = 100
#: Maximum number of radiographs that are made unusable in each way.
SPOILT_EACH = 400


@dataclass(frozen=True, slots=True)
class Flagged:
    """Numbers of flagged images of one kind.

    Attributes:
        images: Number of images that were not refused.
        flagged: Number of those that were flagged as unusable.
        share: Share of flagged images, with Wilson interval.
        reasons: Number of flagged images by `fracture_edge.policy.ReasonCode`, the most frequent first.
    """

    images: int
    flagged: int
    share: Estimate
    reasons: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlike:
    """Numbers of images that a model flags as unusable.

    Attributes:
        model: Name of the model.
        model_sha256: SHA-256 checksum of the model file, hexadecimal.
        typicality: Limit of the feature distance; empty for a model without one.
        suitability: Limits of the image properties.
        data_fingerprint: Checksum of data and splits.
        rows: Numbers by kind of image.
        environment: Machine and package versions.
    """

    model: str
    model_sha256: str
    typicality: dict[str, float]
    suitability: dict[str, float]
    data_fingerprint: str
    rows: dict[str, Flagged]
    environment: Environment


def count_flagged(classifier: FractureClassifier, pictures: Iterable[ImageSource]) -> Flagged:
    """Classify images and count those that are flagged as unusable."""
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
    """List the image files in a folder, or those of the installed scikit-image.

    Args:
        folder: Folder of images; ``None`` for scikit-image.

    Raises:
        FractureEdgeError: The folder contains no images, or scikit-image is not installed.
    """
    if folder is None:
        spec = find_spec("skimage")
        if spec is None or spec.origin is None:
            raise FractureEdgeError(
                "scikit-image is not installed: pip install scikit-image, or give --photographs"
            )
        folder = Path(spec.origin).parent / "data"
    found, _ = expand([folder], recursive=False)
    return list(found)


def measure(
    classifier: FractureClassifier,
    table: ImageTable,
    pictures: Sequence[Path],
    *,
    photographs_from: str,
    split: Split = Split.VAL,
) -> Unlike:
    """Count the flagged images of all kinds.

    Args:
        classifier: Classifier with the model.
        table: Radiographs with splits.
        pictures: Paths of photographs.
        photographs_from: Description of the photographs.
        split: Split of the radiographs.

    Raises:
        FractureEdgeError: There are no images of that split.
    """
    part = [table.file(item) for item in table.where(split.value)]
    if not part:
        raise FractureEdgeError(f"{table.root}: has no {split.value} images")
    some = [load_image(path) for path in part[:: math.ceil(len(part) / SPOILT_EACH)]]
    rows = {
        f"radiographs ({split.value})": count_flagged(classifier, part),
        photographs_from: count_flagged(classifier, pictures),
    }
    for name in GENERATED:
        rows[f"drawn: {name}"] = count_flagged(classifier, generate(name, GENERATED_EACH))
    for name, spoil in SPOILT.items():
        rows[f"radiographs, {name}"] = count_flagged(classifier, map(spoil, some))
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
        typer.Argument(metavar="MODEL", help="Model file. Default: the embedded model.", show_default=False),
    ] = None,
    photographs_from: Annotated[
        Path | None,
        typer.Option("--photographs", metavar="FOLDER", help="Folder of photographs. Default: scikit-image's."),
    ] = None,
    split: SplitOption = Split.VAL,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.json", help="Write the JSON here.")
    ] = None,
) -> None:
    """Count the radiographs, photographs and generated images that a model flags as unusable."""
    result = measure(
        FractureClassifier(model),
        read_table_with_splits(data, splits, seed=0),
        photographs(photographs_from),
        photographs_from="pictures of scikit-image" if photographs_from is None else "photographs",
        split=split,
    )
    if output is not None:
        write_record(output, result)
    print(table_of(result), end="")


def table_of(result: Unlike) -> str:
    """Render the numbers of flagged images as a Markdown table."""
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
