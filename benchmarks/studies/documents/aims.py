"""What the embedded model was to reach, and what it reaches: a table from the results in the tree."""

from collections.abc import Sequence
from typing import Any

from train.evaluation.formatting import interval, megabytes, milliseconds

#: AUROC on images that the model has not seen; and int8 less float.
AUROC, ROUNDING = 0.95, 0.005
#: Bytes; milliseconds of one inference on one thread; expected calibration error.
SIZE, LATENCY, ECE = 5e6, 8.0, 0.05


def table_of(
    runs: Sequence[dict[str, Any]], folds: Sequence[dict[str, Any]], *, shipped: str, exported: str
) -> str:
    """The table.

    Args:
        runs: Of `fracture-edge benchmark` on the test split, each on another processor; the first has both rows.
        folds: As `benchmarks.studies.edge_model.cross_validated` writes them; the first is the network of the
            embedded model.
        shipped: Id of the embedded model's row in each of `runs`.
        exported: Id of the row of the same weights, exported beside their float file.

    Returns:
        Markdown. The latency is reached on a processor or not; every other aim is reached or not.
    """
    rows = {row["id"]: row for row in runs[0]["rows"]}
    row, edge = rows[shipped], folds[0]
    metrics, change = row["quality"]["metrics"], rows[exported]["against_source"]["auroc_change"]
    latencies = [
        next(each for each in run["rows"] if each["id"] == shipped)["speed"]["1"]["inference_ms"]["p50"]
        for run in runs
    ]
    fast = sum(latency <= LATENCY for latency in latencies)
    others = [entry for entry in folds if entry["model"] != edge["model"]]
    ahead = all(entry["auroc_change"]["high"] < 0 for entry in others)
    named = ", ".join(f"{entry['model']} by {interval(_turned(entry['auroc_change']))}" for entry in others)
    lines: list[tuple[str, str, bool | str]] = [
        (
            f"AUROC of {AUROC} on the test split, int8",
            interval(metrics["auroc"]),
            metrics["auroc"]["value"] >= AUROC,
        ),
        (
            f"AUROC of {AUROC} on five folds, pooled",
            interval(edge["pooled"]["auroc"]),
            edge["pooled"]["auroc"]["value"] >= AUROC,
        ),
        ("ahead of the three networks on the same folds", named, ahead),
        (f"a file of at most {SIZE / 1e6:.0f} MB", f"{megabytes(row['bytes'])} MB", row["bytes"] <= SIZE),
        (
            f"at most {LATENCY:.0f} ms for one inference on one thread (median)",
            ", ".join(
                f"{milliseconds(latency)} ms ({run['environment']['cpu']})"
                for latency, run in zip(latencies, runs, strict=True)
            ),
            fast == len(runs) if fast in (0, len(runs)) else f"on {fast} of {len(runs)} processors",
        ),
        (f"calibration error of at most {ECE}", interval(metrics["ece"]), metrics["ece"]["value"] <= ECE),
        (
            f"AUROC in int8 within {ROUNDING} of float, on the test split",
            interval(change),
            abs(change["value"]) <= ROUNDING,
        ),
    ]
    text = ["| aim | measured | reached |", "| --- | --- | --- |"]
    text += [f"| {aim} | {found} | {_said(reached)} |" for aim, found, reached in lines]
    return "\n".join(text) + "\n"


def _said(reached: bool | str) -> str:
    return reached if isinstance(reached, str) else "yes" if reached else "no"


def _turned(change: dict[str, float]) -> dict[str, float]:
    """Ours less theirs, from theirs less ours."""
    return {"value": -change["value"], "low": -change["high"], "high": -change["low"]}
