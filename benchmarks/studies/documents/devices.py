"""Blocks of the documents about speed, memory and other processors."""

from benchmarks.report import prose
from benchmarks.speed.device_cost import DeviceCost
from benchmarks.speed.latency import Percentiles
from benchmarks.studies.cost.training_speed import TrainingSpeed
from benchmarks.studies.documents.results import (
    EMBEDDED_ROW,
    OLDER,
    RESULTS,
    RUN,
    read_predictions,
    read_run,
    read_stored,
    row_of,
)
from benchmarks.studies.processors.arm64_result import ArmProof
from benchmarks.studies.processors.arm64_result import table_of as table_of_proof
from benchmarks.studies.processors.comparison import Emulation
from benchmarks.studies.robustness.unlike import Unlike, table_of
from train.evaluation.formatting import NONE, markdown_table, megabytes, times
from train.json_records import from_plain, read_json


def startup() -> str:
    """Describe the time and memory of the process that classifies one image."""
    result = read_stored(DeviceCost, "device-cost.json")
    start, machine = result.startup, result.environment
    return (
        f"The whole process `fracture-edge classify one.png`, from start to exit, takes\n"
        f"{start.classify.p50:.0f} ms (p90 {start.classify.p90:.0f} ms): {times(start.ratio)} the "
        f"{start.yardstick.p50:.0f} ms of\n"
        f'`python -c "import numpy, PIL.Image, onnxruntime"`, started in turn, {start.classify.runs} runs '
        f"of each, and needs {_megabytes(result.peak_memory_mb.one)} MB at its peak\n"
        f"({machine.cpu}, {machine.cores} cores; `python -P -m benchmarks.speed.device_cost`).\n"
    )


def device() -> str:
    """Compare the time of a prediction with yardsticks in a table, and describe the peak memory."""
    result = read_stored(DeviceCost, "device-cost.json")
    start, images, memory, machine = (
        result.startup,
        result.large_jpegs,
        result.peak_memory_mb,
        result.environment,
    )
    rows = [
        (
            "whole process of `classify one.png`",
            _spread(start.classify),
            '`python -c "import numpy, PIL.Image, onnxruntime"`',
            _spread(start.yardstick),
            times(start.ratio),
        ),
        *(
            (
                f"a {large.stored} grey JPEG of {megabytes(large.bytes)} MB (grain of {large.grain:g} "
                "grey levels), from file to decision",
                _spread(large.file_to_decision),
                f"libjpeg alone, at the same reduced scale ({large.decoded})",
                _spread(large.decode),
                times(large.ratio),
            )
            for large in images
        ),
    ]
    table = markdown_table(("what", "ms (p90)", "yardstick", "ms (p90)", "ratio"), rows)
    return (
        f"{table}\n"
        f"Peak memory of a process that classifies one small picture {_megabytes(memory.one)} MB, the large JPEG "
        f"{_megabytes(memory.large_jpeg)} MB, {result.many} small pictures with `--jobs 1` "
        f"{_megabytes(memory.many)} MB.\n"
        f"{start.classify.runs} processes and {images[0].decode.runs} decisions of each, in turns, "
        f"with default threads; the ratio is the median of the turns' with its 95 % interval. "
        f"{machine.cpu}, {machine.cores} cores,\nPython {machine.python}, onnxruntime "
        f"{machine.versions['onnxruntime']}, NumPy {machine.versions['numpy']}, "
        f"Pillow {machine.versions['pillow']}.\n"
    )


def _spread(milliseconds: Percentiles) -> str:
    return f"{milliseconds.p50:.1f} ({milliseconds.p90:.1f})"


def _megabytes(memory: float | None) -> str:
    return NONE if memory is None else f"{memory:.0f}"


def training_speed() -> str:
    """Render the training speed with and without the input pipeline as a table."""
    result = read_stored(TrainingSpeed, "training-speed.json")
    table = markdown_table(
        ("network", "input", "trained", "precision", "images/s", "constant batch", "ratio (rounds)"),
        (
            (
                row.model,
                row.input,
                row.trainable,
                row.precision,
                f"{row.images_per_second:.1f}",
                f"{row.images_per_second_constant_batch:.1f}",
                f"{row.ratio:.2f} ({', '.join(f'{ratio:.2f}' for ratio in row.ratios)})",
            )
            for row in result.models
        ),
    )
    first = result.models[0]
    return (
        f"{table}\nBatches of {first.batch_size}, {result.batches} of them a round, {result.rounds} rounds; the "
        f"ratio is the median of the rounds'. {first.device}, {result.environment.cpu}.\n"
    )


def onednn() -> str:
    """Compare the training speed of two sets of kernels on a processor without AVX-512."""
    ours = read_stored(TrainingSpeed, "training-speed-avx2.json")
    own = read_stored(TrainingSpeed, "training-speed-avx2-own-kernels.json")
    rows = []
    for row, slow in zip(ours.models, own.models, strict=True):
        fast, slower = row.images_per_second, slow.images_per_second
        rows.append((row.model, row.input, f"{fast:.1f}", f"{slower:.1f}", f"{fast / slower:.1f}"))
    table = markdown_table(("network", "input", "images/s", "by TensorFlow's own kernels", "ratio"), rows)
    return (
        f"{table}\nBatches of {ours.models[0].batch_size}, {ours.batches} of them a round, median of "
        f"{ours.rounds} rounds. {prose.describe_machine(ours.environment)}.\n"
    )


def emulation() -> str:
    """Render the comparison with emulated processors as a table."""
    rows = []
    for path in sorted((RESULTS / "emulation").glob("*.json")):
        result = from_plain(Emulation, read_json(path), str(path))
        there = result.emulated
        # Older files count two images without a prediction as the same decision.
        same = result.answered - sum(
            None not in (pair.native.probability, pair.emulated.probability) for pair in result.differing
        )
        rows.append(
            (
                f"`{result.model}`, {result.model_sha256[:12]}",
                "plain" if result.plain else "by our classifier",
                f"{there.architecture} {there.cpu}",
                result.answered,
                same,
                f"{result.largest_difference:.1e} / {result.mean_difference:.1e}",
                there.qemu.split()[2],
            )
        )
    header = (
        "file, SHA-256",
        "opened",
        "emulated processor",
        "images",
        "same decisions",
        "largest / mean difference of P",
        "qemu",
    )
    return markdown_table(header, rows)


def arm64() -> str:
    """Render the proof on ARM."""
    if not (RESULTS / "arm64.json").is_file():
        return "No result is stored: `make arm64` has not been run to its end yet.\n"
    return table_of_proof(read_stored(ArmProof, "arm64.json"))


def older() -> str:
    """Render the speed of version 0.2 of the embedded model on two processors, and compare its predictions."""
    runs = [read_run(name) for name in (RUN, OLDER)]
    here, there = ({line["path"]: line[EMBEDDED_ROW] for line in read_predictions(run)} for run in runs)
    same = sum(here.get(path) == probability for path, probability in there.items())
    header = (
        "processor",
        "file, SHA-256",
        "threads",
        "inference p50 (p90) ms",
        "file to decision p50 ms",
        "peak MB",
    )
    rows = []
    for run in runs:
        row = row_of(run, EMBEDDED_ROW)
        processor = f"{run.environment.cpu} ({', '.join(run.environment.cpu_flags)})"
        for threads, speed in (row.speed or {}).items():
            decision = NONE if speed.file_to_decision_ms is None else f"{speed.file_to_decision_ms.p50:.1f}"
            memory = _megabytes(row.peak_memory_mb)
            timed = row.sha256_of_times[:12]
            rows.append((processor, timed, threads, _spread(speed.inference_ms), decision, memory))
    return markdown_table(header, rows) + (
        f"\nP(fractured) of {same} of the {len(there)} test images is the same in all six decimals.\n"
    )


def unlike() -> str:
    """Render the numbers of images that were flagged as unusable as tables."""
    parts = []
    for path in sorted((RESULTS / "unlike").glob("*.json")):
        result = from_plain(Unlike, read_json(path), str(path))
        kind = "with" if result.typicality else "without"
        parts.append(
            f"`{result.model}` (SHA-256 {result.model_sha256[:12]}), "
            f"{kind} the distance of its features:\n\n{table_of(result)}"
        )
    return "\n".join(parts)
