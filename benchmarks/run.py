"""`fracture-edge benchmark`: the same test images through every format of a model."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.environment import environment
from benchmarks.latency import interleaved
from benchmarks.metrics import confusion, evaluate
from benchmarks.runners import KerasRunner, OnnxRunner, Runner
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_path, atomic_write_text
from fracture_edge.modelfile import ModelInfo
from train.dataset import ImageTable, read_splits
from train.evaluation import auroc_without_hardware, groups_of, trivial_baseline
from train.loading import fingerprint, load_pixels

RESULT_SCHEMA = 1
EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class Contest:
    """What is measured against each other.

    Attributes:
        name: A trained model's name, ``embedded``, or a file's name.
        runners: Keras first where there is one; every one with the same weights.
        info: Preprocessing and policy that all share.
    """

    name: str
    runners: tuple[Runner, ...]
    info: ModelInfo


def benchmark(
    model: str,
    *,
    artifacts: Path,
    data: Path | None = None,
    splits: Path | None = None,
    split: str = "test",
    runs: int = 200,
    threads: int = 1,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Measure one model in all its formats.

    Args:
        model: Name of a trained and exported model, ``embedded``, or the path of an ``.onnx`` file.
        artifacts: Folder of all artefacts.
        data: The data folder; the one of the training run when ``None``.
        splits: The split file; likewise.
        split: Which split to judge on.
        runs: Timed rounds.
        threads: Threads of each runtime.

    Returns:
        The result, ready for JSON, and one row per image: path, label, group, and P(fractured) per format.

    Raises:
        FractureEdgeError: The model or its data cannot be found.
    """
    folder = artifacts / model
    contest = _contest(model, folder, threads)
    root, split_file = _data_of(folder, data, splits)
    table = read_splits(root, split_file)
    part = table.where(split)
    if set(part.labels) != {0, 1}:
        raise FractureEdgeError(f"{split_file}: the {split} split lacks a class")
    pixels = load_pixels(part, contest.info.preprocessing, label=f"reading {split}")
    scores = {runner.name: _all(runner, pixels) for runner in contest.runners}
    speed = interleaved(
        {runner.name: runner.probabilities for runner in contest.runners},
        [pixels[row : row + 1] for row in range(min(50, len(pixels)))],
        runs,
    )
    whole = _file_to_decision(contest.runners, part, runs)
    threshold = contest.info.policy.threshold
    groups = groups_of(part)
    no_hardware = [row for row, item in enumerate(part) if item.metadata.get("hardware") == "0"]
    rows = [
        {
            "format": runner.name,
            "bytes": runner.size,
            "sha256": runner.sha256,
            "metrics": {
                name: asdict(estimate)
                for name, estimate in evaluate(part.labels, scores[runner.name], groups, threshold).items()
            },
            "confusion": confusion(part.labels, scores[runner.name], threshold),
            "auroc_without_hardware": auroc_without_hardware(part, scores[runner.name]),
            "uncertain_share": _uncertain(contest.info, scores[runner.name]),
            "inference_ms": speed[runner.name],
            "file_to_decision_ms": whole.get(runner.name),
        }
        for runner in contest.runners
    ]
    data_fingerprint = fingerprint(table)
    result = {
        "schema_version": RESULT_SCHEMA,
        "model": contest.name,
        "architecture": contest.info.architecture,
        "positive_class": contest.info.positive_class,
        "threshold": threshold,
        "threads": threads,
        "data": {
            "layout": table.layout,
            "split": split,
            "images": len(part),
            "fractured": sum(part.labels),
            "images_without_hardware": len(no_hardware),
            "fractured_without_hardware": sum(part.items[row].label for row in no_hardware),
            "groups": len(set(groups)),
            "fingerprint": data_fingerprint,
            "splits_of_training": data_fingerprint == contest.info.training.get("fingerprint"),
        },
        "formats": rows,
        "trivial_baseline": {"auroc": trivial_baseline(table, split)},
        "environment": environment(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return result, _per_image(part, scores)


def _contest(model: str, folder: Path, threads: int) -> Contest:
    if model == EMBEDDED or model.endswith(".onnx"):
        runner = OnnxRunner(None if model == EMBEDDED else Path(model), threads)
        return Contest(Path(model).stem, (runner,), runner.classifier.info)
    files = sorted(folder.glob("*.onnx"))
    if not files:
        raise FractureEdgeError(f"{folder}: no exported model here; `fracture-edge export {model}` makes it")
    onnx = [OnnxRunner(path, threads) for path in files]
    names = [runner.name for runner in onnx]
    for path, runner in zip(files, onnx, strict=True):
        if names.count(runner.name) > 1:
            runner.name = path.stem
        if (runner.classifier.info.policy, runner.classifier.info.training) != (
            onnx[0].classifier.info.policy,
            onnx[0].classifier.info.training,
        ):
            raise FractureEdgeError(f"{path} and {files[0].name} are not of one training run; export them again")
    keras = folder / "model.keras"
    runners: list[Runner] = [KerasRunner(keras, threads)] if keras.is_file() else []
    return Contest(model, (*runners, *onnx), onnx[0].classifier.info)


def _data_of(folder: Path, data: Path | None, splits: Path | None) -> tuple[Path, Path]:
    record = folder / "training.json"
    if data is None or splits is None:
        if not record.is_file():
            raise FractureEdgeError("say which images with --data and --splits")
        data = data or Path(json.loads(record.read_text(encoding="utf-8"))["data"]["root"])
        splits = splits or folder / "splits.csv"
    return data, splits


def _all(runner: Runner, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.floating[Any]]:
    return np.concatenate([runner.probabilities(pixels[k : k + 32]) for k in range(0, len(pixels), 32)])


def _uncertain(info: ModelInfo, scores: npt.NDArray[np.floating[Any]]) -> float:
    policy = info.policy
    return float(np.mean((scores >= policy.uncertain_low) & (scores < policy.uncertain_high)))


def _file_to_decision(runners: Sequence[Runner], part: ImageTable, runs: int) -> dict[str, dict[str, float]]:
    """The whole way of `FractureClassifier.predict`, files from the page cache."""
    contenders = {runner.name: runner.classifier.predict for runner in runners if isinstance(runner, OnnxRunner)}
    return interleaved(contenders, [part.file(item) for item in part.items[:50]], runs)


def _per_image(part: ImageTable, scores: dict[str, npt.NDArray[np.floating[Any]]]) -> list[dict[str, Any]]:
    return [
        {"path": item.path, "label": item.label, "group": item.group}
        | {name: f"{values[row]:.6f}" for name, values in scores.items()}
        for row, item in enumerate(part)
    ]


def write_results(result: dict[str, Any], per_image: list[dict[str, Any]], out: Path, *, force: bool) -> None:
    """Write ``OUT`` (JSON) and the per-image probabilities beside it (``OUT`` with ``.csv``)."""
    with (
        atomic_path(out.with_suffix(".csv"), force=force) as path,
        path.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.DictWriter(stream, per_image[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(per_image)
    atomic_write_text(out, json.dumps(result, indent=2) + "\n", force=force)
