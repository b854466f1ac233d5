"""Blocks of the documents about speed, and about other processors."""

import json
from dataclasses import asdict

from benchmarks.environment import Environment
from benchmarks.report import prose
from benchmarks.studies.documents.results import (
    EMBEDDED_ELSEWHERE,
    EMBEDDED_ROW,
    EMBEDDED_RUN,
    OLDER,
    RESULTS,
    RUN,
    read_predictions,
    read_result,
    read_run,
    row_of,
)
from benchmarks.studies.robustness.unlike import table_of
from train.evaluation.formatting import NONE, megabytes, times
from train.json_records import from_plain


def startup() -> str:
    """Say how long the process of one answer takes."""
    result = read_result("device-cost.json")
    start, machine = result["startup"], result["environment"]
    return (
        f"The whole process `fracture-edge classify one.png`, from start to exit, takes\n"
        f"{start['classify']['p50']:.0f} ms (p90 {start['classify']['p90']:.0f} ms): {times(start['ratio'])} the "
        f"{start['yardstick']['p50']:.0f} ms of\n"
        f'`python -c "import numpy, PIL.Image, onnxruntime"`, started in turn, {start["classify"]["runs"]} runs '
        f"of each, and needs {result['peak_memory_mb']['one']:.0f} MB at its peak\n"
        f"({machine['cpu']}, {machine['cores']} cores; `python -P -m benchmarks.speed.device_cost`).\n"
    )


def device() -> str:
    """Compare what an answer costs with its yardsticks, and say what memory it needs."""
    result = read_result("device-cost.json")
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


def training_speed() -> str:
    """Tabulate images a second in training, beside a constant batch."""
    result = read_result("training-speed.json")
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


def onednn() -> str:
    """Compare training by two sets of kernels on a processor without AVX-512."""
    ours, own = read_result("training-speed-avx2.json"), read_result("training-speed-avx2-own-kernels.json")
    machine = from_plain(Environment, ours["environment"], "training-speed-avx2.json")
    lines = ["| network | input | images/s | by TensorFlow's own kernels | ratio |", "|" + " --- |" * 5]
    for row, slow in zip(ours["models"], own["models"], strict=True):
        fast, slower = row["images_per_second"], slow["images_per_second"]
        lines.append(f"| {row['model']} | {row['input']} | {fast:.1f} | {slower:.1f} | {fast / slower:.1f} |")
    return "\n".join(lines) + (
        f"\n\nBatches of {ours['models'][0]['batch_size']}, {ours['batches']} of them a round, median of "
        f"{ours['rounds']} rounds. {prose.machine(machine)}.\n"
    )


def emulation() -> str:
    """Tabulate what emulated processors decided otherwise."""
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


def older() -> str:
    """Compare two processors by the embedded model of version 0.2."""
    return _on_two(RUN, OLDER)


def two() -> str:
    """Compare two processors by the embedded model."""
    return _on_two(EMBEDDED_RUN, EMBEDDED_ELSEWHERE)


def _on_two(first: str, second: str) -> str:
    """Tabulate the speed of one file on two processors, and say whether it answers the same."""
    runs = [read_run(name) for name in (first, second)]
    here, there = ({line["path"]: line[EMBEDDED_ROW] for line in read_predictions(run)} for run in runs)
    same = sum(here.get(path) == answer for path, answer in there.items())
    lines = [
        "| processor | file, SHA-256 | threads | inference p50 (p90) ms | file to decision p50 ms | peak MB |",
        "|" + " --- |" * 6,
    ]
    for run in runs:
        row = row_of(run, EMBEDDED_ROW)
        processor = f"{run.environment.cpu} ({', '.join(run.environment.cpu_flags)})"
        memory = NONE if row.peak_memory_mb is None else f"{row.peak_memory_mb:.0f}"
        for threads, speed in (row.speed or {}).items():
            whole = speed.file_to_decision_ms
            lines.append(
                f"| {processor} | {row.sha256[:12]} | {threads} | {_spread(asdict(speed.inference_ms))} | "
                f"{NONE if whole is None else f'{whole.p50:.1f}'} | {memory} |"
            )
    return "\n".join(lines) + (
        f"\n\nP(fractured) of {same} of the {len(there)} test images is the same in all six decimals.\n"
    )


def unlike() -> str:
    """Tabulate which pictures were flagged as unusable."""
    parts = []
    for path in sorted((RESULTS / "unlike").glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        kind = "with" if result["typicality"] else "without"
        parts.append(
            f"`{result['model']}` (SHA-256 {result['model_sha256'][:12]}), "
            f"{kind} the distance of its features:\n\n{table_of(result)}"
        )
    return "\n".join(parts)
