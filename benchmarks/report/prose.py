"""Sentences of the Markdown and HTML reports about data, machine, timing and results."""

from benchmarks.records.environment import Environment
from benchmarks.records.measured_row import PREDICTED_PART
from benchmarks.records.result import BenchmarkResult
from benchmarks.report.rows import measured, quality_of
from train.evaluation.formatting import counted
from train.evaluation.metrics import Estimate

NOT_A_DEVICE = "For research and education. Not a medical device."
POSITIVE = "Fractured is the positive class; every probability is P(fractured)."
INTERVALS = (
    "95 % intervals in brackets: Wilson for proportions, bootstrap over groups (images of one patient or series "
    "are not independent) for the others. Every model is judged at the threshold that was frozen before (on "
    "validation images or out of fold), in every format at the same one."
)
FRONT = (
    "On the front are the files that no other file beats in size, speed and AUROC together; failed rows, rows "
    "that the export gate rejected, Keras and OpenVINO take no part."
)
_SMALL_GROUPS = "Small groups have wide intervals, and images of which nothing is known are in none."
SUBGROUPS = f"{_SMALL_GROUPS} What shows several body parts is a group of its own (hand+leg)."
PREDICTED_PARTS = (
    "The data say no body parts: the predicted ones are the model's own, the likeliest where it sees several, and "
    "the model may be wrong."
)
PAIRED = (
    "Each format against the Keras model it was made from, on the same images: a paired bootstrap over groups "
    "for the changes, and McNemar's exact test for the decisions (how often only one of the two is right)."
)


def describe_data(result: BenchmarkResult) -> str:
    """Describe the images of the evaluation."""
    data = result.data
    text = (
        f"The {data.split} split ({data.layout}): {data.images} images of {data.groups} groups, "
        f"{data.fractured} of them fractured. Fingerprint of the data: {data.fingerprint[:12]}."
    )
    if data.groups == data.images:
        # For example in a data folder with predefined splits.
        text += (
            " Every image is a group of its own: where several are of one patient, the intervals are narrower "
            "than they should be."
        )
    return text


def describe_rows(result: BenchmarkResult) -> str:
    """Describe the number of models, rows and failures."""
    rows, failed = result.rows, sum(row.error is not None for row in result.rows)
    rejected = sum(row.gate == "rejected" for row in rows)
    return (
        f"{counted(len(result.models), 'model')} in {counted(len(rows), 'row')} (a row is one file through one "
        f"runtime): {failed} failed, {rejected} rejected by the export gate."
    )


def describe_machine(at: Environment) -> str:
    """Describe processor, memory and operating system."""
    flags = f"; {', '.join(at.cpu_flags)}" if at.cpu_flags else ""
    memory = f", {at.memory_gb} GiB" if at.memory_gb else ""
    return f"{at.cpu} ({at.cores} cores{flags}){memory}, {at.os}, Python {at.python}"


def list_versions(at: Environment) -> str:
    """List the packages with their versions."""
    return ", ".join(f"{name} {version}" for name, version in sorted(at.versions.items()))


def describe_timing(result: BenchmarkResult) -> str:
    """Describe how latency and memory were measured."""
    settings = result.settings
    text = (
        f"Latency: {settings.runs} runs at batch 1 after warm-up, in {settings.rounds} rounds in which the "
        f"rows take turns, each row in a process of its own. First answer and peak memory: "
        f"{settings.first_answers} fresh processes, from start to the first probability."
    )
    if harness := result.harness:
        overhead = harness.overhead_us
        text += f" A runner that does nothing takes {overhead.p50:.1f} µs (p90 {overhead.p90:.1f} µs)."
    for row in result.rows:
        if row.timed_sha256:
            text += (
                f" Times and memory of {row.id} are those of the file with SHA-256 {row.timed_sha256[:12]}, which "
                f"was written again since with the same probabilities."
            )
    return text


def describe_subgroups(result: BenchmarkResult) -> str:
    """Describe how images are divided into subgroups, and whose body parts they are."""
    groups = (group for row in measured(result) for group in quality_of(row).subgroups)
    predicted = any(group.by == PREDICTED_PART for group in groups)
    return f"{_SMALL_GROUPS} {PREDICTED_PARTS}" if predicted else SUBGROUPS


def describe_significance(result: BenchmarkResult) -> str:
    """List the formats that differ significantly from their source."""
    compared = {row.id: row.against_source for row in measured(result) if row.against_source}
    worse = [name for name, change in compared.items() if _below_zero(change.auroc_change)]
    different = [name for name, change in compared.items() if change.mcnemar.p < 0.05]
    return (
        f"Of {counted(len(compared), 'file')}, with an AUROC below the source's, zero outside the 95 % interval: "
        f"{_listed(worse)}. With decisions that differ from the source's beyond chance (p < 0.05, as one in "
        f"twenty does by chance alone): {_listed(different)}."
    )


def warn_of_other_data(result: BenchmarkResult) -> str:
    """Warn if a model may have been trained on these images; return an empty string otherwise."""
    names = [name for name, model in result.models.items() if not model.splits_of_training]
    if not names:
        return ""
    return (
        f"These are not the data and splits of the training of {', '.join(names)}: some of the images may have "
        "been seen then, which would flatter the figures."
    )


def describe_validity(result: BenchmarkResult) -> str:
    """Note that the recommendation holds for the measured processor only."""
    return (
        f"Measured on {result.environment.cpu}; on another processor the order of speed may be another: run "
        "fracture-edge benchmark there, or fracture-edge doctor."
    )


def _below_zero(estimate: Estimate) -> bool:
    # An undefined estimate is NaN, which is not below zero.
    return estimate.high < 0


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"
