"""Model cards: the YAML header that model hubs read, and the card of a model of one's own.

The header follows https://huggingface.co/docs/hub/model-cards; its ``model-index`` carries the results.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fracture_edge.modelfile import ModelInfo

#: Page of the project, to which relative links of the embedded model's card lead from elsewhere.
HOME = "https://github.com/fracture-edge/fracture-edge"
LIBRARY = "fracture-edge"
RESEARCH_ONLY = "**For research and education. Not a medical device.**"
_TASK = {"type": "image-classification", "name": "Bone fracture classification of radiographs"}
_TAGS = ("medical", "radiology", "x-ray", "bone-fracture", "edge")
#: Names of the metrics on the hub, and in words, by their names in results and model files.
METRICS = {
    "auroc": ("roc_auc", "AUROC"),
    "recall": ("recall", "Sensitivity at the threshold"),
    "specificity": ("specificity", "Specificity at the threshold"),
    "balanced_accuracy": ("balanced_accuracy", "Balanced accuracy at the threshold"),
    "accuracy": ("accuracy", "Accuracy at the threshold"),
    "precision": ("precision", "Precision at the threshold"),
    "f1": ("f1", "F1 at the threshold"),
    "average_precision": ("average_precision", "Average precision"),
    "ece": ("ece", "Calibration error (ECE, ten bins)"),
}
#: Number of decimals of the metrics.
_DECIMALS = 4
#: Where the metrics in a model file come from, by their keys.
_IMAGES_OF = {"validation": "validation split, which the threshold was chosen on", "out_of_fold": "out of fold"}


class Metric(NamedTuple):
    """Metric of an evaluation.

    Attributes:
        name: Name, a key of `METRICS`.
        value: Value.
        interval: Ends of the 95 % interval; ``None`` if it is not known.
    """

    name: str
    value: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Results on one set of images.

    Attributes:
        dataset: Name of the data for people.
        dataset_type: Name of the data for programs.
        split: Name of the split.
        details: Further facts about images and model, by name.
        metrics: Results.
    """

    dataset: str
    dataset_type: str
    split: str
    details: Mapping[str, str | int]
    metrics: Sequence[Metric]


@dataclass(frozen=True, slots=True, kw_only=True)
class CardHeader:
    """YAML header of a model card.

    Attributes:
        name: Name of the model with its version.
        licence: Identifier of the licence on the hub, such as ``apache-2.0``.
        tags: Tags after those that all models have, such as ``onnx`` and ``int8``.
        datasets: Names of the training data; empty if they are not known.
        base_model: Name of the model that training started from; empty if there was none.
        evaluations: Results.
    """

    name: str
    licence: str
    tags: Sequence[str]
    datasets: Sequence[str] = ()
    base_model: str = ""
    evaluations: Sequence[Evaluation] = ()

    def text(self) -> str:
        """Return the header with its delimiters, YAML between lines of three hyphens."""
        values: dict[str, Any] = {
            "license": self.licence,
            "library_name": LIBRARY,
            "pipeline_tag": _TASK["type"],
            "tags": [*_TAGS, *self.tags],
        }
        if self.datasets:
            values["datasets"] = list(self.datasets)
        if self.base_model:
            values["base_model"] = self.base_model
        if self.evaluations:
            results = [_result(each) for each in self.evaluations]
            values["model-index"] = [{"name": self.name, "results": results}]
        return "\n".join(("---", *_lines(values), "---", ""))


def _result(found: Evaluation) -> dict[str, Any]:
    metrics = []
    for name, value, interval in found.metrics:
        kind, words = METRICS[name]
        metric: dict[str, Any] = {"type": kind, "name": words, "value": round(value, _DECIMALS)}
        if interval is not None:
            low, high = interval
            metric["args"] = {"low_95": round(low, _DECIMALS), "high_95": round(high, _DECIMALS)}
        metrics.append(metric)
    dataset = {"name": found.dataset, "type": found.dataset_type, "split": found.split, "args": found.details}
    return {"task": _TASK, "dataset": dataset, "metrics": metrics}


def _lines(values: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Write a mapping as YAML in block style. Scalars are JSON, which YAML includes, so that none is ambiguous."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield f"{indent}{key}:"
            yield from _lines(value, indent + "  ")
        elif isinstance(value, list):
            yield f"{indent}{key}:"
            for entry in value:
                if isinstance(entry, Mapping):
                    first, *rest = _lines(entry, indent + "  ")
                    yield f"{indent}- {first.removeprefix(indent + '  ')}"
                    yield from rest
                else:
                    yield f"{indent}- {json.dumps(entry)}"
        else:
            yield f"{indent}{key}: {json.dumps(value)}"


def header_of(info: ModelInfo, kind: str, licence: str) -> CardHeader:
    """Make the header of a model from the metadata in its file.

    Args:
        info: Metadata of the model.
        kind: Kind of the file: ``onnx`` or ``tflite``.
        licence: Identifier of the licence on the hub.
    """
    layout = info.training.get("layout", "")
    # Class folders say nothing about where the images come from.
    datasets = [layout] if layout == "fracatlas" else []
    evaluations = [
        Evaluation(
            dataset=f"{layout or 'training data'}, {words}",
            dataset_type=layout or "unknown",
            split=split,
            details={"images": found["images"], "fractured": found["fractured"]},
            metrics=[Metric(name, found[name]) for name in METRICS if isinstance(found.get(name), float)],
        )
        for split, words in _IMAGES_OF.items()
        if (found := info.metrics.get(split))
    ]
    return CardHeader(
        name=info.full_name,
        licence=licence,
        tags=(kind, info.precision),
        datasets=datasets,
        evaluations=evaluations,
    )


def card_of(info: ModelInfo, file: str, sha256: str, header: CardHeader) -> str:
    """Write the card of a model from the metadata in its file: only what the file knows.

    Args:
        info: Metadata of the model.
        file: Name of the file.
        sha256: SHA-256 of the file, hexadecimal.
        header: Header of the card.
    """
    training = info.training
    known = {
        "images": json.dumps(training["images"]) if training.get("images") else "",
        "recipe": training.get("recipe"),
        "epochs": training.get("epochs"),
        "seed": training.get("seed"),
        "started from": training.get("initial_weights"),
        "fingerprint of data and splits": training.get("fingerprint"),
    }
    lines = [
        f"# {info.full_name}",
        "",
        RESEARCH_ONLY,
        "",
        f"P(fractured) of a radiograph, calibrated, by [{LIBRARY}]({HOME}). Preprocessing, threshold, uncertain",
        "band and operating points are in the file:",
        "",
        "```console",
        f"$ fracture-edge classify image.png --model {file}",
        f"$ fracture-edge info {file}",
        "```",
        "",
        f"- `{file}`: {info.architecture}, {info.precision}, input {info.preprocessing.height} x "
        f"{info.preprocessing.width} grey; SHA-256 `{sha256}`",
        f"- Licence and attribution: {info.licence or 'not stated in the file'}",
        *(f"- Training, {name}: {value}" for name, value in known.items() if value not in (None, "")),
        "",
        "| operating point | threshold | uncertain | sensitivity | specificity | share uncertain | settled on |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(_point(name, point) for name, point in info.operating_points.items()),
        "",
        "Sensitivity and specificity are of the decided images that the points were settled on, and optimistic",
        "for others. How the model does on other data and other body parts is not known from this file.",
        "",
    ]
    return header.text() + "\n" + "\n".join(lines)


def _point(name: str, point: Mapping[str, Any]) -> str:
    shares = (f"{point[key]:.3f}" for key in ("sensitivity", "specificity", "uncertain_share"))
    return (
        f"| `{name}` | {point['threshold']:.3f} | {point['uncertain_low']:.3f} to {point['uncertain_high']:.3f} | "
        f"{' | '.join(shares)} | {point.get('images', 'validation')} |"
    )
