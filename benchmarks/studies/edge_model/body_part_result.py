"""Results of the study of body part and view, `benchmarks.studies.edge_model.body_part`, and their tables."""

from dataclasses import dataclass

from benchmarks.records.measured_row import Subgroup
from train.evaluation.formatting import interval, markdown_table
from train.evaluation.metrics import Estimate

#: Number of shuffles of the labels.
SHUFFLES = 40


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
        shuffled: The same of heads fitted to shuffled labels: mean over `SHUFFLES` of them, and the interval that
            95 % of them lie in.
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


@dataclass(frozen=True, slots=True)
class SplitResult:
    """Evaluation of body part and view on one split.

    Attributes:
        images: Number of images.
        attributes: Evaluation of each attribute.
        by_prediction: P(fractured) of the images by predicted body part.
    """

    images: int
    attributes: tuple[AttributeResult, ...]
    by_prediction: tuple[Subgroup, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyPartResult:
    """Evaluation of body part and view.

    Attributes:
        model: Name and version of the model.
        model_sha256: SHA-256 of the model file, hexadecimal.
        data_fingerprint: Checksum of data and splits.
        seed: Random seed of bootstrap, random forest and shuffling.
        splits: Evaluation by name of the split.
    """

    model: str
    model_sha256: str
    data_fingerprint: str
    seed: int
    splits: dict[str, SplitResult]


def table_of(result: BodyPartResult, split: str) -> str:
    """Render the AUROC of body part and view on a split as a Markdown table, with both controls."""
    found, rows = result.splits[split], []
    for each in found.attributes:
        rows += [
            (f"{each.name}: {label.label}", label.images, interval(label.auroc), "", "") for label in each.labels
        ]
        rows.append(
            (
                f"{each.name}: mean",
                found.images,
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
        for each in found.attributes
    )
    return (
        f"{table}\n{found.images} images of the {split} split, {result.model} (SHA-256 "
        f"{result.model_sha256[:12]}); 95 % intervals of a bootstrap over groups; of shuffled labels the mean "
        f"over {SHUFFLES} shuffles, and the interval of 95 % of them. Of the images, {shares} (95 % intervals "
        "of Wilson).\n"
    )


def fractures_of(result: BodyPartResult, split: str) -> str:
    """Render the metrics of P(fractured) on a split by predicted body part as a Markdown table."""
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
            for group in result.splits[split].by_prediction
        ),
    )


def _percent(share: Estimate) -> str:
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"
