"""The sentences that both forms of a report share: on what, with what, and what the tables say."""

from benchmarks.records.environment import Environment
from benchmarks.records.result import BenchmarkResult
from benchmarks.report.rows import measured
from train.evaluation.formatting import counted
from train.evaluation.metrics import Estimate

NOT_A_DEVICE = "For research and education. Not a medical device."
POSITIVE = "Fractured is the positive class; every probability is P(fractured)."
INTERVALS = (
    "95 % intervals in brackets: Wilson for proportions, bootstrap over groups (images of one patient or series "
    "are not independent) for the others. Every model is judged at the threshold that was frozen on its "
    "validation images, in every format at the same one."
)
FRONT = (
    "On the front are the files that no other file beats in size, speed and AUROC together; failed rows, rows "
    "that the export gate rejected, Keras and OpenVINO take no part."
)
SUBGROUPS = (
    "Small groups have wide intervals, and images of which nothing is known are in none. What shows several body "
    "parts is a group of its own (hand+leg)."
)
PAIRED = (
    "Each format against the Keras model it was made from, on the same images: a paired bootstrap over groups "
    "for the changes, and McNemar's exact test for the decisions (how often only one of the two is right)."
)


def on_what(result: BenchmarkResult) -> str:
    """Say which images judge, and how many."""
    data = result.data
    text = (
        f"The {data.split} split ({data.layout}): {data.images} images of {data.groups} groups, "
        f"{data.fractured} of them fractured. Fingerprint of the data: {data.fingerprint[:12]}."
    )
    if data.groups == data.images:
        # As of a folder that came with its own splits.
        text += (
            " Every image is a group of its own: where several are of one patient, the intervals are narrower "
            "than they should be."
        )
    return text


def how_many(result: BenchmarkResult) -> str:
    """Count models, rows and failures."""
    rows, failed = result.rows, sum(row.error is not None for row in result.rows)
    rejected = sum(row.gate == "rejected" for row in rows)
    return (
        f"{counted(len(result.models), 'model')} in {counted(len(rows), 'row')} (a row is one file through one "
        f"runtime): {failed} failed, {rejected} rejected by the export gate."
    )


def machine(at: Environment) -> str:
    """Name processor and system."""
    flags = f"; {', '.join(at.cpu_flags)}" if at.cpu_flags else ""
    memory = f", {at.memory_gb} GiB" if at.memory_gb else ""
    return f"{at.cpu} ({at.cores} cores{flags}){memory}, {at.os}, Python {at.python}"


def versions(at: Environment) -> str:
    """List packages and their versions."""
    return ", ".join(f"{name} {version}" for name, version in sorted(at.versions.items()))


def how_timed(result: BenchmarkResult) -> str:
    """Say what the latencies are of."""
    settings = result.settings
    text = (
        f"Latency: {settings.runs} runs at batch 1 after warm-up, in {settings.rounds} rounds in which the "
        f"rows take turns, each row in a process of its own. First answer and peak memory: "
        f"{settings.first_answers} fresh processes, from start to the first probability."
    )
    if harness := result.harness:
        overhead = harness.overhead_us
        text += f" A runner that does nothing takes {overhead.p50:.1f} µs (p90 {overhead.p90:.1f} µs)."
    return text


def beyond_chance(result: BenchmarkResult) -> str:
    """List the formats that differ from their source by more than chance."""
    compared = {row.id: row.against_source for row in measured(result) if row.against_source}
    worse = [name for name, change in compared.items() if _below_zero(change.auroc_change)]
    different = [name for name, change in compared.items() if change.mcnemar.p < 0.05]
    return (
        f"Of {counted(len(compared), 'file')}, with an AUROC below the source's, zero outside the 95 % interval: "
        f"{_listed(worse)}. With decisions that differ from the source's beyond chance (p < 0.05, as one in "
        f"twenty does by chance alone): {_listed(different)}."
    )


def unfamiliar(result: BenchmarkResult) -> str:
    """Warn where a model may have been trained on these images; say nothing otherwise."""
    names = [name for name, model in result.models.items() if not model.splits_of_training]
    if not names:
        return ""
    return (
        f"These are not the data and splits of the training of {', '.join(names)}: some of the images may have "
        "been seen then, which would flatter the figures."
    )


def elsewhere(result: BenchmarkResult) -> str:
    """Say to which processor a recommendation is tied."""
    return (
        f"Measured on {result.environment.cpu}; on another processor the order of speed may be another: run "
        "fracture-edge benchmark there, or fracture-edge doctor."
    )


def _below_zero(estimate: Estimate) -> bool:
    # Nothing that is not defined is: NaN.
    return estimate.high < 0


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"
