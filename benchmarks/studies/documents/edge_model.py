"""Blocks of the documents about how `edge` was found and what it withstands."""

import json

from benchmarks.studies.documents.aims import table_of
from benchmarks.studies.documents.results import (
    EMBEDDED_ELSEWHERE,
    EMBEDDED_ROW,
    EMBEDDED_RUN,
    RESULTS,
    read_entries,
    read_result,
)
from benchmarks.studies.edge_model import cross_validated, frozen_features, run_log
from benchmarks.studies.edge_model.averaged import averaged as average
from benchmarks.studies.edge_model.cross_validated import Answers
from benchmarks.studies.robustness import stress
from train.evaluation.formatting import interval

_DEEP = "preprocessing.height=224, preprocessing.width=224, options.deep_evidence=true"


def runs() -> str:
    """Tabulate the log of training runs."""
    return run_log.table_of(json.loads(run_log.LOG.read_text(encoding="utf-8")))


def aims() -> str:
    """Tabulate what was to be reached, and what was."""
    runs = [read_result(EMBEDDED_RUN), read_result(EMBEDDED_ELSEWHERE)]
    return table_of(runs, read_entries("folds.json"), shipped=EMBEDDED_ROW, exported="edge/onnx int8")


def averaged() -> str:
    """Say what two networks know together."""
    answers = Answers.read(RESULTS / "folds.csv")
    pairs = (("edge (robust)", other) for other in ("edge (probed)", "edge (lite2)"))
    return "".join(f"{average(answers, pair)}\n" for pair in pairs)


def folds() -> str:
    """Tabulate the networks that were cross-validated on the same folds."""
    return cross_validated.table_of(read_entries("folds.json"))


def ablations() -> str:
    """Tabulate what single changes of a recipe do."""
    return cross_validated.table_of(read_entries("ablations.json"))


def larger() -> str:
    """Say what the larger variant adds to the network that is the same otherwise, and to the one that ships."""
    large = f'edge (probed, {_DEEP}, options.variant="lite2")'
    ablations, networks = (Answers.read(RESULTS / name) for name in ("ablations.csv", "folds.csv"))
    answers = Answers(ablations.images, networks.given | ablations.given)
    return "".join(
        f"The AUROC of {large} less that of {other}: {interval(answers.change(other, large, resamples=2000))}.\n"
        for other in (f"edge (probed, {_DEEP})", "edge (robust)")
    )


def frozen() -> str:
    """Tabulate what frozen features tell."""
    return frozen_features.table_of(read_result("frozen-features.json"))


def frozen_deep() -> str:
    """Tabulate what frozen features tell with those of earlier maps."""
    return frozen_features.table_of(read_result("frozen-features-deep.json"))


def frozen_larger() -> str:
    """Tabulate what frozen features of the larger variant tell."""
    return frozen_features.table_of(read_result("frozen-features-lite2.json"))


def learning_curve(name: str) -> str:
    """Tabulate AUROC over the size of the training set."""
    result = read_result(name)
    lines = ["| training images | fractured | epochs | validation AUROC |", "|" + " --- |" * 4]
    lines += [
        f"| {point['images']} | {point['fractured']} | {point['epochs']} | {interval(point['auroc'])} |"
        for point in result["points"]
    ]
    spec = result["recipe"]["preprocessing"]
    return "\n".join(lines) + (
        f"\n\n`{result['model']}`, {spec['height']}x{spec['width']}, from {result['initial_weights']}, seed "
        f"{result['seed']}; {result['validation']['images']} validation images, "
        f"{result['validation']['fractured']} of them fractured. {result['device']}.\n"
    )


def robust() -> str:
    """Compare on validation: the embedded model, the one before, and the same recipe once more."""
    results = {
        f"{name} (SHA-256 {result['model_sha256'][:12]})": result
        for name, result in (
            ("run 1", read_result("stress-val-before.json")),
            ("run 11", read_result("stress-val-embedded.json")),
            ("run 16", read_result("stress-val-rebuilt.json")),
        )
    }
    first = next(iter(results.values()))
    return (
        f"{stress.side_by_side(results)}\nAUROC on the {first['split']} split with 95 % intervals of a bootstrap "
        f"over groups; {first['pointing']['images']} of its images are fractured.\n"
    )
