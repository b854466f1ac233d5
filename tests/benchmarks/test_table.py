from typing import Any

from benchmarks.table import markdown


def _result() -> dict[str, Any]:
    estimate = {"value": 0.9, "low": 0.85, "high": 0.9491}
    names = ("auroc", "accuracy", "precision", "recall", "specificity", "f1")
    row = {
        "format": "onnx int8",
        "bytes": 3_810_000,
        "auroc_without_hardware": {"value": 0.8, "low": 0.7, "high": 0.9},
        "metrics": dict.fromkeys(names, estimate),
        "inference_ms": {"p50": 4.04, "p90": 5.06, "p99": 9.0, "runs": 200},
        "file_to_decision_ms": {"p50": 6.26},
    }
    return {
        "model": "edge",
        "threshold": 0.25,
        "threads": 1,
        "data": {
            "split": "test",
            "images": 10,
            "fractured": 3,
            "groups": 8,
            "fingerprint": "0123456789abcdef",
            "splits_of_training": True,
        },
        "formats": [row, row | {"format": "keras float32", "file_to_decision_ms": None}],
        "trivial_baseline": {"auroc": {"value": 0.64, "low": 0.6, "high": 0.68}},
        "environment": {"cpu": "X", "cores": 2, "cpu_flags": ["avx2"], "versions": {"onnxruntime": "1.2"}},
    }


def test_rows_and_circumstances() -> None:
    lines = markdown(_result()).splitlines()
    interval = "0.900 [0.850, 0.949]"
    assert lines[0] == (
        "edge: test split, 10 images of 8 groups, 3 fractured (the positive class); threshold 0.2500, "
        "frozen on validation"
    )
    assert lines[4] == f"| onnx int8 | 3.81 | {' | '.join([interval] * 6)} | 4.0 / 5.1 | 6.3 |"
    assert lines[5] == f"| keras float32 | 3.81 | {' | '.join([interval] * 6)} | 4.0 / 5.1 |  |"
    assert lines[6] == "| size and brightness alone | | 0.640 [0.600, 0.680] | | | | | | | |"
    assert lines[8] == (
        "AUROC without the images that show metal hardware: onnx int8 0.800 [0.700, 0.900], "
        "keras float32 0.800 [0.700, 0.900]."
    )
    assert "200 runs, batch 1, 1 thread(s)" in lines[10]
    assert "X (2 cores; avx2), onnxruntime 1.2. Data fingerprint 0123456789ab." in lines[10]
