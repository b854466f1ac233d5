"""The sentences that both forms of a report share: on what, with what, and what the tables say."""

from typing import Any

from benchmarks.report.rows import measured
from train.evaluation.formatting import counted

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


def on_what(result: dict[str, Any]) -> str:
    """Data and counts."""
    data = result["data"]
    text = (
        f"The {data['split']} split ({data['layout']}): {data['images']} images of {data['groups']} groups, "
        f"{data['fractured']} of them fractured. Fingerprint of the data: {data['fingerprint'][:12]}."
    )
    if data["groups"] == data["images"]:
        # As of a folder that came with its own splits.
        text += (
            " Every image is a group of its own: where several are of one patient, the intervals are narrower "
            "than they should be."
        )
    return text


def how_many(result: dict[str, Any]) -> str:
    """Models, rows, failures."""
    rows, failed = result["rows"], sum(row["error"] is not None for row in result["rows"])
    rejected = sum(row["gate"] == "rejected" for row in rows)
    return (
        f"{counted(len(result['models']), 'model')} in {counted(len(rows), 'row')} (a row is one file through one "
        f"runtime): {failed} failed, {rejected} rejected by the export gate."
    )


def machine(result: dict[str, Any]) -> str:
    """Processor and system."""
    at = result["environment"]
    flags = f"; {', '.join(at['cpu_flags'])}" if at["cpu_flags"] else ""
    memory = f", {at['memory_gb']} GiB" if at.get("memory_gb") else ""
    return f"{at['cpu']} ({at['cores']} cores{flags}){memory}, {at['os']}, Python {at['python']}"


def versions(result: dict[str, Any]) -> str:
    """Packages and their versions."""
    return ", ".join(f"{name} {version}" for name, version in sorted(result["environment"]["versions"].items()))


def how_timed(result: dict[str, Any]) -> str:
    """What the latencies are of."""
    settings = result["settings"]
    text = (
        f"Latency: {settings['runs']} runs at batch 1 after warm-up, in {settings['rounds']} rounds in which the "
        f"rows take turns, each row in a process of its own. First answer and peak memory: "
        f"{settings['first_answers']} fresh processes, from start to the first probability."
    )
    if harness := result["harness"]:
        overhead = harness["overhead_us"]
        text += f" A runner that does nothing takes {overhead['p50']:.1f} µs (p90 {overhead['p90']:.1f} µs)."
    return text


def beyond_chance(result: dict[str, Any]) -> str:
    """Which formats differ from their source by more than chance."""
    compared = [row for row in measured(result) if row["against_source"]]
    worse = [row["id"] for row in compared if _below_zero(row["against_source"]["auroc_change"])]
    different = [row["id"] for row in compared if row["against_source"]["mcnemar"]["p"] < 0.05]
    return (
        f"Of {counted(len(compared), 'file')}, with an AUROC below the source's, zero outside the 95 % interval: "
        f"{_listed(worse)}. With decisions that differ from the source's beyond chance (p < 0.05, as one in "
        f"twenty does by chance alone): {_listed(different)}."
    )


def unfamiliar(result: dict[str, Any]) -> str:
    """A warning where a model may have been trained on these images, or nothing."""
    names = [name for name, model in result["models"].items() if not model["splits_of_training"]]
    if not names:
        return ""
    return (
        f"These are not the data and splits of the training of {', '.join(names)}: some of the images may have "
        "been seen then, which would flatter the figures."
    )


def elsewhere(result: dict[str, Any]) -> str:
    """To which processor a recommendation is tied."""
    return (
        f"Measured on {result['environment']['cpu']}; on another processor the order of speed may be another: run "
        "fracture-edge benchmark there, or fracture-edge doctor."
    )


def _below_zero(estimate: dict[str, float] | None) -> bool:
    return estimate is not None and estimate["high"] < 0


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"
