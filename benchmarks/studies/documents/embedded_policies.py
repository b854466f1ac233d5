"""Blocks of the documents about the operating points of the embedded model."""

import json
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from benchmarks.studies.documents.policies import table_of
from benchmarks.studies.documents.results import (
    EMBEDDED_ROW,
    EMBEDDED_RUN,
    quality_of,
    read_predictions,
    read_run,
    read_stored,
)
from benchmarks.studies.edge_model.out_of_fold_result import (
    OutOfFold,
    decided,
    table_of_costs,
    table_of_parts,
)
from fracture_edge.classifier import FractureClassifier
from fracture_edge.modelfile import ModelInfo
from train.artifacts import DecidedMetrics, OperatingPoint
from train.evaluation.formatting import markdown_table
from train.evaluation.operating_points import DEFAULT, RULES
from train.json_records import from_plain

_STUDY = "out-of-fold.json"
#: Keys of the metadata that the page of the file format shows.
_EXAMPLE = (
    "schema_version",
    "name",
    "version",
    "architecture",
    "precision",
    "positive_class",
    "preprocessing",
    "policy",
    "operating_points",
    "calibration",
    "training",
)


def wanted() -> str:
    """Render what each operating point wants as a table."""
    return markdown_table(
        ("`--policy`", "wants, of the decided images", "for"),
        (
            (
                f"`{name}`" + (" (the default)" if name == DEFAULT else ""),
                f"sensitivity {rule.aim.sensitivity:.2f}, specificity {rule.aim.specificity:.2f}",
                rule.reason,
            )
            for name, rule in RULES.items()
        ),
    )


def points() -> str:
    """Render threshold, band and nested out-of-fold metrics of the embedded model's points as a table."""
    info = FractureClassifier(threads=1).info
    rows = []
    for name, values in info.operating_points.items():
        point = _typed(name, values)
        expected: DecidedMetrics = point.nested or point
        rows.append(
            (
                f"`{name}`",
                f"{point.threshold:.3f}",
                f"{point.uncertain_low:.3f} to {point.uncertain_high:.3f}",
                *(decided(expected, metric) for metric in ("uncertain_share", "sensitivity", "specificity")),
            )
        )
    header = ("`--policy`", "threshold", "uncertain", "share of images", "sensitivity", "specificity")
    found = info.metrics["out_of_fold"]
    return (
        f"{markdown_table(header, rows)}\n{found['images']:,} images, {found['fractured']} of them fractured, in "
        f"{found['folds']} folds.\n"
    )


def _typed(name: str, values: Mapping[str, Any]) -> OperatingPoint:
    return from_plain(OperatingPoint, values, f"operating point '{name}'")


def test_split() -> str:
    """Render the decisions of the embedded model on the test split as a table, with its mean probability."""
    info = FractureClassifier(threads=1).info
    rows = read_predictions(read_run(EMBEDDED_RUN))
    predictions = [(int(row["label"]), float(row[EMBEDDED_ROW])) for row in rows]
    table = table_of({name: info.policy_named(name) for name in info.operating_points}, predictions)
    labels, probabilities = zip(*predictions, strict=True)
    return (
        f"{table}\nP(fractured) is {fmean(probabilities):.3f} on average; {fmean(labels):.3f} of these images are "
        "fractured.\n"
    )


def settled(info: ModelInfo) -> str:
    """Describe in two lines how the default operating point of a model was settled."""
    point = _typed(DEFAULT, info.operating_points[DEFAULT])
    found = quality_of(read_run(EMBEDDED_RUN), EMBEDDED_ROW).uncertain
    return (
        f"Settled {point.images}: threshold {point.threshold:.3f}, uncertain from {point.uncertain_low:.3f} to "
        f"{point.uncertain_high:.3f}.\nOn the test split {found.share:.0%} of the images fall into this band.\n"
    )


def share() -> str:
    """Say how many images the default operating point leaves uncertain, and how often it is right on others."""
    test = quality_of(read_run(EMBEDDED_RUN), EMBEDDED_ROW).uncertain
    recall, specificity = (test.metrics_on_decided[name].value for name in ("recall", "specificity"))
    point = _typed(DEFAULT, FractureClassifier(threads=1).info.operating_points[DEFAULT])
    nested = point.nested or point
    return (
        f"Out of fold, the default `{DEFAULT}` leaves {nested.uncertain_share:.0%} uncertain; of the others it "
        f"finds {nested.sensitivity:.0%} of the\nfractured and clears {nested.specificity:.0%} of the rest "
        f"(test images: {test.share:.0%}, {recall:.0%}, {specificity:.0%}).\n"
    )


def parts() -> str:
    """Render the decisions by body part as a table."""
    return table_of_parts(read_stored(OutOfFold, _STUDY))


def costs() -> str:
    """Render how many images a wanted sensitivity and specificity leaves uncertain as a table."""
    return table_of_costs(read_stored(OutOfFold, _STUDY))


def example() -> str:
    """Render part of the embedded model's metadata as JSON, one line for each key."""
    info = FractureClassifier(threads=1).info
    values = json.loads(info.to_json(), parse_float=lambda text: round(float(text), 4))
    values["operating_points"] = {DEFAULT: values["operating_points"][DEFAULT]}
    kept = ("layout", "fingerprint", "recipe", "seed", "epochs")
    values["training"] = {name: values["training"][name] for name in kept}
    values["training"]["fingerprint"] = f"{values['training']['fingerprint'][:12]}..."
    lines = [f"  {json.dumps(name)}: {json.dumps(values[name])}" for name in _EXAMPLE]
    return "```json\n{\n" + ",\n".join(lines) + "\n}\n```\n"
