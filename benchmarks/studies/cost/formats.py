"""Every exported file of a model, side by side: `python -m benchmarks.studies formats artifacts/edge ...`.

Takes size and the gate's figures from ``export.json``, times all files in turns on one thread, and writes
``benchmarks/results/formats/MODEL.json``, of which `benchmarks.studies.documents.fill` makes ``docs/formats.md``.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.environment import environment
from benchmarks.runtimes.runners import Runner, runner_of
from benchmarks.speed.latency import interleaved
from fracture_edge.console import say
from fracture_edge.files import atomic_write_text
from fracture_edge.preprocess import Preprocessing
from train.artifacts import read_manifest
from train.evaluation.formatting import interval

app = typer.Typer(add_completion=False, rich_markup_mode=None)
RESULTS = Path(__file__).resolve().parents[2] / "results" / "formats"
_FIGURES = (
    "images", "fractured", "threshold", "largest_difference", "mean_difference", "images_compared",
    "same_decision", "auroc_keras", "auroc_exported", "auroc_change", "sensitivity_change", "intervals",
)  # fmt: skip
_KEPT = (
    "recipe", "precision", "sha256", "source_sha256", "bytes", "gzip_bytes", "heatmap", "opset", "operators",
    "peak_memory_mb", "budget", "broken", "compression", "calibration", "float_layers", "seconds", "versions",
)  # fmt: skip


def measure(folder: Path, runs: int) -> dict[str, Any]:
    """Describe and time all files in the manifest of one model.

    Args:
        folder: ``artifacts/<model>``.
        runs: Timed rounds; each file runs once a round, on one image of random bytes.

    Returns:
        How the model was trained, a row for each file, and the machine.
    """
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    files = read_manifest(folder)["files"]
    size = Preprocessing.from_dict(record["recipe"]["preprocessing"])
    runners: dict[str, Runner] = {file: runner_of(folder / file, threads=1) for file in files}
    images = np.random.default_rng(0).integers(0, 256, (8, 1, size.height, size.width, 1), np.uint8)
    speed = interleaved({file: runner.probabilities for file, runner in runners.items()}, list(images), runs)
    return {
        "model": record["model"],
        "training": {
            **{name: record[name] for name in ("initial_weights", "epochs", "best_epoch", "device", "precision")},
            "epochs_of_recipe": sum(phase["epochs"] for phase in record["recipe"]["phases"]),
            "recipe": Path(record["recipe_name"]).name,
            "fingerprint": record["data"]["fingerprint"],
        },
        "files": {
            file: {name: entry[name] for name in _KEPT if name in entry}
            | {"gate": {name: entry["gate"][name] for name in _FIGURES if name in entry["gate"]}}
            | {"inference_ms": asdict(speed[file])}
            for file, entry in files.items()
        },
        "threads": 1,
        "environment": environment(),
    }


def table() -> str:
    """All models of ``benchmarks/results/formats`` as Markdown."""
    return "\n".join(_one(json.loads(path.read_text(encoding="utf-8"))) for path in sorted(RESULTS.glob("*.json")))


def _one(result: dict[str, Any]) -> str:
    files, trained, machine = result["files"], result["training"], result["environment"]
    gate = next(iter(files.values()))["gate"]
    whole = {
        file.rsplit(".", 1)[1]: entry["bytes"]
        for file, entry in files.items()
        if entry["precision"] == "float32" and "compression" not in entry
    }
    lines = [
        f"### {result['model']}",
        "",
        f"Recipe `{trained['recipe']}` with at most {trained['epochs_of_recipe']} epochs, {trained['epochs']} "
        f"trained (kept: {trained['best_epoch']}), started from: {trained['initial_weights']}; "
        f"{trained['device']}, {trained['precision']}. Judged on {gate['images']} validation images, "
        f"{gate['fractured']} fractured; AUROC in Keras {gate['auroc_keras']:.4f}.",
        "",
        "| file | MB (of float32) | gzip MB | mean / largest difference of P | same decision | AUROC, change | "
        "sensitivity, change | ms, 1 thread | verdict |",
        "|" + " --- |" * 9,
    ]
    for file, entry in sorted(files.items(), key=lambda pair: (pair[0].rsplit(".", 1)[1], -pair[1]["bytes"])):
        gate = entry["gate"]
        reference = whole.get(file.rsplit(".", 1)[1])
        share = f" ({entry['bytes'] / reference:.2f})" if reference else ""
        images = f" ({gate['images_compared']} images)" if "images_compared" in gate else ""
        lines.append(
            f"| `{Path(file).name}` | {entry['bytes'] / 1e6:.2f}{share} | {entry['gzip_bytes'] / 1e6:.2f} | "
            f"{gate['mean_difference']:.1e} / {gate['largest_difference']:.1e}{images} | "
            f"{gate['same_decision']:.3f} | {_change(gate, 'auroc_change')} | "
            f"{_change(gate, 'sensitivity_change')} | {entry['inference_ms']['p50']:.1f} | {_verdict(entry)} |"
        )
    runs = next(iter(files.values()))["inference_ms"]["runs"]
    lines += [
        "",
        f"Latency: median of {runs} runs, files taking turns, on {machine['cpu']} ({machine['cores']} cores; "
        f"{', '.join(machine['cpu_flags'])}).",
    ]
    return "\n".join(lines) + "\n"


def _change(gate: dict[str, Any], name: str) -> str:
    low, high = gate["intervals"][name]
    return interval({"value": gate[name], "low": low, "high": high})


def _verdict(entry: dict[str, Any]) -> str:
    words = [f"rejected: {'; '.join(entry['broken'])}" if entry["broken"] else "accepted"]
    if calibration := entry.get("calibration"):
        words.append(f"calibration {calibration['method']}")
    if layers := entry.get("float_layers"):
        words.append(f"{len(layers)} layers in float32")
    if entry["heatmap"]:
        words.append("with heat map")
    return ", ".join(words)


@app.command()
def run(
    folders: Annotated[list[Path], typer.Argument(metavar="ARTIFACTS/MODEL...", help="Exported models.")],
    runs: Annotated[int, typer.Option(min=1, help="Timed rounds; each file runs once a round.")] = 100,
) -> None:
    """Describe and time all exported files of models, for the tables of docs/formats.md."""
    for folder in folders:
        say(f"{folder.name}: timing")
        result = measure(folder, runs)
        atomic_write_text(RESULTS / f"{result['model']}.json", json.dumps(result, indent=2) + "\n")
