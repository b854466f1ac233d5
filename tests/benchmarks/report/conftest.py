"""Fixtures with a made-up benchmark run: four models, a failed row, a rejected row, missing values."""

import copy
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, roc_auc_score

from benchmarks.records.measured_row import MeasuredRow
from benchmarks.report.predictions import Predictions
from train.evaluation.metrics import Estimate, confusion, wilson
from train.json_records import from_plain

Run = tuple[dict[str, Any], Predictions]

IMAGES, GROUPS = 240, 80
#: Separation of the classes in log-odds, milliseconds of float32 on ONNX Runtime, bytes of float32.
_MODELS = {
    "custom_cnn": (0.7, 17.5, 177_593_265),
    "edge": (2.4, 9.8, 13_480_762),
    "resnet50": (2.0, 71.5, 94_300_000),
    "vgg16": (1.6, 270.0, 84_562_975),
}
#: Runtime, format, precision, share of the bytes, share of the time, noise in log-odds.
_FORMATS = (
    ("keras", "keras float32", "float32", 1.05, 1.6, 0.0),
    ("onnxruntime", "onnx float32", "float32", 1.0, 1.0, 0.0),
    ("onnxruntime", "onnx float16", "float16", 0.5, 1.0, 0.005),
    ("onnxruntime", "onnx int8", "int8", 0.28, 0.4, 0.1),
    ("litert", "tflite float16", "float16", 0.5, 1.02, 0.005),
    ("litert", "tflite int8", "int8", 0.285, 0.33, 0.6),
)
_HISTORY = ("loss", "accuracy", "auroc", "val_loss", "val_accuracy", "val_auroc")


def _estimate(value: float, half: float = 0.04) -> dict[str, float]:
    return {"value": value, "low": max(0.0, value - half), "high": min(1.0, value + half)}


def _quality(labels: Any, scores: Any, parts: dict[str, Any], threshold: float) -> dict[str, Any]:
    counts = confusion(labels, scores, threshold)
    tp, fp, tn, fn = (counts[f"{a}_{b}"] for a, b in (
        ("true", "positive"), ("false", "positive"), ("true", "negative"), ("false", "negative")
    ))  # fmt: skip
    proportions = {
        "accuracy": wilson(tp + tn, len(labels)),
        "precision": wilson(tp, tp + fp),
        "recall": wilson(tp, tp + fn),
        "specificity": wilson(tn, tn + fp),
    }
    area = float(roc_auc_score(labels, scores))
    others = {
        "balanced_accuracy": (tp / (tp + fn) + tn / (tn + fp)) / 2,
        "f1": float(f1_score(labels, scores >= threshold)),
        "auroc": area,
        "average_precision": float(average_precision_score(labels, scores)),
        "brier": float(brier_score_loss(labels, scores)),
        "ece": 0.031,
        "sensitivity_at_specificity_90": 0.7,
    }
    decided = (scores < 0.15) | (scores >= 0.35)
    return {
        "metrics": {name: _known(each) for name, each in proportions.items()}
        | {name: _estimate(value) for name, value in others.items()},
        "confusion": counts,
        "uncertain": {
            "share": float(1 - decided.mean()),
            "images_decided": int(decided.sum()),
            "metrics_on_decided": {name: _known(each) for name, each in proportions.items()},
        },
        "subgroups": [
            {
                "by": by,
                "value": value,
                "images": int(mask.sum()),
                "fractured": int(labels[mask].sum()),
                "auroc": _estimate(float(roc_auc_score(labels[mask], scores[mask])), 0.09)
                if 0 < labels[mask].sum() < mask.sum()
                else None,
                "recall": _known(
                    wilson(int((labels[mask] & (scores[mask] >= threshold)).sum()), labels[mask].sum())
                ),
                "specificity": _known(wilson(0, 0)) if labels[mask].all() else _estimate(0.9, 0.05),
            }
            for (by, value), mask in parts.items()
        ],
    }


def _known(estimate: Estimate) -> dict[str, float] | None:
    return None if np.isnan(estimate.value) else asdict(estimate)


def _percentiles(median: float, runs: int = 200) -> dict[str, float]:
    return {"p50": median, "p90": median * 1.12, "p99": median * 1.5, "runs": runs}


def _speed(median: float, runtime: str) -> dict[str, Any]:
    return {
        str(threads): {
            "inference_ms": _percentiles(median / threads**0.9),
            "file_to_decision_ms": None if runtime == "keras" else _percentiles(median / threads**0.9 + 2.1),
            "images_per_second": {str(batch): 1000 * threads**0.9 * batch**0.1 / median for batch in (1, 8, 32)},
        }
        for threads in (1, 2)
    }


def _row(model: str, runtime: str, kind: str, precision: str, size: int) -> dict[str, Any]:
    suffix = {"keras": "keras", "onnxruntime": "onnx", "litert": "tflite"}[runtime]
    return {
        "id": f"{model}/{kind}",
        "model": model,
        "runtime": runtime,
        "format": kind,
        "precision": precision,
        "file": f"{model}-{precision}.{suffix}",
        "bytes": size,
        "sha256": "ab" * 32,
        "error": None,
        "gate": None if runtime == "keras" else "accepted",
        "quality": None,
        "against_source": None,
        "speed": None,
        "first_answer_ms": None,
        "peak_memory_mb": None,
        "speed_error": None,
    }


def _against(source: Any, scores: Any, labels: Any, threshold: float, model: str) -> dict[str, Any]:
    right_before, right = ((each >= threshold) == labels for each in (source, scores))
    change = float(roc_auc_score(labels, scores) - roc_auc_score(labels, source))
    only_before, only_now = int((right_before & ~right).sum()), int((~right_before & right).sum())
    p = float(binomtest(only_before, only_before + only_now).pvalue) if only_before + only_now else 1.0
    around = {"value": change, "low": change - 0.01, "high": change + 0.01}
    return {
        "source": f"{model}/keras float32",
        "agreement": float(((source >= threshold) == (scores >= threshold)).mean()),
        "largest_difference": float(np.abs(source - scores).max()),
        "mean_difference": float(np.abs(source - scores).mean()),
        "auroc_change": around,
        "sensitivity_change": around,
        "specificity_change": around,
        "mcnemar": {"only_source_right": only_before, "only_this_right": only_now, "p": p},
    }


def _model(name: str, threshold: float, trained: bool) -> dict[str, Any]:
    rows = [
        {"epoch": n, "phase": 1 + (n > 6)}
        | {key: round(0.9 - 0.4 * (1 - 0.8**n), 4) if "loss" in key else round(0.6 + 0.3 * (1 - 0.8**n), 4)
           for key in _HISTORY}
        for n in range(1, 13)
    ]  # fmt: skip
    for row in rows:
        row["val_loss"] = round(row["val_loss"] + 0.06 + 0.002 * row["epoch"] ** 2, 4)
        row["val_auroc"] = round(row["val_auroc"] - 0.04, 4)
    return {
        "architecture": name,
        "threshold": threshold,
        "uncertain_low": 0.15,
        "uncertain_high": 0.35,
        "input": [224, 224],
        "parameters": 3_415_012 if trained else None,
        "training": {
            "recipe": "corrected",
            "initial_weights": "random",
            "epochs": 12,
            "best_epoch": 9,
            "seed": 0,
            "device": "CPU",
            "precision": "float32",
            "images": 2398,
        }
        if trained
        else None,
        "history": rows if trained else [],
        "splits_of_training": trained,
    }


def _build() -> Run:
    random = np.random.default_rng(7)
    groups = random.integers(GROUPS, size=IMAGES)
    labels = (random.random(GROUPS) < 0.25)[groups].astype(np.int64)
    body = random.choice(["hand", "leg", "hip", "shoulder", ""], IMAGES, p=[0.4, 0.35, 0.1, 0.1, 0.05])
    hardware = np.where(labels & (random.random(IMAGES) < 0.3), "yes", "no")
    parts = {("body_part", value): body == value for value in ("hand", "leg", "hip", "shoulder", "")}
    parts |= {("hardware", value): hardware == value for value in ("no", "yes")}
    threshold, rows, columns = 0.22, [], {}
    for model, (separation, milliseconds, size) in _MODELS.items():
        odds = (labels - 0.5) * separation + random.normal(0, 1, IMAGES) - 1.2
        source = expit(odds).round(6)
        for runtime, kind, precision, of_bytes, of_time, noise in _FORMATS:
            row = _row(model, runtime, kind, precision, round(size * of_bytes))
            rows.append(row)
            if (model, kind) == ("vgg16", "tflite float16"):
                row["error"] = (
                    "RuntimeError: Didn't find op for builtin opcode 'CONV_2D' version '6' | <truncated>"
                )
                continue
            scores = expit(logit(source) + noise * random.normal(0, 1, IMAGES)).round(6) if noise else source
            columns[row["id"]] = scores
            row["quality"] = _quality(labels, scores, parts, threshold)
            if runtime != "keras":
                row["against_source"] = _against(source, scores, labels, threshold, model)
            if (model, kind) == ("resnet50", "onnx float16"):
                row["speed_error"] = "timed out after 600 s"
                continue
            row["speed"] = _speed(milliseconds * of_time, runtime)
            row["first_answer_ms"] = _percentiles(180 + milliseconds, 5)
            row["peak_memory_mb"] = 70 + 2.2 * row["bytes"] / 1e6
            if noise > 0.5:
                row["gate"] = "rejected" if model in ("edge", "custom_cnn") else "accepted"
    embedded = _row("embedded", "onnxruntime", "onnx int8", "int8", 3_812_345)
    scores = columns["edge/onnx int8"]
    columns[embedded["id"]] = scores
    rows.append(
        embedded
        | {
            "gate": None,
            "quality": _quality(labels, scores, parts, threshold),
            "speed": _speed(3.95, "onnxruntime"),
        }
        | {"first_answer_ms": _percentiles(170, 5), "peak_memory_mb": None}
    )
    result = {
        "schema_version": 2,
        "created": "2026-11-25T04:00:00+00:00",
        "positive_class": "fractured",
        "environment": {
            "cpu": "AMD EPYC",
            "cpu_family": "26",
            "cores": 2,
            "cpu_flags": ["avx2", "avx512_vnni"],
            "memory_gb": 23.5,
            "os": "Linux 6.18 x86_64",
            "python": "3.11.7",
            "versions": {"onnxruntime": "1.32.0", "keras": "3.15.1"},
        },
        "data": {
            "layout": "fracatlas",
            "split": "test",
            "images": IMAGES,
            "fractured": int(labels.sum()),
            "groups": GROUPS,
            "fingerprint": "3f1f57f42a3124559dc136e1c37c2c47",
            "predictions": "run.csv",
        },
        "trivial_baseline": _estimate(0.62, 0.06),
        "settings": {"runs": 200, "rounds": 20, "threads": [1, 2], "batches": [1, 8, 32], "first_answers": 5},
        "harness": {"overhead_us": _percentiles(1.4)},
        "models": {name: _model(name, threshold, True) for name in _MODELS}
        | {"embedded": _model("edge", threshold, False)},
        "rows": rows,
    }
    paths = tuple(f"images/IMG{k:07d}.jpg" for k in range(IMAGES))
    return result, Predictions(paths, labels, tuple(f"g{group}" for group in groups), columns)


@pytest.fixture(scope="session")
def made() -> Run:
    return _build()


@pytest.fixture
def run(made: Run) -> Run:
    """Return a copy of result and predictions that a test may modify."""
    return copy.deepcopy(made)


@pytest.fixture
def result(run: Run) -> dict[str, Any]:
    """Return the contents of RUN.json as plain values."""
    return run[0]


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str, Run], Path]:
    """Write a run as NAME.json and NAME.csv; failed rows have empty cells."""

    def write(name: str, run: Run) -> Path:
        result, predictions = run
        result["data"]["predictions"] = f"{name}.csv"
        ids = [row["id"] for row in result["rows"]]
        lines = [",".join(["path", "label", "group", "body_part", "view", "hardware", *ids])]
        for k, path in enumerate(predictions.paths):
            scores = [f"{predictions.columns[i][k]:.6f}" if i in predictions.columns else "" for i in ids]
            lines.append(",".join([path, str(predictions.labels[k]), predictions.groups[k], "", "", "", *scores]))
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (tmp_path / f"{name}.json").write_text(json.dumps(result), encoding="utf-8")
        return tmp_path / f"{name}.json"

    return write


@pytest.fixture
def row() -> Callable[..., MeasuredRow]:
    """Create a row from name, MB, milliseconds, AUROC and half the width of its interval."""

    def make(
        name: str, megabytes: float, median: float, area: float | None, half: float = 0.01, **others: Any
    ) -> MeasuredRow:
        model, _, kind = name.partition("/")
        percentiles = {"p50": median, "p90": median, "p99": median, "runs": 200}
        auroc = None if area is None else {"value": area, "low": area - half, "high": area + half}
        plain = _row(model, "onnxruntime", kind, "int8", round(megabytes * 1e6)) | {
            "quality": {
                "metrics": {"auroc": auroc},
                "confusion": confusion([1, 0], np.array([1, 0]), 0.5),
                "uncertain": {"share": 0.0, "images_decided": 2, "metrics_on_decided": {}},
                "subgroups": [],
            },
            "speed": {"1": {"inference_ms": percentiles, "file_to_decision_ms": None, "images_per_second": {}}},
        }
        return from_plain(MeasuredRow, plain | others, name)

    return make
