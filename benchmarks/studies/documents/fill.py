"""Insert the measured results into the documents: `python -m benchmarks.studies documents`.

The text between ``<!-- NAME -->`` and ``<!-- /NAME -->`` is generated from the files in ``benchmarks/results`` and
from the embedded model; none of it is written by hand. ``--check`` only compares.
"""

import csv
import re
from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Annotated

import numpy as np
import typer

from benchmarks.records.measured_row import MeasuredRow
from benchmarks.records.result import BenchmarkResult
from benchmarks.report import prose, tables
from benchmarks.report.markdown import summary_table
from benchmarks.report.recommend import recommend
from benchmarks.studies.cost import formats_table, ladder, layers, stability_result, tflite
from benchmarks.studies.documents import card, devices, edge_model, embedded_policies, overview
from benchmarks.studies.documents.results import (
    EMBEDDED_BEFORE,
    EMBEDDED_ROW,
    EMBEDDED_RUN,
    REFERENCE_RUN,
    RESULTS,
    ROOT,
    RUN,
    read_predictions,
    read_run,
    read_stored,
    with_rows,
)
from benchmarks.studies.edge_model import reproduction
from benchmarks.studies.gateway.tables import gateway as tables_of_gateway
from benchmarks.studies.robustness.stress_result import Stress, tables_of, worst
from benchmarks.studies.scale import tables as tables_of_scale
from benchmarks.studies.serving.tables import container, serving, serving_speed
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_write_text
from train.data.dataset import SPLITS
from train.evaluation.formatting import interval, markdown_table
from train.evaluation.paired import compare_pairs

app = typer.Typer(add_completion=False, rich_markup_mode=None)
_SHOWN = ("keras float32", "onnx float32", "onnx int8", "onnx int8 factorised64", "tflite float16", "tflite int8")
DOCUMENTS = (
    ROOT / "README.md",
    card.CARD,
    ROOT / "docs" / "reproduction.md",
    ROOT / "docs" / "formats.md",
    ROOT / "docs" / "training.md",
    ROOT / "docs" / "device.md",
    ROOT / "docs" / "benchmarks.md",
    ROOT / "docs" / "lab-notes.md",
    ROOT / "docs" / "results.md",
    ROOT / "docs" / "model-file.md",
    ROOT / "docs" / "pacs.md",
    ROOT / "docs" / "serve.md",
    ROOT / "docs" / "scale.md",
)


def _benchmark() -> str:
    result, reference = read_run(EMBEDDED_RUN), with_rows(read_run(REFERENCE_RUN), _is_trained)
    older = with_rows(read_run(RUN), lambda row: row.model == "vgg16")
    advice = "".join(f"- {each}\n" for each in recommend(result))
    models = {"vgg16": older.models["vgg16"], **reference.models, "embedded": result.models["embedded"]}
    trained = "".join(
        f"- `{name}`: {tables.describe_training(model.training)}\n"
        for name, model in models.items()
        if model.training
    )
    return (
        f"{prose.describe_data(result)} "
        f"AUROC of size and brightness alone: {interval(result.trivial_baseline)}.\n\n"
        f"{_few(result)}\n"
        "Milliseconds: median of one inference on one thread, "
        f"{prose.describe_machine(result.environment)}.\n\n"
        f"{advice}\nTwo networks of the reference, on the same images in an earlier run on "
        f"{prose.describe_machine(reference.environment)},\n"
        f"beside `edge` trained on from the embedded model before:\n\n{_few(reference)}\n"
        f"The third, in another run on {prose.describe_machine(older.environment)}:\n\n{_few(older)}\n"
        f"How they were trained:\n\n{trained}"
    )


def _is_trained(row: MeasuredRow) -> bool:
    """Whether a row is of a model that was trained for its run: the embedded one has changed since."""
    return row.model != "embedded"


def _few(result: BenchmarkResult) -> str:
    return summary_table(with_rows(result, lambda row: row.format in _SHOWN and row.gate != "rejected"))


def _card() -> str:
    run = read_run(EMBEDDED_RUN)
    result = with_rows(run, lambda row: row.model == "embedded" and row.runtime == "onnxruntime")
    (row,) = result.rows
    return (
        f"{prose.describe_data(result)} Threshold {result.models['embedded'].threshold:.4f}.\n\n"
        f"{tables.summary(result).markdown()}\n{tables.further_metrics(result).markdown()}\n"
        f"{tables.subgroups(row).markdown()}\n"
        f"{prose.INTERVALS} {prose.SUBGROUPS} {prose.describe_timing(result)} "
        f"On {prose.describe_machine(result.environment)}.\n"
    )


def _splits() -> str:
    with (RESULTS / "fracatlas-splits.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    lines = []
    for split in SPLITS:
        part = [row for row in rows if row["split"] == split]
        fractured = sum(row["label"] == "1" for row in part)
        lines.append((split, len(part), fractured, len({row["group"] for row in part})))
    return markdown_table(("split", "images", "fractured", "groups"), lines)


def _training() -> str:
    info = FractureClassifier(threads=1).info
    validation, training = info.metrics.get("validation"), info.training
    kept = "last" if training["best_epoch"] == training["epochs"] else f"{training['best_epoch']}th"
    # A model of `train --final` has no validation split: all of it was settled out of fold.
    name, found = ("Validation", validation) if validation else ("Out-of-fold", info.metrics["out_of_fold"])
    return (
        f"{training['epochs']} epochs, the weights of the {kept} kept; TensorFlow {info.versions['tensorflow']}.\n"
        f"{name} AUROC in float32 {found['auroc']:.3f} ({found['images']} images, "
        f"{found['fractured']} fractured).\n"
        f"Settled {'on validation' if validation else 'out of fold'}: log-odds divided by "
        f"{info.calibration['temperature']:.2f} and shifted by {info.calibration['intercept']:.2f}.\n"
        f"{embedded_policies.settled(info)}"
    )


def _before() -> str:
    """Compare the embedded model with the one before on the same test images."""
    run = read_run(EMBEDDED_RUN)
    threshold = run.models["embedded"].threshold
    older = {row["path"]: row[EMBEDDED_ROW] for row in read_predictions(read_run(EMBEDDED_BEFORE))}
    rows = read_predictions(run)
    lines = []
    for name, part in (
        ("all", rows),
        ("hands", [row for row in rows if row["body_part"] == "hand"]),
        ("legs", [row for row in rows if row["body_part"] == "leg"]),
    ):
        labels = [int(row["label"]) for row in part]
        change = compare_pairs(
            labels,
            [row["group"] for row in part],
            np.array([float(older[row["path"]]) for row in part]),
            np.array([float(row[EMBEDDED_ROW]) for row in part]),
            threshold,
        ).auroc_change
        lines.append((name, f"{len(part)} ({sum(labels)})", interval(change)))
    return markdown_table(("images", "images (fractured)", "AUROC, this model less the one before"), lines)


def _stress() -> str:
    result = read_stored(Stress, "stress-embedded.json")
    name, found = worst(result)
    return (
        f"The {result.split} split, `{result.model}` (SHA-256 {result.model_sha256[:12]}); 95 % "
        f"intervals, changes against the unchanged images in the same draws of a bootstrap over groups.\n\n"
        f"{tables_of(result)}\nThe worst of the degradations: {name}, AUROC {interval(found)}.\n"
    )


BLOCKS: MappingProxyType[str, Callable[[], str]] = MappingProxyType(
    {
        "overview": overview.overview,
        "benchmark": _benchmark,
        "card": _card,
        "startup": devices.startup,
        "device": devices.device,
        "splits": _splits,
        "training": _training,
        "wanted": embedded_policies.wanted,
        "points": embedded_policies.points,
        "policies": embedded_policies.test_split,
        "share": embedded_policies.share,
        "parts": embedded_policies.parts,
        "costs": embedded_policies.costs,
        "example": embedded_policies.example,
        "before": _before,
        "reproduction": reproduction.table,
        "leak": reproduction.leak,
        "formats": formats_table.table,
        "ladder": ladder.ladder,
        "layers": layers.table,
        "stability": stability_result.table,
        "speed": devices.training_speed,
        "onednn": devices.onednn,
        "emulation": devices.emulation,
        "older": devices.older,
        "tflite": tflite.tables,
        "arm64": devices.arm64,
        "unlike": devices.unlike,
        "runs": edge_model.runs,
        "aims": edge_model.aims,
        "folds": edge_model.folds,
        "averaged": edge_model.averaged,
        "ablations": edge_model.ablations,
        "larger": edge_model.larger,
        "frozen": edge_model.frozen,
        "frozen_deep": edge_model.frozen_deep,
        "frozen_larger": edge_model.frozen_larger,
        "learning": partial(edge_model.learning_curve, "learning-curve.json"),
        "learning_corrected": partial(edge_model.learning_curve, "learning-curve-corrected.json"),
        "stress": _stress,
        "elsewhere": edge_model.elsewhere,
        "looks": edge_model.looks,
        "pointing": partial(edge_model.pointing, "where-it-points.json"),
        "pointing_deep": partial(edge_model.pointing, "where-it-points-deep.json"),
        "robust": edge_model.robust,
        "gateway": tables_of_gateway,
        "container": container,
        "serving": serving,
        "serving_speed": serving_speed,
        "throughput": tables_of_scale.throughput,
        "shards": tables_of_scale.shards,
        "archive": tables_of_scale.archive,
        "cost": tables_of_scale.cost,
        "body_part": edge_model.body_part,
        "by_body_part": edge_model.by_body_part,
        "body_part_val": edge_model.body_part_val,
    }
)


def filled(text: str) -> str:
    """Generate every block in the text of a document again.

    Raises:
        KeyError: The text contains a block with an unknown name.
    """
    return re.sub(
        r"(<!-- (\w+) -->\n).*?(<!-- /\2 -->)",
        lambda match: f"{match[1]}{BLOCKS[match[2]]()}{match[3]}",
        text,
        flags=re.DOTALL,
    )


@app.command()
def documents(check: Annotated[bool, typer.Option("--check", help="Only compare.")] = False) -> None:
    """Insert the measured results into the documents.

    Exit status: 0 on success; with --check, 1 if a document is out of date.
    """
    stale = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        new = filled(text)
        if document == card.CARD:
            new = card.with_header(new)
        if new != text:
            stale.append(document.name)
            if not check:
                atomic_write_text(document, new)
    if check and stale:
        raise FractureEdgeError(f"out of date: {', '.join(stale)}; run `python -m benchmarks.studies documents`")
