"""Evaluate body part and view: `python -m benchmarks.studies body-part MODEL.onnx`.

The outputs of the file itself are evaluated, beside two controls: size, brightness and contrast alone (a random
forest on `train.data.scan.Scan.trivial_features`), and heads fitted to the same features with shuffled labels,
whose AUROC must be that of chance.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from benchmarks.quality import subgroups
from benchmarks.records.measured_row import Subgroup
from fracture_edge.attributes import BODY_PART_NAME
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.modelfile import INPUT_NAME, OUTPUT_NAME
from fracture_edge.models import EMBEDDED_FILE
from fracture_edge.session import open_session
from train.cli.options import DataOption, SplitsOption
from train.data.batches import fingerprint, load_pixels
from train.data.dataset import ImageTable
from train.data.shortcuts import trivial_scores
from train.data.splits import read_table_with_splits, scan
from train.evaluation import bootstrap
from train.evaluation.attributes import Truth, fit_head, truth_of
from train.evaluation.bootstrap import Roc
from train.evaluation.formatting import interval, markdown_table
from train.evaluation.metrics import Estimate, auroc, percentile, wilson
from train.evaluation.onnx_features import file_features
from train.evaluation.predictions import groups_of
from train.json_records import write_record

app = typer.Typer(add_completion=False, rich_markup_mode=None)
#: Value of a body part that is not recognised, in the table of fractures by predicted body part.
UNNAMED = "not recognised"
_RESAMPLES = 2000
_BATCH = 16
Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Label:
    """Evaluation of one label.

    Attributes:
        label: Name of the label.
        images: Number of images that have it.
        auroc: AUROC of its probability.
    """

    label: str
    images: int
    auroc: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeResult:
    """Evaluation of one attribute.

    Attributes:
        name: Name of the attribute.
        threshold: Probability from which a label is named.
        labels: Evaluation of each label.
        macro: Mean AUROC of the labels.
        trivial: The same of size, brightness and contrast alone.
        shuffled: The same of heads fitted to shuffled labels.
        exact: Share of images that get exactly their labels.
        unnamed: Share of images that get no label.
    """

    name: str
    threshold: float
    labels: tuple[Label, ...]
    macro: Estimate
    trivial: Estimate
    shuffled: Estimate
    exact: Estimate
    unnamed: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyPartResult:
    """Evaluation of body part and view on one split.

    Attributes:
        model: Name and version of the model.
        model_sha256: SHA-256 of the model file, hexadecimal.
        split: Split of the images.
        images: Number of images.
        data_fingerprint: Checksum of data and splits.
        seed: Random seed of bootstrap, random forest and shuffling.
        attributes: Evaluation of each attribute.
        by_prediction: P(fractured) of the images by predicted body part.
    """

    model: str
    model_sha256: str
    split: str
    images: int
    data_fingerprint: str
    seed: int
    attributes: tuple[AttributeResult, ...]
    by_prediction: tuple[Subgroup, ...]


def macro_auroc(truth: Truth, scores: Floats, groups: list[str], *, seed: int = 0) -> Estimate:
    """Compute the mean AUROC of several labels with its interval, a bootstrap over groups.

    Args:
        truth: Whether each label holds for each image, [N, L]; each must hold for some and not for all.
        scores: Scores, [N, L].
        groups: Group of each image, [N].
        seed: Random seed of the bootstrap.
    """

    def mean(weights: Floats) -> dict[str, Floats]:
        pairs = zip(truth.T, np.asarray(scores, np.float64).T, strict=True)
        return {"macro": np.mean([Roc.of(holds, score, weights).area() for holds, score in pairs], axis=0)}

    value = float(mean(np.ones((1, len(truth))))["macro"][0])
    rarest = truth[:, np.abs(truth.mean(axis=0) - 0.5).argmax()]
    with np.errstate(invalid="ignore"):
        sampled = bootstrap.resampled(mean, rarest, groups, resamples=_RESAMPLES, seed=seed)["macro"]
    # Samples in which another label than the rarest holds for none have no AUROC.
    return percentile(value, sampled[np.isfinite(sampled)])


def _outputs(model: Path, pixels: npt.NDArray[np.uint8], names: list[str]) -> dict[str, Floats]:
    session = open_session(str(model), model.read_bytes(), None)
    batches = [session.run(names, {INPUT_NAME: pixels[k : k + _BATCH]}) for k in range(0, len(pixels), _BATCH)]
    return {name: np.concatenate(found) for name, found in zip(names, zip(*batches, strict=True), strict=True)}


def _trivial(table: ImageTable, split: str, labels: tuple[str, ...], *, seed: int) -> Iterator[Floats]:
    """Yield the scores of each label by size, brightness and contrast alone, [N] each."""
    seen = replace(table, items=tuple(item for item in table if item.split in ("train", split)))
    scans = scan(seen)
    for label in labels:
        items = tuple(replace(item, label=int(item.metadata.get(label) == "1")) for item in seen)
        yield trivial_scores(replace(seen, items=items), scans, split, seed=seed)


def measure(model: Path, table: ImageTable, split: str, *, seed: int = 0) -> BodyPartResult:
    """Evaluate body part and view of a model file.

    Args:
        model: Path of an ``.onnx`` file with these outputs.
        table: Images with splits and labels of body part and view.
        split: Split to evaluate on.
        seed: Random seed of bootstrap, random forest and shuffling.

    Raises:
        FractureEdgeError: The file has no such outputs, or the data cannot be read.
    """
    import onnx

    classifier = FractureClassifier(model)
    info, attributes = classifier.info, classifier.attributes.by_name
    if not attributes:
        raise FractureEdgeError(
            f"{model}: no outputs for body part and view; `python -m export.attributes` adds them"
        )
    parts = {name: table.where(name) for name in ("train", "val", split)}
    pixels = {name: load_pixels(part, info.preprocessing, label=f"reading {name}") for name, part in parts.items()}
    part, groups = parts[split], groups_of(parts[split])
    features = {name: file_features(str(model), onnx.load(model), each) for name, each in pixels.items()}
    found = _outputs(model, pixels[split], [OUTPUT_NAME, *attributes])
    random = np.random.default_rng(seed)
    results, named = [], {}
    for name, attribute in attributes.items():
        labels, scores = attribute.labels, found[name]
        truth = truth_of(part, labels)
        train, val = (random.permutation(truth_of(parts[each], labels)) for each in ("train", "val"))
        shuffled = fit_head(labels, features["train"], train, features["val"], val).probabilities(features[split])
        trivial = np.stack(list(_trivial(table, split, labels, seed=seed)), axis=1)
        named[name] = scores >= attribute.threshold
        results.append(
            AttributeResult(
                name=name,
                threshold=attribute.threshold,
                labels=tuple(
                    Label(label, int(holds.sum()), auroc(holds.astype(int).tolist(), score, groups, seed=seed))
                    for label, holds, score in zip(labels, truth.T, scores.T, strict=True)
                ),
                macro=macro_auroc(truth, scores, groups, seed=seed),
                trivial=macro_auroc(truth, trivial, groups, seed=seed),
                shuffled=macro_auroc(truth, shuffled, groups, seed=seed),
                exact=wilson(int((named[name] == truth).all(axis=1).sum()), len(part)),
                unnamed=wilson(int((~named[name]).all(axis=1).sum()), len(part)),
            )
        )
    rows = [
        {
            "path": item.path,
            "label": str(item.label),
            "group": group,
            "body_part": "+".join(attributes[BODY_PART_NAME].named(found[BODY_PART_NAME][number])) or UNNAMED,
            "view": "",
            "hardware": "",
            OUTPUT_NAME: str(found[OUTPUT_NAME][number, 0]),
        }
        for number, (item, group) in enumerate(zip(part, groups, strict=True))
    ]
    return BodyPartResult(
        model=info.full_name,
        model_sha256=classifier.sha256,
        split=split,
        images=len(part),
        data_fingerprint=fingerprint(table),
        seed=seed,
        attributes=tuple(results),
        by_prediction=subgroups(rows, OUTPUT_NAME, info.policy.threshold),
    )


def table_of(result: BodyPartResult) -> str:
    """Render the AUROC of body part and view as a Markdown table, with both controls."""
    rows = []
    for each in result.attributes:
        rows += [
            (f"{each.name}: {label.label}", label.images, interval(label.auroc), "", "") for label in each.labels
        ]
        rows.append(
            (
                f"{each.name}: mean",
                result.images,
                interval(each.macro),
                interval(each.trivial),
                interval(each.shuffled),
            )
        )
    table = markdown_table(
        ("label", "images", "AUROC", "size and brightness alone", "heads of shuffled labels"), rows
    )
    shares = "; ".join(
        f"{each.name}: {_percent(each.exact)} get exactly their labels, {_percent(each.unnamed)} none"
        for each in result.attributes
    )
    return (
        f"{table}\n{result.images} images of the {result.split} split, {result.model} (SHA-256 "
        f"{result.model_sha256[:12]}); 95 % intervals of a bootstrap over groups. Of the images, {shares} (95 % "
        "intervals of Wilson).\n"
    )


def fractures_of(result: BodyPartResult) -> str:
    """Render the metrics of P(fractured) by predicted body part as a Markdown table."""
    return markdown_table(
        ("body part that the model sees", "images", "fractured", "AUROC", "sensitivity", "specificity"),
        (
            (
                group.value,
                group.images,
                group.fractured,
                interval(group.auroc),
                interval(group.recall),
                interval(group.specificity),
            )
            for group in result.by_prediction
        ),
    )


def _percent(share: Estimate) -> str:
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"


@app.command()
def body_part(
    data: DataOption,
    splits: SplitsOption,
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Model file. Default: the embedded model.", show_default=False)
    ] = EMBEDDED_FILE,
    split: Annotated[str, typer.Option(help="Split to evaluate on: val, or test for the last look.")] = "val",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.json", help="Write the JSON here.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of bootstrap, random forest and shuffling.")] = 0,
) -> None:
    """Evaluate body part and view of a model file beside trivial features and shuffled labels."""
    result = measure(model, read_table_with_splits(data, splits, seed=0), split, seed=seed)
    if output is not None:
        write_record(output, result)
    print(f"{table_of(result)}\n{fractures_of(result)}", end="")
