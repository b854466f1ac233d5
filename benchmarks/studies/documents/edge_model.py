"""Blocks of the documents about the development and robustness of the edge model."""

from functools import partial

from benchmarks.records.result import BenchmarkResult
from benchmarks.studies.documents.aims import Latency, Reached, table_of
from benchmarks.studies.documents.results import (
    EMBEDDED_NETWORK,
    EMBEDDED_ROW,
    EMBEDDED_RUN,
    RESULTS,
    quality_of,
    read_run,
    read_stored,
    row_of,
)
from benchmarks.studies.edge_model import cross_validated, run_log
from benchmarks.studies.edge_model.answers import FoldPredictions
from benchmarks.studies.edge_model.averaged import average_log_odds
from benchmarks.studies.edge_model.body_part_result import BodyPartResult, fractures_of
from benchmarks.studies.edge_model.body_part_result import table_of as table_of_body_part
from benchmarks.studies.edge_model.frozen_features import FrozenFeatures
from benchmarks.studies.edge_model.frozen_features import table_of as table_of_frozen
from benchmarks.studies.edge_model.learning_curve import Curve
from benchmarks.studies.edge_model.looking_result import WhereItLooks
from benchmarks.studies.edge_model.looking_result import table_of as table_of_looks
from benchmarks.studies.edge_model.points_result import WhereItPoints
from benchmarks.studies.edge_model.points_result import table_of as table_of_points
from benchmarks.studies.robustness.elsewhere import Elsewhere
from benchmarks.studies.robustness.elsewhere import table_of as table_of_elsewhere
from benchmarks.studies.robustness.stress_result import Stress, side_by_side
from fracture_edge.errors import FractureEdgeError
from train.evaluation.formatting import interval, markdown_table
from train.evaluation.metrics import UNDEFINED

_DEEP = "preprocessing.height=224, preprocessing.width=224, options.deep_evidence=true"


def runs() -> str:
    """Render the log of training runs as a table."""
    return run_log.table_of(run_log.read_log())


def aims() -> str:
    """Render the aims of the embedded model and what it reaches as a table."""
    shipped, exported = read_run(EMBEDDED_RUN), row_of(read_run(EMBEDDED_RUN), "edge/onnx int8")
    metrics = quality_of(shipped, EMBEDDED_ROW).metrics
    return table_of(
        Reached(
            auroc=metrics["auroc"],
            ece=metrics["ece"],
            size=row_of(shipped, EMBEDDED_ROW).bytes,
            rounding=UNDEFINED if exported.against_source is None else exported.against_source.auroc_change,
            latency=_latency(shipped),
            # That of the embedded model first.
            networks=sorted(_networks("folds.json"), key=lambda network: network.name != EMBEDDED_NETWORK),
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
    """Describe the AUROC of ensembles of two networks."""
    predictions = FoldPredictions.read(RESULTS / "folds.csv")
    pairs = (("edge (robust)", other) for other in ("edge (probed)", "edge (lite2)"))
    return "".join(f"{average_log_odds(predictions, pair)}\n" for pair in pairs)


def folds() -> str:
    """Render the networks cross-validated on the same folds as a table."""
    return cross_validated.table_of(_networks("folds.json"))


def ablations() -> str:
    """Render the ablations, single changes of a recipe, as a table."""
    return cross_validated.table_of(_networks("ablations.json"))


def larger() -> str:
    """Compare the larger variant with the otherwise identical network and with the shipped one."""
    large = f'edge (probed, {_DEEP}, options.variant="lite2")'
    ablations, networks = (FoldPredictions.read(RESULTS / name) for name in ("ablations.csv", "folds.csv"))
    both = FoldPredictions(ablations.images, networks.probabilities | ablations.probabilities)
    change = partial(both.auroc_change, resamples=2000)
    return "".join(
        f"The AUROC of {large} less that of {other}: {interval(change(other, large))}.\n"
        for other in (f"edge (probed, {_DEEP})", "edge (robust)")
    )


def frozen() -> str:
    """Render the AUROC of frozen features as a table."""
    return table_of_frozen(read_stored(FrozenFeatures, "frozen-features.json"))


def frozen_deep() -> str:
    """Render the AUROC of frozen features that include earlier feature maps as a table."""
    return table_of_frozen(read_stored(FrozenFeatures, "frozen-features-deep.json"))


def frozen_larger() -> str:
    """Render the AUROC of frozen features of the larger variant as a table."""
    return table_of_frozen(read_stored(FrozenFeatures, "frozen-features-lite2.json"))


def learning_curve(name: str) -> str:
    """Render AUROC by the size of the training set as a table.

    Args:
        name: Name of the results file.
    """
    result = read_stored(Curve, name)
    table = markdown_table(
        ("training images", "fractured", "epochs", "validation AUROC"),
        ((point.images, point.fractured, point.epochs, interval(point.auroc)) for point in result.points),
    )
    spec, validation = result.recipe["preprocessing"], result.validation
    return (
        f"{table}\n`{result.model}`, {spec['height']}x{spec['width']}, from {result.initial_weights}, seed "
        f"{result.seed}; {validation.images} validation images, {validation.fractured} of them fractured. "
        f"{result.device}.\n"
    )


def body_part() -> str:
    """Render the AUROC of body part and view on the test split as a table."""
    return table_of_body_part(read_stored(BodyPartResult, "body-part.json"), "test")


def by_body_part() -> str:
    """Render the metrics of fractures on the test split by predicted body part as a table."""
    return fractures_of(read_stored(BodyPartResult, "body-part.json"), "test")


def body_part_val() -> str:
    """Render the AUROC of body part and view on validation as a table."""
    return table_of_body_part(read_stored(BodyPartResult, "body-part.json"), "val")


def elsewhere() -> str:
    """Render the figures of the embedded model on X-rays of another data set as a table."""
    return table_of_elsewhere([read_stored(Elsewhere, "elsewhere.json")])


def looks() -> str:
    """Render where networks look that were trained in several ways as a table."""
    return table_of_looks(read_stored(WhereItLooks, "where-it-looks.json"))


def pointing(name: str) -> str:
    """Render how often localisers and cells of the same networks point at marked fractures as a table.

    Args:
        name: Name of the stored result.
    """
    return table_of_points(read_stored(WhereItPoints, name))


def robust() -> str:
    """Compare the robustness of the embedded model, its predecessor and a retrained one, on validation."""
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
