"""What the embedded model was to reach, and what it reaches: a table from the results in the tree."""

from collections.abc import Sequence
from typing import Any

from benchmarks.text import interval, megabytes, milliseconds

#: AUROC on images that the model has not seen; and int8 less float.
AUROC, ROUNDING = 0.95, 0.005
#: Bytes; milliseconds of one inference on one thread; expected calibration error.
SIZE, LATENCY, ECE = 5e6, 8.0, 0.05


def table_of(run: dict[str, Any], folds: Sequence[dict[str, Any]], *, shipped: str, exported: str) -> str:
    """The table.

    Args:
        run: Of `fracture-edge benchmark` on the test split.
        folds: As `benchmarks.folds` writes them; the first is the network of the embedded model.
        shipped: Id of the embedded model's row in `run`.
        exported: Id of the row of the same weights, exported beside their float file.
    """
    rows = {row["id"]: row for row in run["rows"]}
    row, edge = rows[shipped], folds[0]
    metrics, change = row["quality"]["metrics"], rows[exported]["against_source"]["auroc_change"]
    latency = row["speed"]["1"]["inference_ms"]["p50"]
    others = [entry for entry in folds if entry["model"] != edge["model"]]
    ahead = all(entry["auroc_change"]["high"] < 0 for entry in others)
    named = ", ".join(f"{entry['model']} by {interval(_turned(entry['auroc_change']))}" for entry in others)
    lines = [
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
            f"at most {LATENCY:.0f} ms for one inference on one thread",
            f"{milliseconds(latency)} ms (median, {run['environment']['cpu']})",
            latency <= LATENCY,
        ),
        (f"calibration error of at most {ECE}", interval(metrics["ece"]), metrics["ece"]["value"] <= ECE),
        (
            f"AUROC in int8 within {ROUNDING} of float, on the test split",
            interval(change),
            abs(change["value"]) <= ROUNDING,
        ),
    ]
    text = ["| aim | measured | reached |", "| --- | --- | --- |"]
    text += [f"| {aim} | {found} | {'yes' if reached else 'no'} |" for aim, found, reached in lines]
    return "\n".join(text) + "\n"


def _turned(change: dict[str, float]) -> dict[str, float]:
    """Ours less theirs, from theirs less ours."""
    return {"value": -change["value"], "low": -change["high"], "high": -change["low"]}
