import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies.cost import formats_table


def _entry(precision: str, size: int, **others: Any) -> dict[str, Any]:
    gate = {
        "images": 100, "fractured": 20, "threshold": 0.5, "largest_difference": 0.02, "mean_difference": 0.001,
        "same_decision": 0.98, "auroc_keras": 0.9, "auroc_exported": 0.896, "auroc_change": -0.004,
        "sensitivity_change": 0.05,
        "intervals": {"auroc_change": [-0.01, 0.002], "sensitivity_change": [0.0, 0.1]},
    }  # fmt: skip
    entry = {
        "precision": precision, "bytes": size, "gzip_bytes": size // 2, "heatmap": False, "broken": [],
        "recipe": "r", "sha256": "a", "source_sha256": "b", "peak_memory_mb": {"gate": 200}, "budget": "b",
        "seconds": 1.5, "versions": {"onnx": "1.17"},
        "inference_ms": {"p50": 12.34, "p90": 13.0, "p99": 14.0, "runs": 30}, "gate": gate,
    }  # fmt: skip
    return entry | others


@pytest.fixture
def result() -> dict[str, Any]:
    return {
        "model": "tiny",
        "training": {
            "recipe": "corrected", "epochs": 2, "epochs_of_recipe": 10, "best_epoch": 1, "precision": "float32",
            "initial_weights": "random", "device": "CPU", "fingerprint": "f",
        },
        "files": {
            "tiny-float32.onnx": _entry("float32", 8_000_000),
            "tiny-int8.onnx": _entry(
                "int8", 2_000_000, float_layers=["a", "b"], rung="float-2", gate_version=2,
                openvino_ms={"p50": 4.56, "p90": 5.0, "p99": 6.0, "runs": 30},
                fidelity={
                    "images": 1342, "fractured": 439, "mean_difference": 0.001, "same_decision": 0.985,
                    "far_flips": 0.0, "net_flips": -0.003, "noise": 0.04, "auroc_change": 0.0,
                    "sensitivity_change": 0.0,
                },
            ),
            "rejected/tiny-int8.tflite": _entry("int8", 2_100_000, broken=["auroc_change -0.02, bound -0.01"]),
        },
        "threads": 1,
        "environment": {
            "cpu": "A CPU", "cpu_family": "6", "cores": 2, "cpu_flags": ["avx2"], "memory_gb": 4.0, "os": "Linux",
            "python": "3.11", "versions": {},
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("same_decision", "sensitivity_change", "verdict"),
    [(0.8, -0.01, "accepted"), (0.99, -0.05, "rejected (sensitivity_change)")],
)
def test_the_gate_before_on_a_compressed_network(
    same_decision: float,
    sensitivity_change: float,
    verdict: str,
    result: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = _entry("int8", 1_000_000, budget="compressed", gate_version=3)
    entry["gate"] |= {"same_decision": same_decision, "sensitivity_change": sensitivity_change}
    result["files"] = {"tiny-pruned.onnx": entry}
    (tmp_path / "tiny.json").write_text(json.dumps(result))
    monkeypatch.setattr(formats_table, "RESULTS", tmp_path)
    (row,) = (line for line in formats_table.table().splitlines() if line.startswith("| `"))
    assert row.endswith(f"| accepted | {verdict} |")


def test_a_row_for_each_file_including_rejected_ones(
    result: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.json").write_text(json.dumps(result))
    monkeypatch.setattr(formats_table, "RESULTS", tmp_path)
    text = formats_table.table()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows[1] == (
        "| `tiny-int8.onnx` | 2.00 (0.25) | 1.00 | 1.0e-03 / 2.0e-02 | 0.980 | -0.004 [-0.010, 0.002] | "
        "0.050 [0.000, 0.100] | 0.985, -0.003, 0.040 (1342 images) | 12.3 | 4.6 | "
        "accepted, by `float-2`, 2 layers in float32 | accepted |"
    )
    # There is no float32 TFLite to compare its size with.
    assert rows[2].startswith("| `tiny-int8.tflite` | 2.10 | ")
    assert rows[2].endswith("| rejected: auroc_change -0.02, bound -0.01 | |")
    assert "with at most 10 epochs, 2 trained (kept: 1), started from: random" in text
    assert "median of 30 runs" in text
