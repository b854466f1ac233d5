"""Result of the study `benchmarks.studies.edge_model.out_of_fold`, and its tables."""

from dataclasses import dataclass

from train.artifacts import DecidedMetrics
from train.evaluation.formatting import NONE, interval, markdown_table
from train.evaluation.metrics import Estimate

#: Metrics of decisions by their name in a table.
DECIDED = {
    "uncertain": "uncertain_share",
    "sensitivity of the decided": "sensitivity",
    "specificity of the decided": "specificity",
}


@dataclass(frozen=True, slots=True)
class Scale:
    """Comparison of a model with the cross-validated networks on the same images.

    Attributes:
        images: Number of images.
        fractured: Number of fractured ones.
        auroc: AUROC of the model.
        auroc_out_of_fold: AUROC of the out-of-fold predictions.
        auroc_change: AUROC of the model minus that of the out-of-fold predictions.
        shift: Mean log-odds of the model minus those out of fold.
        spread: Standard deviation of the model's log-odds over that of those out of fold.
        ece: Calibration error of the model.
        ece_out_of_fold: Calibration error of the out-of-fold predictions.
        decided: Decisions of the model by the default operating point.
        decided_out_of_fold: Decisions of the out-of-fold predictions by it.
    """

    images: int
    fractured: int
    auroc: Estimate
    auroc_out_of_fold: Estimate
    auroc_change: Estimate
    shift: Estimate
    spread: Estimate
    ece: Estimate
    ece_out_of_fold: Estimate
    decided: DecidedMetrics
    decided_out_of_fold: DecidedMetrics


@dataclass(frozen=True, slots=True)
class PartRow:
    """Images of a body part, decided by the default operating point of the other folds.

    Attributes:
        images: Number of images.
        fractured: Number of fractured ones.
        auroc: AUROC of the out-of-fold predictions.
        decided: Metrics of the decisions.
    """

    images: int
    fractured: int
    auroc: Estimate
    decided: DecidedMetrics


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """Result of the study.

    Attributes:
        model: Name of the model.
        model_sha256: SHA-256 of its file, hexadecimal.
        network: Column of the predictions.
        scale: Comparison of both on the validation images; ``None`` for a model that was trained on them.
        parts: Decisions by body part.
        costs: Nested decisions by a band that wants the same sensitivity and specificity, by that figure.
        log_loss: Mean log loss with one calibration for all images.
        log_loss_changes: Change by calibrations that know the body part, by what each fits.
    """

    model: str
    model_sha256: str
    network: str
    scale: Scale | None
    parts: dict[str, PartRow]
    costs: dict[str, DecidedMetrics]
    log_loss: float
    log_loss_changes: dict[str, Estimate]


def describe_scale(result: OutOfFold, scale: Scale) -> str:
    """Compare the model with the out-of-fold predictions on the validation images, as a table."""
    table = markdown_table(
        ("validation images", result.model, "out of fold"),
        (
            ("AUROC", interval(scale.auroc), interval(scale.auroc_out_of_fold)),
            ("calibration error (ECE)", interval(scale.ece), interval(scale.ece_out_of_fold)),
            *(
                (name, decided(scale.decided, metric), decided(scale.decided_out_of_fold, metric))
                for name, metric in DECIDED.items()
            ),
        ),
    )
    return (
        f"{table}\n{scale.images} images, {scale.fractured} of them fractured; the default operating point of the "
        f"file. The model's log-odds less those out of fold: {interval(scale.shift)} on average; their standard "
        f"deviation is {interval(scale.spread)} times as large. AUROC less that out of fold: "
        f"{interval(scale.auroc_change)}.\n"
    )


def decided(metrics: DecidedMetrics, name: str) -> str:
    """Format a metric of decisions with its interval; a dash where it is not defined."""
    bounds = getattr(metrics, f"{name}_interval")
    return NONE if bounds is None else interval(Estimate(getattr(metrics, name), *bounds))


def table_of_parts(result: OutOfFold) -> str:
    """Render decisions by body part as a table, with what a calibration by body part would change."""
    table = markdown_table(
        ("body part", "images (fractured)", "AUROC", *DECIDED),
        (
            (
                name,
                f"{row.images} ({row.fractured})",
                interval(row.auroc),
                *(decided(row.decided, metric) for metric in DECIDED.values()),
            )
            for name, row in result.parts.items()
        ),
    )
    changes = "; ".join(f"{what} {interval(change)}" for what, change in result.log_loss_changes.items())
    return (
        f"{table}\nOut-of-fold predictions of {result.network}, each fold decided by a band that was fitted to "
        "the other folds; 95 % intervals of a bootstrap over groups. A calibration that knows the body part, "
        f"fitted to all folds but one and judged on that one, changes the log loss of {result.log_loss:.4f} by: "
        f"{changes}.\n"
    )


def table_of_costs(result: OutOfFold) -> str:
    """Render how many images each wanted figure leaves uncertain, as a table."""
    return markdown_table(
        ("sensitivity and specificity wanted", *DECIDED),
        ((wanted, *(decided(row, metric) for metric in DECIDED.values())) for wanted, row in result.costs.items()),
    )
