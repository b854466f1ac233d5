from typing import Any

from benchmarks.records.result import result_of
from benchmarks.report.pareto import front, front_rows


def test_front_of_hand_made_points() -> None:
    # bytes, ms, -AUROC: the first beats the third in all, the second beats the fourth in two and equals it in one.
    points = [(4, 4, -0.90), (90, 20, -0.95), (5, 5, -0.89), (91, 20, -0.94), (1, 30, -0.60)]
    assert front(points) == [0, 1, 4]


def test_equal_points_stay_together() -> None:
    assert front([(1, 1, -0.9), (1, 1, -0.9), (1, 1, -0.8)]) == [0, 1]
    assert front([]) == []


def test_only_files_for_a_device_are_on_the_front(result: dict[str, Any]) -> None:
    rows = front_rows(result_of(result))
    assert [row.id for row in rows] == ["edge/onnx int8", "edge/onnx float16", "edge/tflite float16"]
    # edge/tflite int8 is faster than all of them, but rejected.
    rejected = next(row for row in result["rows"] if row["id"] == "edge/tflite int8")
    rejected["gate"] = "accepted"
    assert front_rows(result_of(result))[0].id == rejected["id"]
    rejected["runtime"] = "openvino"
    assert front_rows(result_of(result)) == rows
