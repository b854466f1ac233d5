"""Table of the aims of the embedded model and its measured results."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.studies.edge_model.cross_validated import Network
from train.evaluation.formatting import interval, markdown_table, megabytes, milliseconds
from train.evaluation.metrics import UNDEFINED, Estimate

#: Minimum AUROC on images that the model has not seen; maximum difference of AUROC between int8 and float.
AUROC, ROUNDING = 0.95, 0.005
#: Maximum size in bytes, latency of one inference on one thread in milliseconds, and expected calibration error.
SIZE, LATENCY, ECE = 5e6, 8.0, 0.05


@dataclass(frozen=True, slots=True)
class Latency:
    """Median latency of one inference on one thread.

    Attributes:
        cpu: Name of the processor.
        milliseconds: Median latency in milliseconds.
    """

    cpu: str
    milliseconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """Measured results of the embedded model.

    Attributes:
        auroc: AUROC on the test split, int8.
        ece: Expected calibration error on the test split, int8.
        size: Size of the file in bytes.
        rounding: AUROC in int8 minus that in float, on the test split.
        latency: Latency on the processor of the benchmark.
        networks: Cross-validated networks; the first is that of the embedded model.
    """

    auroc: Estimate
    ece: Estimate
    size: int
    rounding: Estimate
    latency: Latency
    networks: Sequence[Network]


def table_of(reached: Reached) -> str:
    """Render the aims and results as a Markdown table."""
    edge, latency = reached.networks[0], reached.latency
    # The stored changes are theirs minus ours, so the sign is reversed; other recipes of our network are skipped.
    changes = {
        entry.model: entry.auroc_change if entry.compared_with == edge.name else None
        for entry in reached.networks
        if entry.model != edge.model
    }
    ahead = {
        model: Estimate(-change.value, -change.high, -change.low) if change else UNDEFINED
        for model, change in changes.items()
    }
    pooled = edge.pooled["auroc"]
    lines = [
        (f"AUROC of {AUROC} on the test split, int8", interval(reached.auroc), reached.auroc.value >= AUROC),
        (f"AUROC of {AUROC} on five folds, pooled", interval(pooled), pooled.value >= AUROC),
        (
            "ahead of the three networks on the same folds",
            ", ".join(f"{model} by {interval(change)}" for model, change in ahead.items()),
            all(change.low > 0 for change in ahead.values()),
        ),
        (f"a file of at most {SIZE / 1e6:.0f} MB", f"{megabytes(reached.size)} MB", reached.size <= SIZE),
        (
            f"at most {LATENCY:.0f} ms for one inference on one thread (median)",
            f"{milliseconds(latency.milliseconds)} ms ({latency.cpu})",
            latency.milliseconds <= LATENCY,
        ),
        (f"calibration error of at most {ECE}", interval(reached.ece), reached.ece.value <= ECE),
        (
            f"AUROC in int8 within {ROUNDING} of float, on the test split",
            interval(reached.rounding),
            abs(reached.rounding.value) <= ROUNDING,
        ),
    ]
    rows = ((aim, found, "yes" if is_reached else "no") for aim, found, is_reached in lines)
    return markdown_table(("aim", "measured", "reached"), rows)
