"""Fill the measured figures into the documents: `python -m benchmarks.studies documents`.

What stands between ``<!-- NAME -->`` and ``<!-- /NAME -->`` is made from the files in ``benchmarks/results`` and
from the embedded model; nothing there is typed in by hand. ``--check`` only compares.
"""

import argparse
import csv
import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from benchmarks.environment import Environment
from benchmarks.measured_row import MeasuredRow
from benchmarks.report import prose, tables
from benchmarks.report.markdown import summary_table
from benchmarks.report.recommend import recommend
from benchmarks.result import BenchmarkResult, read_result
from benchmarks.studies.cost import formats
from benchmarks.studies.documents import aims, policies
from benchmarks.studies.edge_model import averaged, frozen_features, reproduction, run_log
from benchmarks.studies.edge_model import cross_validated as folds
from benchmarks.studies.robustness import stress, unlike
from fracture_edge.classifier import FractureClassifier
from fracture_edge.files import atomic_write_text
from train.data.dataset import SPLITS
from train.evaluation.formatting import interval, megabytes, times
from train.evaluation.paired import compare_pairs
from train.json_records import from_plain

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "benchmarks" / "results"
#: The model in the package, and the files exported from the network that it is made of.
EMBEDDED_RUN = "embedded.json"
#: The model in the package on another processor.
EMBEDDED_ELSEWHERE = "embedded-epyc.json"
#: The reference's networks beside the `edge` of version 0.2.
RUN = "fracatlas.json"
#: The embedded model of version 0.2 on a processor without VNNI.
OLDER = "fracatlas-avx2.json"
EMBEDDED_ROW = "embedded/onnx int8"
_DEEP = "preprocessing.height=224, preprocessing.width=224, options.deep_evidence=true"
_SHOWN = ("keras float32", "onnx float32", "onnx int8", "onnx int8 factorised64", "tflite float16", "tflite int8")
DOCUMENTS = (
    ROOT / "README.md",
    ROOT / "fracture_edge" / "models" / "README.md",
    ROOT / "docs" / "reproduction.md",
    ROOT / "docs" / "formats.md",
    ROOT / "docs" / "training.md",
    ROOT / "docs" / "device.md",
    ROOT / "docs" / "benchmarks.md",
    ROOT / "docs" / "edge-model.md",
)


def _json(name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return values


def _entries(name: str) -> list[dict[str, Any]]:
    """Of `benchmarks.studies.edge_model.cross_validated`."""
    values: list[dict[str, Any]] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return values


def _rows(result: BenchmarkResult, keep: Callable[[MeasuredRow], bool]) -> BenchmarkResult:
    """A run with some of its rows."""
    return replace(result, rows=tuple(row for row in result.rows if keep(row)))


def _benchmark() -> str:
    result, before = read_result(RESULTS / EMBEDDED_RUN), read_result(RESULTS / RUN)
    advice = "".join(f"- {each}\n" for each in recommend(result))
    return (
        f"{prose.on_what(result)} AUROC of size and brightness alone: {interval(result.trivial_baseline)}.\n\n"
        f"{_few(result)}\n"
        f"Milliseconds: median of one inference on one thread, {prose.machine(result.environment)}.\n\n"
        f"{advice}\nThe networks of the reference, on the same images and another processor "
        f"({prose.machine(before.environment)}), beside\n`edge` as it was in model version 0.2:\n\n{_few(before)}"
    )


def _few(result: BenchmarkResult) -> str:
    return summary_table(_rows(result, lambda row: row.format in _SHOWN and row.gate != "rejected"))


def _card() -> str:
    run = read_result(RESULTS / EMBEDDED_RUN)
    result = _rows(run, lambda row: row.model == "embedded" and row.runtime == "onnxruntime")
    (row,) = result.rows
    return (
        f"{prose.on_what(result)} Threshold {result.models['embedded'].threshold:.4f}.\n\n"
        f"{tables.summary(result).markdown()}\n{tables.further(result).markdown()}\n"
        f"{tables.subgroups(row).markdown()}\n"
        f"{prose.INTERVALS} {prose.SUBGROUPS} {prose.how_timed(result)} On {prose.machine(result.environment)}.\n"
    )


def _startup() -> str:
    result = _json("device-cost.json")
    start, machine = result["startup"], result["environment"]
    return (
        f"The whole process `fracture-edge classify one.png`, from start to exit, takes\n"
        f"{start['classify']['p50']:.0f} ms (p90 {start['classify']['p90']:.0f} ms): {times(start['ratio'])} the "
        f"{start['yardstick']['p50']:.0f} ms of\n"
        f'`python -c "import numpy, PIL.Image, onnxruntime"`, started in turn, {start["classify"]["runs"]} runs '
        f"of each, and needs {result['peak_memory_mb']['one']:.0f} MB at its peak\n"
        f"({machine['cpu']}, {machine['cores']} cores; `python -P -m benchmarks.speed.device_cost`).\n"
    )


def _device() -> str:
    result = _json("device-cost.json")
    start, images, memory, machine = (
        result[name] for name in ("startup", "large_jpegs", "peak_memory_mb", "environment")
    )
    versions = machine["versions"]
    rows = (
        (
            "whole process of `classify one.png`",
            start["classify"],
            '`python -c "import numpy, PIL.Image, onnxruntime"`',
            start["yardstick"],
            start["ratio"],
        ),
        *(
            (
                f"a {large['stored']} grey JPEG of {megabytes(large['bytes'])} MB (grain of {large['grain']:g} "
                "grey levels), from file to decision",
                large["file_to_decision"],
                f"libjpeg alone, at the same reduced scale ({large['decoded']})",
                large["decode"],
                large["ratio"],
            )
            for large in images
        ),
    )
    lines = ["| what | ms (p90) | yardstick | ms (p90) | ratio |", "|" + " --- |" * 5]
    lines += [
        f"| {what} | {_spread(taken)} | {yardstick} | {_spread(least)} | {times(found)} |"
        for what, taken, yardstick, least, found in rows
    ]
    return "\n".join(lines) + (
        f"\n\nPeak memory of a process that classifies one small picture {memory['one']:.0f} MB, the large JPEG "
        f"{memory['large_jpeg']:.0f} MB, {result['many']} small pictures with `--jobs 1` "
        f"{memory['many']:.0f} MB.\n"
        f"{start['classify']['runs']} processes and {images[0]['decode']['runs']} decisions of each, in turns, "
        f"with default threads; the ratio is the median of the turns' with its 95 % interval. "
        f"{machine['cpu']}, {machine['cores']} cores,\nPython {machine['python']}, onnxruntime "
        f"{versions['onnxruntime']}, NumPy {versions['numpy']}, Pillow {versions['pillow']}.\n"
    )


def _spread(milliseconds: dict[str, float]) -> str:
    return f"{milliseconds['p50']:.1f} ({milliseconds['p90']:.1f})"


def _splits() -> str:
    with (RESULTS / "fracatlas-splits.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    lines = ["| split | images | fractured | groups |", "| --- | --- | --- | --- |"]
    for split in SPLITS:
        part = [row for row in rows if row["split"] == split]
        fractured = sum(row["label"] == "1" for row in part)
        lines.append(f"| {split} | {len(part)} | {fractured} | {len({row['group'] for row in part})} |")
    return "\n".join(lines) + "\n"


def _training() -> str:
    info = FractureClassifier(threads=1).info
    validation, policy, training = info.metrics["validation"], info.policy, info.training
    shipped = next(row for row in _json(EMBEDDED_RUN)["rows"] if row["id"] == EMBEDDED_ROW)
    share = shipped["quality"]["uncertain"]["share"]
    kept = "last" if training["best_epoch"] == training["epochs"] else f"{training['best_epoch']}th"
    return (
        f"{training['epochs']} epochs, the weights of the {kept} kept; TensorFlow {info.versions['tensorflow']}.\n"
        f"Validation AUROC in float32 {validation['auroc']:.3f} ({validation['images']} images, "
        f"{validation['fractured']} fractured).\n"
        f"Settled on validation: log-odds divided by {info.calibration['temperature']:.2f} and shifted by "
        f"{info.calibration['intercept']:.2f}; threshold {policy.threshold:.3f};\n"
        f"uncertain from {policy.uncertain_low:.3f} to {policy.uncertain_high:.3f}, the narrowest band outside of "
        f"which at least 95 % of the fractured images lie above and 95 % of the others below, or the closest.\n"
        f"On the test split {share:.0%} of the images fall into this band.\n"
    )


def _policies() -> str:
    """The operating points of the embedded model on the test split."""
    info = FractureClassifier(threads=1).info
    rows = _predictions(_json(EMBEDDED_RUN))
    answers = [(int(row["label"]), float(row[EMBEDDED_ROW])) for row in rows]
    return policies.table_of({name: info.policy_named(name) for name in info.operating_points}, answers)


def _before() -> str:
    """The embedded model and that of version 0.2 on the same test images."""
    run = _json(EMBEDDED_RUN)
    threshold = run["models"]["embedded"]["threshold"]
    older = {row["path"]: row[EMBEDDED_ROW] for row in _predictions(_json(RUN))}
    rows = _predictions(run)
    lines = ["| images | images (fractured) | AUROC, this model less the one before |", "|" + " --- |" * 3]
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
        lines.append(f"| {name} | {len(part)} ({sum(labels)}) | {interval(change.to_json())} |")
    return "\n".join(lines) + "\n"


def _predictions(run: dict[str, Any]) -> list[dict[str, str]]:
    with (RESULTS / run["data"]["predictions"]).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _training_speed() -> str:
    result = _json("training-speed.json")
    machine = result["environment"]
    lines = [
        "| network | input | trained | precision | images/s | constant batch | ratio (rounds) |",
        "|" + " --- |" * 7,
    ]
    for row in result["models"]:
        rounds = ", ".join(f"{ratio:.2f}" for ratio in row["ratios"])
        lines.append(
            f"| {row['model']} | {row['input']} | {row['trainable']} | {row['precision']} | "
            f"{row['images_per_second']:.1f} | {row['images_per_second_constant_batch']:.1f} | "
            f"{row['ratio']:.2f} ({rounds}) |"
        )
    lines += [
        "",
        f"Batches of {result['models'][0]['batch_size']}, {result['batches']} of them a round, "
        f"{result['rounds']} rounds; the ratio is the median of the rounds'. {result['models'][0]['device']}, "
        f"{machine['cpu']}.",
    ]
    return "\n".join(lines) + "\n"


def _onednn() -> str:
    """Training on a processor without AVX-512 by two sets of kernels."""
    ours, own = _json("training-speed-avx2.json"), _json("training-speed-avx2-own-kernels.json")
    machine = from_plain(Environment, ours["environment"], "training-speed-avx2.json")
    lines = ["| network | input | images/s | by TensorFlow's own kernels | ratio |", "|" + " --- |" * 5]
    for row, slow in zip(ours["models"], own["models"], strict=True):
        fast, slower = row["images_per_second"], slow["images_per_second"]
        lines.append(f"| {row['model']} | {row['input']} | {fast:.1f} | {slower:.1f} | {fast / slower:.1f} |")
    return "\n".join(lines) + (
        f"\n\nBatches of {ours['models'][0]['batch_size']}, {ours['batches']} of them a round, median of "
        f"{ours['rounds']} rounds. {prose.machine(machine)}.\n"
    )


def _emulation() -> str:
    lines = [
        "| file, SHA-256 | opened | emulated processor | images | same decisions | "
        "largest / mean difference of P | qemu |",
        "|" + " --- |" * 7,
    ]
    for path in sorted((RESULTS / "emulation").glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        there = result["emulated"]
        opened = "plain" if result["plain"] else "by our classifier"
        # Older files count two images without an answer as the same decision.
        same = result["answered"] - sum(
            None not in (pair["native"]["probability"], pair["emulated"]["probability"])
            for pair in result["differing"]
        )
        lines.append(
            f"| `{result['model']}`, {result['model_sha256'][:12]} | {opened} | "
            f"{there['architecture']} {there['cpu']} | {result['answered']} | "
            f"{same} | {result['largest_difference']:.1e} / {result['mean_difference']:.1e} | "
            f"{there['qemu'].split()[2]} |"
        )
    return "\n".join(lines) + "\n"


def _older() -> str:
    """The embedded model of version 0.2 on two processors."""
    return _on_two(RUN, OLDER)


def _two() -> str:
    """The embedded model on two processors."""
    return _on_two(EMBEDDED_RUN, EMBEDDED_ELSEWHERE)


def _on_two(first: str, second: str) -> str:
    """Speed of one file on two processors, and whether it answers the same."""
    here, there = (
        {line["path"]: line[EMBEDDED_ROW] for line in _predictions(_json(name))} for name in (first, second)
    )
    same = sum(here.get(path) == answer for path, answer in there.items())
    lines = [
        "| processor | file, SHA-256 | threads | inference p50 (p90) ms | file to decision p50 ms | peak MB |",
        "|" + " --- |" * 6,
    ]
    for run in map(_json, (first, second)):
        row = next(row for row in run["rows"] if row["id"] == EMBEDDED_ROW)
        processor = f"{run['environment']['cpu']} ({', '.join(run['environment']['cpu_flags'])})"
        lines += [
            f"| {processor} | {row['sha256'][:12]} | {threads} | "
            f"{_spread(speed['inference_ms'])} | {speed['file_to_decision_ms']['p50']:.1f} | "
            f"{row['peak_memory_mb']:.0f} |"
            for threads, speed in row["speed"].items()
        ]
    return "\n".join(lines) + (
        f"\n\nP(fractured) of {same} of the {len(there)} test images is the same in all six decimals.\n"
    )


def _unlike() -> str:
    parts = []
    for path in sorted((RESULTS / "unlike").glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        kind = "with" if result["typicality"] else "without"
        parts.append(
            f"`{result['model']}` (SHA-256 {result['model_sha256'][:12]}), "
            f"{kind} the distance of its features:\n\n{unlike.table_of(result)}"
        )
    return "\n".join(parts)


def _runs() -> str:
    return run_log.table_of(json.loads(run_log.LOG.read_text(encoding="utf-8")))


def _aims() -> str:
    runs = [_json(EMBEDDED_RUN), _json(EMBEDDED_ELSEWHERE)]
    return aims.table_of(runs, _entries("folds.json"), shipped=EMBEDDED_ROW, exported="edge/onnx int8")


def _averaged() -> str:
    answers = folds.Answers.read(RESULTS / "folds.csv")
    pairs = (("edge (robust)", other) for other in ("edge (probed)", "edge (lite2)"))
    return "".join(f"{averaged.averaged(answers, pair)}\n" for pair in pairs)


def _folds() -> str:
    return folds.table_of(_entries("folds.json"))


def _ablations() -> str:
    return folds.table_of(_entries("ablations.json"))


def _larger() -> str:
    """What the larger variant adds to the network that is the same otherwise, and to the one that ships."""
    large = f'edge (probed, {_DEEP}, options.variant="lite2")'
    ablations, networks = (folds.Answers.read(RESULTS / name) for name in ("ablations.csv", "folds.csv"))
    answers = folds.Answers(ablations.images, networks.given | ablations.given)
    return "".join(
        f"The AUROC of {large} less that of {other}: {interval(answers.change(other, large, resamples=2000))}.\n"
        for other in (f"edge (probed, {_DEEP})", "edge (robust)")
    )


def _frozen() -> str:
    return frozen_features.table_of(_json("frozen-features.json"))


def _frozen_deep() -> str:
    return frozen_features.table_of(_json("frozen-features-deep.json"))


def _frozen_larger() -> str:
    return frozen_features.table_of(_json("frozen-features-lite2.json"))


def _learning_curve(name: str) -> str:
    result = _json(name)
    lines = ["| training images | fractured | epochs | validation AUROC |", "|" + " --- |" * 4]
    lines += [
        f"| {point['images']} | {point['fractured']} | {point['epochs']} | {interval(point['auroc'])} |"
        for point in result["points"]
    ]
    spec = result["recipe"]["preprocessing"]
    return "\n".join(lines) + (
        f"\n\n`{result['model']}`, {spec['height']}x{spec['width']}, from {result['initial_weights']}, seed "
        f"{result['seed']}; {result['validation']['images']} validation images, "
        f"{result['validation']['fractured']} of them fractured. {result['device']}.\n"
    )


def _stress() -> str:
    result = _json("stress-embedded.json")
    name, worst = stress.worst(result)
    return (
        f"The {result['split']} split, `{result['model']}` (SHA-256 {result['model_sha256'][:12]}); 95 % "
        f"intervals, changes against the unchanged images in the same draws of a bootstrap over groups.\n\n"
        f"{stress.tables_of(result)}\nThe worst of the degradations: {name}, AUROC {interval(worst.to_json())}.\n"
    )


def _robust() -> str:
    """On validation, the embedded model, the one before, and the same recipe once more."""
    results = {
        f"{name} (SHA-256 {result['model_sha256'][:12]})": result
        for name, result in (
            ("run 1", _json("stress-val-before.json")),
            ("run 11", _json("stress-val-embedded.json")),
            ("run 16", _json("stress-val-rebuilt.json")),
        )
    }
    first = next(iter(results.values()))
    return (
        f"{stress.side_by_side(results)}\nAUROC on the {first['split']} split with 95 % intervals of a bootstrap "
        f"over groups; {first['pointing']['images']} of its images are fractured.\n"
    )


BLOCKS: MappingProxyType[str, Callable[[], str]] = MappingProxyType(
    {
        "benchmark": _benchmark,
        "card": _card,
        "startup": _startup,
        "device": _device,
        "splits": _splits,
        "training": _training,
        "policies": _policies,
        "before": _before,
        "reproduction": reproduction.table,
        "leak": reproduction.leak,
        "formats": formats.table,
        "speed": _training_speed,
        "onednn": _onednn,
        "emulation": _emulation,
        "older": _older,
        "two": _two,
        "unlike": _unlike,
        "runs": _runs,
        "aims": _aims,
        "folds": _folds,
        "averaged": _averaged,
        "ablations": _ablations,
        "larger": _larger,
        "frozen": _frozen,
        "frozen_deep": _frozen_deep,
        "frozen_larger": _frozen_larger,
        "learning": partial(_learning_curve, "learning-curve.json"),
        "learning_corrected": partial(_learning_curve, "learning-curve-corrected.json"),
        "stress": _stress,
        "robust": _robust,
    }
)


def filled(text: str) -> str:
    """`text` with every block made anew.

    Raises:
        KeyError: A block of an unknown name.
    """
    return re.sub(
        r"(<!-- (\w+) -->\n).*?(<!-- /\2 -->)",
        lambda match: f"{match[1]}{BLOCKS[match[2]]()}{match[3]}",
        text,
        flags=re.DOTALL,
    )


def main() -> None:
    """Fill, or check with ``--check`` (exit status 1 when something is out of date)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args().check
    stale = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        new = filled(text)
        if new != text:
            stale.append(document.name)
            if not check:
                atomic_write_text(document, new)
    if check and stale:
        sys.exit(f"out of date: {', '.join(stale)}; run python -m benchmarks.studies documents")


if __name__ == "__main__":
    main()
