"""Evaluate body part and view: `python -m benchmarks.studies body-part MODEL.onnx`.

The outputs of the file itself are evaluated, beside two controls: size, brightness and contrast alone (a random
forest on `train.data.scan.Scan.trivial_features`), and heads fitted to the same features with shuffled labels,
whose AUROC must be that of chance. One shuffle is not enough: the features have few directions with much variance,
along which the body parts lie, and a head of any random direction sorts them in some way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from sklearn.metrics import roc_auc_score

from benchmarks.quality import subgroups
from benchmarks.records.measured_row import Subgroup
from benchmarks.studies.edge_model.body_part_result import (
    SHUFFLES,
    AttributeResult,
    BodyPartResult,
    Label,
    SplitResult,
    fractures_of,
    table_of,
)
from fracture_edge.attributes import BODY_PART_NAME, Attribute
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.modelfile import INPUT_NAME, OUTPUT_NAME
from fracture_edge.models import EMBEDDED_FILE
from fracture_edge.runtimes.session import open_session
from train.cli.options import DataOption, SplitsOption
from train.data.batches import fingerprint, load_pixels
from train.data.dataset import ImageTable
from train.data.scan import Scan
from train.data.shortcuts import trivial_scores
from train.data.splits import read_table_with_splits, scan
from train.evaluation import bootstrap
from train.evaluation.attributes import Head, Truth, fit_head, truth_of
from train.evaluation.bootstrap import Roc
from train.evaluation.metrics import Estimate, auroc, percentile, wilson
from train.evaluation.onnx_features import file_features
from train.evaluation.predictions import groups_of
from train.json_records import write_record

app = typer.Typer(add_completion=False, rich_markup_mode=None)
#: Value of a body part that is not recognised, in the table of fractures by predicted body part.
UNNAMED = "not recognised"
_RESAMPLES = 2000
#: Strength of the penalty of heads of shuffled labels, a usual one.
_STRENGTH = 10.0
_BATCH = 16
Floats = npt.NDArray[np.floating[Any]]


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


@dataclass(frozen=True, slots=True)
class _Images:
    """Images of one split with what the model file computes of them.

    Attributes:
        part: Images.
        features: Features that the heads read, [N, K].
        outputs: Outputs by name, [N, ...] each.
    """

    part: ImageTable
    features: Floats
    outputs: dict[str, Floats]


def measure(model: Path, table: ImageTable, splits: Sequence[str], *, seed: int = 0) -> BodyPartResult:
    """Evaluate body part and view of a model file.

    Args:
        model: Path of an ``.onnx`` file with these outputs.
        table: Images with splits and labels of body part and view.
        splits: Splits to evaluate on.
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
    seen = replace(table, items=tuple(item for item in table if item.split in ("train", "val", *splits)))
    images = {}
    for name in dict.fromkeys(("train", "val", *splits)):
        part = seen.where(name)
        pixels = load_pixels(part, info.preprocessing, label=f"reading {name}")
        outputs = _outputs(model, pixels, [OUTPUT_NAME, *attributes]) if name in splits else {}
        images[name] = _Images(part, file_features(str(model), onnx.load(model), pixels), outputs)
    scans = scan(seen)
    shuffled = {
        name: _shuffled(attribute.labels, images["train"], images["val"], seed=seed)
        for name, attribute in attributes.items()
    }
    return BodyPartResult(
        model=info.full_name,
        model_sha256=classifier.sha256,
        data_fingerprint=fingerprint(table),
        seed=seed,
        splits={
            split: SplitResult(
                len(images[split].part),
                tuple(
                    _attribute(
                        name,
                        attribute,
                        images[split],
                        shuffled[name],
                        _trivial(seen, scans, split, attribute.labels, seed=seed),
                        seed=seed,
                    )
                    for name, attribute in attributes.items()
                ),
                _by_prediction(images[split], attributes[BODY_PART_NAME], info.policy.threshold),
            )
            for split in splits
        },
    )


def _shuffled(labels: tuple[str, ...], training: _Images, validation: _Images, *, seed: int) -> list[Head]:
    """Fit heads to the labels of other images, each time in another order."""
    random = np.random.default_rng(seed)
    truth, wanted = (truth_of(each.part, labels) for each in (training, validation))
    return [
        fit_head(
            labels,
            training.features,
            random.permutation(truth),
            validation.features,
            random.permutation(wanted),
            strengths=[_STRENGTH],
        )
        for _ in range(SHUFFLES)
    ]


def _attribute(
    name: str, attribute: Attribute, each: _Images, shuffled: Sequence[Head], trivial: Floats, *, seed: int
) -> AttributeResult:
    labels = attribute.labels
    scores, truth, groups = each.outputs[name], truth_of(each.part, labels), groups_of(each.part)
    at_chance = np.array(
        [roc_auc_score(truth, head.probabilities(each.features), average="macro") for head in shuffled]
    )
    named = scores >= attribute.threshold
    return AttributeResult(
        name=name,
        threshold=attribute.threshold,
        labels=tuple(
            Label(label, int(holds.sum()), auroc(holds.astype(int).tolist(), score, groups, seed=seed))
            for label, holds, score in zip(labels, truth.T, scores.T, strict=True)
        ),
        macro=macro_auroc(truth, scores, groups, seed=seed),
        trivial=macro_auroc(truth, trivial, groups, seed=seed),
        shuffled=percentile(float(at_chance.mean()), at_chance),
        exact=wilson(int((named == truth).all(axis=1).sum()), len(truth)),
        unnamed=wilson(int((~named).all(axis=1).sum()), len(truth)),
    )


def _trivial(
    table: ImageTable, scans: Sequence[Scan], split: str, labels: tuple[str, ...], *, seed: int
) -> Floats:
    """Return the scores of the labels, [N, L], by size, brightness and contrast alone."""
    scores = []
    for label in labels:
        items = tuple(replace(item, label=int(item.metadata.get(label) == "1")) for item in table)
        scores.append(trivial_scores(replace(table, items=items), scans, split, seed=seed))
    return np.stack(scores, axis=1)


def _by_prediction(images: _Images, body_part: Attribute, threshold: float) -> tuple[Subgroup, ...]:
    rows = [
        {
            "path": item.path,
            "label": str(item.label),
            "group": group,
            "body_part": "+".join(body_part.named(probabilities)) or UNNAMED,
            "view": "",
            "hardware": "",
            OUTPUT_NAME: str(fractured[0]),
        }
        for item, group, probabilities, fractured in zip(
            images.part,
            groups_of(images.part),
            images.outputs[BODY_PART_NAME],
            images.outputs[OUTPUT_NAME],
            strict=True,
        )
    ]
    return subgroups(rows, OUTPUT_NAME, threshold)


@app.command()
def body_part(
    data: DataOption,
    splits: SplitsOption,
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Model file. Default: the embedded model.", show_default=False)
    ] = EMBEDDED_FILE,
    split: Annotated[
        list[str] | None,
        typer.Option(help="Split to evaluate on, test for the last look; may be repeated. Default: val."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.json", help="Write the JSON here.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of bootstrap, random forest and shuffling.")] = 0,
) -> None:
    """Evaluate body part and view of a model file beside trivial features and shuffled labels."""
    result = measure(model, read_table_with_splits(data, splits, seed=0), split or ["val"], seed=seed)
    if output is not None:
        write_record(output, result)
    print("\n".join(f"{table_of(result, each)}\n{fractures_of(result, each)}" for each in result.splits), end="")
