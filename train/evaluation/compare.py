"""Trained models side by side: table, JSON and bar charts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_write_text
from fracture_edge.modelfile import POSITIVE_CLASS
from train.artifacts import read_record
from train.evaluation.formatting import interval
from train.evaluation.metrics import Estimate
from train.evaluation.record import EvaluatedData, EvaluationRecord, read_evaluation
from train.figure import COLOURS, saved_figure
from train.json_records import write_record

METRICS = ("auroc", "accuracy", "precision", "recall", "specificity", "f1")


@dataclass(frozen=True, slots=True)
class ComparedModel:
    """One model of a comparison; fields as in `train.evaluation.record.EvaluationRecord`."""

    model: str
    parameters: int
    epochs: int
    seconds: float
    threshold: float
    metrics: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class Comparison:
    """``comparison-SPLIT.json``.

    Attributes:
        positive_class: Always ``fractured``.
        split: ``val`` or ``test``.
        data: Images of the split.
        models: Models in the order given.
        trivial_baseline: AUROC of size, brightness and contrast alone; ``None`` where it cannot be learnt.
    """

    positive_class: str
    split: str
    data: EvaluatedData
    models: list[ComparedModel]
    trivial_baseline: Estimate | None


def compare_models(models: Sequence[str], out: Path, split: str) -> Comparison:
    """Compare evaluated models and write the comparison; see `train.evaluation.evaluate.evaluate_predictions`.

    Args:
        models: Names of the models.
        out: Folder of all artefacts. ``comparison-SPLIT.json``, ``.md`` and ``.png`` are written there.
        split: ``val`` or ``test``.

    Returns:
        Contents of ``comparison-SPLIT.json``.

    Raises:
        FractureEdgeError: A model has not been evaluated on `split`, or its data differ from those of the first.
    """
    evaluations = [_evaluation(out / model, split) for model in models]
    first = evaluations[0]
    for evaluation in evaluations[1:]:
        if evaluation.data.fingerprint != first.data.fingerprint:
            raise FractureEdgeError(
                f"{evaluation.model} and {first.model} were trained on different data or splits; they cannot be "
                "compared"
            )
    result = Comparison(
        positive_class=POSITIVE_CLASS,
        split=split,
        data=first.data,
        models=[
            ComparedModel(
                model=evaluation.model,
                parameters=evaluation.training.parameters,
                epochs=evaluation.training.epochs,
                seconds=evaluation.training.seconds,
                threshold=evaluation.threshold,
                metrics=evaluation.metrics,
            )
            for evaluation in evaluations
        ],
        trivial_baseline=first.trivial_baseline,
    )
    write_record(out / f"comparison-{split}.json", result)
    atomic_write_text(out / f"comparison-{split}.md", table(result))
    _plot(result, out / f"comparison-{split}.png")
    return result


def _evaluation(folder: Path, split: str) -> EvaluationRecord:
    # Read first: where the model is missing, its message says how to train it.
    read_record(folder)
    return read_evaluation(folder, split)


def table(result: Comparison) -> str:
    """Format the comparison as a Markdown table, 95 % intervals in brackets."""
    data = result.data
    header = ["model", "parameters", "epochs", "threshold", *METRICS]
    lines = [
        f"{result.split} split: {data.images} images of {data.groups} groups, {data.fractured} "
        "fractured (the positive class); thresholds frozen on validation",
        *(["", "Epochs, calibration and thresholds were chosen on this split: the metrics are optimistic."]
          if result.split == "val" else []),
        "",
        "| " + " | ".join(header) + " |",
        "|" + " --- |" * len(header),
    ]  # fmt: skip
    for row in result.models:
        cells = [row.model, f"{row.parameters:,}", str(row.epochs), f"{row.threshold:.3f}"]
        lines.append("| " + " | ".join(cells + [interval(row.metrics[name]) for name in METRICS]) + " |")
    if result.trivial_baseline:
        cells = ["size and brightness alone", "", "", "", interval(result.trivial_baseline)]
        lines.append("| " + " | ".join(cells) + " |" + " |" * (len(header) - len(cells)))
    lines += ["", "95 % intervals: Wilson for proportions, bootstrap over groups for AUROC and F1."]
    return "\n".join(lines) + "\n"


def _plot(result: Comparison, path: Path) -> None:
    names = [row.model for row in result.models]
    data = result.data
    title = (
        f"{result.split} split, {data.images} images, {data.fractured} fractured (the positive class); "
        "95 % intervals"
    )
    with saved_figure(path, width=3.6 * 3, height=6, title=title) as figure:
        for axes, metric in zip(figure.subplots(2, 3).flat, METRICS, strict=True):
            estimates = [row.metrics[metric] for row in result.models]
            values = np.array([estimate.value for estimate in estimates])
            low = values - [estimate.low for estimate in estimates]
            high = [estimate.high for estimate in estimates] - values
            bars = axes.bar(names, values, yerr=np.stack([low, high]), color=COLOURS[0], capsize=3)
            axes.bar_label(bars, labels=[f"{value:.2f}" for value in values], label_type="center", color="white")
            if metric == "auroc" and result.trivial_baseline:
                axes.axhline(
                    result.trivial_baseline.value,
                    color=COLOURS[1],
                    linestyle="--",
                    label="size and brightness alone",
                )
                axes.legend(loc="lower right", fontsize="small")
            axes.set(title="recall (sensitivity)" if metric == "recall" else metric, ylim=(0, 1))
            axes.tick_params(axis="x", labelrotation=20)
            axes.grid(alpha=0.3, axis="y")
