"""A benchmark's result as a Markdown table."""

from typing import Any

_METRICS = ("auroc", "accuracy", "precision", "recall", "specificity", "f1")

_OTHER_SPLITS = (
    "**These are not the data and splits of the training: the model may have seen some of the images.**"
)


def markdown(result: dict[str, Any]) -> str:
    """Write one table: a row per format, 95 % intervals in brackets, and under what it was measured."""
    data, machine = result["data"], result["environment"]
    header = ["format", "MB", *_METRICS, "inference p50 / p90 ms", "file to decision p50 ms"]
    lines = [
        f"{result['model']}: {data['split']} split, {data['images']} images of {data['groups']} groups, "
        f"{data['fractured']} fractured (the positive class); threshold {result['threshold']:.4f}, "
        "frozen on validation",
        *([] if data["splits_of_training"] else ["", _OTHER_SPLITS]),
        "",
        "| " + " | ".join(header) + " |",
        "|" + " --- |" * len(header),
    ]
    for row in result["formats"]:
        speed, whole = row["inference_ms"], row["file_to_decision_ms"]
        cells = [
            row["format"],
            f"{row['bytes'] / 1e6:.2f}",
            *(interval(row["metrics"][name]) for name in _METRICS),
            f"{speed['p50']:.1f} / {speed['p90']:.1f}",
            f"{whole['p50']:.1f}" if whole else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    if baseline := result["trivial_baseline"]["auroc"]:
        lines.append(f"| size and brightness alone | | {interval(baseline)} |" + " |" * (len(header) - 3))
    runs = result["formats"][0]["inference_ms"]["runs"]
    versions = machine["versions"]
    lines += [
        "",
        f"AUROC without the images that show metal hardware: {_without_hardware(result)}.",
        "",
        f"95 % intervals: Wilson for proportions, bootstrap over groups for AUROC and F1. Latency: {runs} runs, "
        f"batch 1, {result['threads']} thread(s), formats taking turns, on {machine['cpu']} "
        f"({machine['cores']} cores; {', '.join(machine['cpu_flags'])}), onnxruntime "
        f"{versions.get('onnxruntime', '?')}. Data fingerprint {data['fingerprint'][:12]}.",
    ]
    return "\n".join(lines) + "\n"


def _without_hardware(result: dict[str, Any]) -> str:
    figures = [
        f"{row['format']} {interval(row['auroc_without_hardware'])}"
        for row in result["formats"]
        if row["auroc_without_hardware"]
    ]
    return ", ".join(figures) or "not known here"


def interval(estimate: dict[str, float]) -> str:
    """``0.912 [0.880, 0.940]``."""
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"
