from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.records.environment import Environment
from benchmarks.speed.latency import Percentiles
from benchmarks.speed.ratio import Ratio
from benchmarks.studies.cost import tflite
from train.evaluation.metrics import Estimate
from train.evaluation.paired import McNemar, PairedComparison
from train.json_records import write_record

EQUAL = Estimate(0.0, 0.0, 0.0)
FAITHFUL = PairedComparison(1.0, 1e-6, 1e-7, EQUAL, EQUAL, EQUAL, McNemar(0, 0, 1.0))


def test_the_bounds_are_those_of_the_gate() -> None:
    assert all(tflite.broken_bounds(FAITHFUL, kind) == () for kind in ("float32", "float16", "dynamic", "int8"))
    assert tflite.broken_bounds(replace(FAITHFUL, largest_difference=2e-4), "float32") == (
        "largest_difference 0.0002, bound 0.0001",
    )
    # A largest difference is no bound of int8, and a significant loss of sensitivity is.
    worse = replace(
        FAITHFUL, largest_difference=0.3, agreement=0.94, sensitivity_change=Estimate(-0.1, -0.15, -0.05)
    )
    assert tflite.broken_bounds(worse, "int8") == (
        "same_decision 0.94, bound 0.95",
        "sensitivity_change_high -0.05, bound 0",
    )
    assert tflite.broken_bounds(replace(FAITHFUL, agreement=float("nan")), "int8") != ()


def test_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = tflite.ComparedFile(
        file="tiny-float32.onnx", sha256="a", bytes=2_500_000, precision="float32", largest_difference=0.0,
        mean_difference=0.0, same_decision=1.0, same_record=1.0, broken=(),
        milliseconds=Percentiles(10.0, 11.0, 12.0, 200), ratio=Ratio(1.0, 1.0, 1.0),
    )  # fmt: skip
    other = replace(
        one, file="tiny-int8.tflite", mean_difference=0.004, largest_difference=0.06, same_record=0.98,
        broken=("same_decision 0.94, bound 0.95",), ratio=Ratio(0.5, 0.4, 0.6),
    )  # fmt: skip
    found = tflite.TfliteComparison(
        model="tiny", images=342, fractured=59, threshold=0.25, fingerprint="f", files=(one, other),
        rejected=("rejected/tiny-int8-full.tflite",),
        environment=replace(
            Environment.here(), cpu="A CPU", cores=2, versions={"onnxruntime": "1.32.0", "ai-edge-litert": "2.3.0"}
        ),
    )  # fmt: skip
    write_record(tmp_path / "tiny.json", found)
    monkeypatch.setattr(tflite, "RESULTS", tmp_path)
    text = tflite.tables()
    assert (
        "| `tiny-int8.tflite` | 2.50 | 4.0e-03 / 6.0e-02 | 1.000 | 0.980 | "
        "exceeded: same_decision 0.94, bound 0.95 | 10.0 (11.0) | 0.50 [0.40, 0.60] |" in text
    )
    assert "Rejected by the gate and not compared: `tiny-int8-full.tflite`. 200 rounds on one thread" in text
    assert "A CPU (2 cores), onnxruntime 1.32.0, LiteRT 2.3.0." in text
