"""Every stored result can be read as the record of its study and written again unchanged."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.speed.device_cost import DeviceCost
from benchmarks.studies.cost.formats import ModelFormats
from benchmarks.studies.cost.layers import LayerTimes
from benchmarks.studies.cost.stability_result import ModelStability
from benchmarks.studies.cost.tflite import TfliteComparison
from benchmarks.studies.cost.training_speed import TrainingSpeed
from benchmarks.studies.documents.results import EMBEDDED_RUN, RESULTS, read_run, read_stored, row_of
from benchmarks.studies.edge_model.body_part_result import BodyPartResult
from benchmarks.studies.edge_model.cross_validated import Network
from benchmarks.studies.edge_model.frozen_features import FrozenFeatures
from benchmarks.studies.edge_model.learning_curve import Curve
from benchmarks.studies.edge_model.looking_result import WhereItLooks
from benchmarks.studies.edge_model.out_of_fold_result import OutOfFold
from benchmarks.studies.edge_model.points_result import WhereItPoints
from benchmarks.studies.edge_model.reproduction import Reproduced
from benchmarks.studies.edge_model.run_log import LoggedRun
from benchmarks.studies.gateway.abuse import AbuseResult
from benchmarks.studies.gateway.kills import KillResult
from benchmarks.studies.gateway.load import LoadResult
from benchmarks.studies.processors.arm64_result import ArmProof
from benchmarks.studies.processors.comparison import Emulation
from benchmarks.studies.robustness.elsewhere import Elsewhere
from benchmarks.studies.robustness.stress_result import Stress
from benchmarks.studies.robustness.unlike import Unlike
from benchmarks.studies.scale.ray_cluster import ArchiveResult
from benchmarks.studies.scale.shards import ShardsResult
from benchmarks.studies.scale.throughput import Throughput
from benchmarks.studies.serving.abuse import ServingAbuse
from benchmarks.studies.serving.container import ContainerResult
from benchmarks.studies.serving.equal import ServingEquality
from benchmarks.studies.serving.load import ServingLoad
from fracture_edge.errors import FractureEdgeError
from train.json_records import from_plain, read_json, to_plain

KINDS: dict[str, Any] = {
    "ablations.json": list[Network],
    "folds.json": list[Network],
    "edge-runs.json": list[LoggedRun],
    "archive.json": ArchiveResult,
    "arm64.json": ArmProof,
    "body-part.json": BodyPartResult,
    "device-cost.json": DeviceCost,
    "elsewhere.json": Elsewhere,
    "frozen-features*.json": FrozenFeatures,
    "learning-curve*.json": Curve,
    "out-of-fold.json": OutOfFold,
    "shards.json": ShardsResult,
    "stress-*.json": Stress,
    "tflite/*.json": TfliteComparison,
    "throughput.json": Throughput,
    "where-it-looks.json": WhereItLooks,
    "where-it-points.json": WhereItPoints,
    "where-it-points-deep.json": WhereItPoints,
    "training-speed*.json": TrainingSpeed,
    "emulation/*.json": Emulation,
    "formats/*.json": ModelFormats,
    "gateway/abuse.json": AbuseResult,
    "gateway/kills.json": KillResult,
    "gateway/kills-tls.json": KillResult,
    "gateway/load.json": LoadResult,
    "layers/*.json": LayerTimes,
    "reproduction/*.json": Reproduced,
    "serving/abuse.json": ServingAbuse,
    "serving/container-*.json": ContainerResult,
    "serving/equal.json": ServingEquality,
    "serving/load.json": ServingLoad,
    "stability/*.json": ModelStability,
    "unlike/*.json": Unlike,
}
FILES = {path: kind for pattern, kind in KINDS.items() for path in sorted(RESULTS.glob(pattern))}
#: Fields that files of older versions lack.
ADDED = {"variant", "deep_evidence", "onednn", "threads", "gate_version"}


def _without_added(written: Any, stored: Any) -> Any:
    """Return the values to write, without fields that are newer than the stored file."""
    if isinstance(stored, dict):
        return {
            name: _without_added(value, stored.get(name))
            for name, value in written.items()
            if name in stored or name not in ADDED
        }
    if isinstance(stored, list):
        return [_without_added(*pair) for pair in zip(written, stored, strict=True)]
    return written


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(RESULTS).as_posix())
def test_stored_results_are_written_again_unchanged(path: Path) -> None:
    stored = read_json(path)
    written = json.loads(json.dumps(to_plain(from_plain(FILES[path], stored, path.name))))
    assert _without_added(written, stored) == stored


def test_all_stored_results_have_a_record() -> None:
    runs = {path for path in RESULTS.glob("*.json") if "schema_version" in read_json(path)}
    assert set(RESULTS.rglob("*.json")) == FILES.keys() | runs


def test_unreadable_results_are_reported() -> None:
    with pytest.raises(FractureEdgeError, match=r"folds\.json: must contain a JSON object"):
        read_stored(Stress, "folds.json")
    with pytest.raises(FractureEdgeError, match="has no row 'edge/none'"):
        row_of(read_run(EMBEDDED_RUN), "edge/none")
