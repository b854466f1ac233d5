"""Resuming a run measures only what has changed."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.records.measured_row import MeasuredRow
from benchmarks.records.result import Harness, ModelDescription, Run, result_of
from benchmarks.run import _is_measured, _resume, _without
from benchmarks.speed.latency import Percentiles
from fracture_edge.errors import FractureEdgeError

_EMPTY = {
    "schema_version": 2,
    "created": "2026-11-25T04:00:00+00:00",
    "positive_class": "fractured",
    "environment": {
        "cpu": "AMD EPYC", "cpu_family": "25", "cores": 2, "cpu_flags": ["avx2"], "memory_gb": None,
        "os": "Linux", "python": "3.11.7", "versions": {"onnxruntime": "1.32.0"},
    },
    "data": {
        "layout": "folders", "split": "test", "images": 1, "fractured": 1, "groups": 1, "fingerprint": "3f",
        "predictions": "run.csv",
    },
    "trivial_baseline": None,
    "settings": {"runs": 200, "rounds": 20, "threads": [1, 2], "batches": [1], "first_answers": 5},
    "harness": None,
    "models": {},
    "rows": [],
}  # fmt: skip


def _row(model: str, kind: str) -> MeasuredRow:
    return MeasuredRow(
        id=f"{model}/{kind}", model=model, runtime="onnxruntime", format=kind, precision="int8", file="", bytes=0,
        sha256=f"{model} {kind} as it was", error="gone", gate=None, quality=None, against_source=None, speed=None,
        first_answer_ms=None, peak_memory_mb=None, speed_error=None,
    )  # fmt: skip


def _model(architecture: str) -> ModelDescription:
    return ModelDescription(
        architecture=architecture, threshold=0.5, uncertain_low=0.4, uncertain_high=0.6, input=(64, 64),
        training=None, parameters=None, history=(), splits_of_training=True,
    )  # fmt: skip


@pytest.fixture
def run() -> Run:
    rows = tuple(_row(model, kind) for model in ("edge", "vgg16") for kind in ("keras float32", "onnx int8"))
    line = {"path": "a.png", "label": "1"} | {row.id: "0.5" for row in rows}
    models = {"edge": _model("edge"), "vgg16": _model("vgg16")}
    harness = Harness(Percentiles(0.4, 0.5, 0.6, 200))
    return Run(replace(result_of(_EMPTY), models=models, rows=rows, harness=harness), [line])


def _selected(**sha256: str) -> Any:
    rows = [SimpleNamespace(id=f"edge/{kind.replace('_', ' ')}", sha256=value) for kind, value in sha256.items()]
    return SimpleNamespace(name="edge", rows=rows)


def test_unchanged_files_are_not_measured_again(run: Run) -> None:
    both = {"keras_float32": "edge keras float32 as it was", "onnx_int8": "edge onnx int8 as it was"}
    assert _is_measured(_selected(**both), run)
    # A row that is not requested this time, such as a rejected file, changes nothing.
    assert _is_measured(_selected(onnx_int8=both["onnx_int8"]), run)


def test_changed_and_new_files_are_measured(run: Run) -> None:
    assert not _is_measured(_selected(onnx_int8="another"), run)
    # Written again with the same probabilities: measured, but its times are of the file before.
    older = tuple(replace(row, timed_sha256="before") for row in run.result.rows)
    assert not _is_measured(
        _selected(onnx_int8="edge onnx int8 as it was"), Run(replace(run.result, rows=older), run.predictions)
    )
    assert not _is_measured(_selected(onnx_int8="edge onnx int8 as it was", tflite_int8="new"), run)
    assert not _is_measured(_selected(onnx_int8="x"), Run(result_of(_EMPTY), []))


def test_removing_a_model_keeps_the_other_models(run: Run) -> None:
    rest = _without("edge", run)
    assert [row.id for row in rest.result.rows] == ["vgg16/keras float32", "vgg16/onnx int8"]
    assert rest.result.models == {"vgg16": _model("vgg16")}
    assert rest.predictions == [
        {"path": "a.png", "label": "1", "vgg16/keras float32": "0.5", "vgg16/onnx int8": "0.5"}
    ]
    assert _without("edge", rest) == rest


def _fresh(**changes: Any) -> Run:
    """Return a new run of the same images without measurements; the CSV has no name yet."""
    result = result_of(_EMPTY)
    found = replace(result, created="later", data=replace(result.data, predictions=""), **changes)
    return Run(found, [{"path": "a.png", "label": "1"}])


def test_resuming_keeps_the_measurements(run: Run) -> None:
    resumed = _resume(run, _fresh())
    assert (resumed.result.rows, resumed.result.models) == (run.result.rows, run.result.models)
    assert resumed.result.harness == run.result.harness
    assert resumed.predictions == run.predictions
    assert resumed.result.created == "later"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: replace(run, predictions=[{"path": "b.png"}]), "other images"),
        (lambda run: _fresh(settings=replace(run.result.settings, runs=400)), "other settings"),
        (lambda run: _fresh(environment=replace(run.result.environment, cores=4)), "another machine"),
    ],
)
def test_other_images_or_settings_are_refused(run: Run, change: Callable[[Run], Run], message: str) -> None:
    with pytest.raises(FractureEdgeError, match=f"was measured with {message}"):
        _resume(run, change(_fresh()))
    data = replace(run.result.data, fingerprint="other", predictions="")
    with pytest.raises(FractureEdgeError, match="was measured with other images"):
        _resume(run, Run(replace(_fresh().result, data=data), _fresh().predictions))
