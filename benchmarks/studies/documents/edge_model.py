"""Blocks of the documents about how `edge` was found and what it withstands."""

from benchmarks.records.result import BenchmarkResult
from benchmarks.studies.documents.aims import Latency, Reached, table_of
from benchmarks.studies.documents.results import (
    EMBEDDED_ELSEWHERE,
    EMBEDDED_ROW,
    EMBEDDED_RUN,
    RESULTS,
    quality_of,
    read_run,
    read_stored,
    row_of,
)
from benchmarks.studies.edge_model import cross_validated, run_log
from benchmarks.studies.edge_model.answers import Answers
from benchmarks.studies.edge_model.averaged import averaged as average
from benchmarks.studies.edge_model.frozen_features import FrozenFeatures
from benchmarks.studies.edge_model.frozen_features import table_of as table_of_frozen
from benchmarks.studies.edge_model.learning_curve import Curve
from benchmarks.studies.robustness.stress_result import Stress, side_by_side
from fracture_edge.errors import FractureEdgeError
from train.evaluation.formatting import interval, markdown_table
from train.evaluation.metrics import UNDEFINED

_DEEP = "preprocessing.height=224, preprocessing.width=224, options.deep_evidence=true"


def runs() -> str:
    """Tabulate the log of training runs."""
    return run_log.table_of(run_log.read_log())


def aims() -> str:
    """Tabulate what was to be reached, and what was."""
    shipped, exported = read_run(EMBEDDED_RUN), row_of(read_run(EMBEDDED_RUN), "edge/onnx int8")
    figures = quality_of(shipped, EMBEDDED_ROW).metrics
    return table_of(
        Reached(
            auroc=figures["auroc"],
            ece=figures["ece"],
            size=row_of(shipped, EMBEDDED_ROW).bytes,
            rounding=UNDEFINED if exported.against_source is None else exported.against_source.auroc_change,
            latencies=tuple(_latency(run) for run in (shipped, read_run(EMBEDDED_ELSEWHERE))),
            networks=_networks("folds.json"),
        )
    )


def _latency(run: BenchmarkResult) -> Latency:
    speed = (row_of(run, EMBEDDED_ROW).speed or {}).get("1")
    if speed is None:
        raise FractureEdgeError(f"the run of {run.created} has no speed of '{EMBEDDED_ROW}' on one thread")
    return Latency(run.environment.cpu, speed.inference_ms.p50)


def _networks(name: str) -> list[cross_validated.Network]:
    return cross_validated.read_networks(RESULTS / name)


def averaged() -> str:
    """Say what two networks know together."""
    answers = Answers.read(RESULTS / "folds.csv")
    pairs = (("edge (robust)", other) for other in ("edge (probed)", "edge (lite2)"))
    return "".join(f"{average(answers, pair)}\n" for pair in pairs)


def folds() -> str:
    """Tabulate the networks that were cross-validated on the same folds."""
    return cross_validated.table_of(_networks("folds.json"))


def ablations() -> str:
    """Tabulate what single changes of a recipe do."""
    return cross_validated.table_of(_networks("ablations.json"))


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
    return table_of_frozen(read_stored(FrozenFeatures, "frozen-features.json"))


def frozen_deep() -> str:
    """Tabulate what frozen features tell with those of earlier maps."""
    return table_of_frozen(read_stored(FrozenFeatures, "frozen-features-deep.json"))


def frozen_larger() -> str:
    """Tabulate what frozen features of the larger variant tell."""
    return table_of_frozen(read_stored(FrozenFeatures, "frozen-features-lite2.json"))


def learning_curve(name: str) -> str:
    """Tabulate AUROC over the size of the training set."""
    result = read_stored(Curve, name)
    table = markdown_table(
        ("training images", "fractured", "epochs", "validation AUROC"),
        ((point.images, point.fractured, point.epochs, interval(point.auroc)) for point in result.points),
    )
    spec, judged = result.recipe["preprocessing"], result.validation
    return (
        f"{table}\n`{result.model}`, {spec['height']}x{spec['width']}, from {result.initial_weights}, seed "
        f"{result.seed}; {judged.images} validation images, {judged.fractured} of them fractured. "
        f"{result.device}.\n"
    )


def robust() -> str:
    """Compare on validation: the embedded model, the one before, and the same recipe once more."""
    results = {
        name: read_stored(Stress, file)
        for name, file in (
            ("run 1", "stress-val-before.json"),
            ("run 11", "stress-val-embedded.json"),
            ("run 16", "stress-val-rebuilt.json"),
        )
    }
    first = next(iter(results.values()))
    fractured = 0 if first.pointing is None else first.pointing.images
    columns = {f"{name} (SHA-256 {result.model_sha256[:12]})": result for name, result in results.items()}
    return (
        f"{side_by_side(columns)}\nAUROC on the {first.split} split with 95 % intervals of a bootstrap "
        f"over groups; {fractured} of its images are fractured.\n"
    )
