"""What the embedded model was to reach, and what it reaches: a table from the results in the tree."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.studies.edge_model.cross_validated import Network
from train.evaluation.formatting import interval, markdown_table, megabytes, milliseconds
from train.evaluation.metrics import UNDEFINED, Estimate

#: AUROC on images that the model has not seen; and int8 less float.
AUROC, ROUNDING = 0.95, 0.005
#: Bytes; milliseconds of one inference on one thread; expected calibration error.
SIZE, LATENCY, ECE = 5e6, 8.0, 0.05


@dataclass(frozen=True, slots=True)
class Latency:
    """Median of one inference on one thread.

    Attributes:
        cpu: Name of the processor.
        milliseconds: Median time.
    """

    cpu: str
    milliseconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What was measured of the embedded model.

    Attributes:
        auroc: AUROC on the test split, int8.
        ece: Expected calibration error on the test split.
        size: Size of the file in bytes.
        rounding: AUROC in int8 less that in float, on the test split.
        latencies: Latency on each processor.
        networks: Networks that were cross-validated; the first is that of the embedded model.
    """

    auroc: Estimate
    ece: Estimate
    size: int
    rounding: Estimate
    latencies: tuple[Latency, ...]
    networks: Sequence[Network]


def table_of(reached: Reached) -> str:
    """Tabulate the aims, as Markdown.

    The latency is reached on a processor or not; every other aim is reached or not.
    """
    edge, times = reached.networks[0], reached.latencies
    fast = sum(each.milliseconds <= LATENCY for each in times)
    # Ours less theirs, from theirs less ours; another recipe of the same network is no rival.
    changes = {
        entry.model: entry.auroc_change or UNDEFINED for entry in reached.networks if entry.model != edge.model
    }
    ahead = {model: Estimate(-change.value, -change.high, -change.low) for model, change in changes.items()}
    pooled = edge.pooled["auroc"]
    lines: list[tuple[str, str, bool | str]] = [
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
            ", ".join(f"{milliseconds(each.milliseconds)} ms ({each.cpu})" for each in times),
            fast == len(times) if fast in (0, len(times)) else f"on {fast} of {len(times)} processors",
        ),
        (f"calibration error of at most {ECE}", interval(reached.ece), reached.ece.value <= ECE),
        (
            f"AUROC in int8 within {ROUNDING} of float, on the test split",
            interval(reached.rounding),
            abs(reached.rounding.value) <= ROUNDING,
        ),
    ]
    rows = ((aim, found, _said(answer)) for aim, found, answer in lines)
    return markdown_table(("aim", "measured", "reached"), rows)


def _said(reached: bool | str) -> str:
    return reached if isinstance(reached, str) else "yes" if reached else "no"
