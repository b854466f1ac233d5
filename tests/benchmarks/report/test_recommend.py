from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.records.measured_row import MeasuredRow, PairedChange
from benchmarks.records.result import result_of
from benchmarks.report.predictions import Predictions
from benchmarks.report.recommend import DeviceLimits, choose, recommend, representative
from train.evaluation.metrics import UNDEFINED, Estimate
from train.evaluation.paired import McNemar

Make = Callable[..., MeasuredRow]
Texts = Callable[..., list[str]]


@pytest.fixture
def texts_of(made: tuple[dict[str, Any], Predictions]) -> Texts:
    """Return the recommendations for some rows."""
    result = result_of(made[0])

    def texts(*rows: MeasuredRow, limits: tuple[DeviceLimits, ...] = (DeviceLimits(10, 10),)) -> list[str]:
        return [str(advice) for advice in recommend(replace(result, rows=rows), limits)]

    return texts


def _changed(row: MeasuredRow, low: float, high: float) -> MeasuredRow:
    """Return `row` with a change of AUROC against its source."""
    change = Estimate(-0.02, low, high)
    against = PairedChange(
        source="a/keras float32",
        agreement=0.9,
        largest_difference=0.1,
        mean_difference=0.01,
        auroc_change=change,
        sensitivity_change=UNDEFINED,
        specificity_change=UNDEFINED,
        mcnemar=McNemar(1, 1, 1.0),
    )
    return replace(row, against_source=against)


def test_most_accurate_within_the_limits(row: Make, texts_of: Texts) -> None:
    texts = texts_of(
        row("small/onnx int8", 2, 3, 0.80),
        row("edge/onnx int8", 3.81, 4.04, 0.90),
        row("big/onnx int8", 24, 21, 0.95),
    )
    assert texts == [
        "For under 10 ms and 10 MB: edge, onnx int8 (AUROC 0.900 [0.890, 0.910], 4.0 ms, 3.81 MB).",
        "Most accurate: big, onnx int8 (AUROC 0.950 [0.940, 0.960], 21.0 ms, 24.0 MB).",
        "Smallest and fastest: small, onnx int8 (AUROC 0.800 [0.790, 0.810], 3.0 ms, 2.00 MB).",
    ]


def test_smallest_and_fastest_can_be_two(row: Make, texts_of: Texts) -> None:
    texts = texts_of(row("a/onnx int8", 2, 6, 0.8), row("b/onnx int8", 3, 5, 0.9), limits=())
    assert texts == [
        "Most accurate: b, onnx int8 (AUROC 0.900 [0.890, 0.910], 5.0 ms, 3.00 MB).",
        "Smallest: a, onnx int8 (AUROC 0.800 [0.790, 0.810], 6.0 ms, 2.00 MB).",
        "Fastest: b, onnx int8 (AUROC 0.900 [0.890, 0.910], 5.0 ms, 3.00 MB).",
    ]


def test_overlapping_intervals_leave_the_choice_to_size_and_speed(row: Make, texts_of: Texts) -> None:
    texts = texts_of(
        row("edge/onnx float32", 9, 9, 0.905, 0.05),
        row("edge/onnx int8", 4, 4, 0.900, 0.05),
        row("other/onnx int8", 1, 1, 0.840, 0.05),
    )
    assert texts[0] == (
        "For under 10 ms and 10 MB: edge, onnx int8 (AUROC 0.900 [0.850, 0.950], 4.0 ms, 4.00 MB). "
        "1 other file within these limits cannot be told from it by AUROC (each lies within the other's "
        "interval), so the choice is by size and speed."
    )
    assert texts[1].startswith("Most accurate: edge, onnx float32 (")
    assert texts[1].endswith("1 other file cannot be told from it by AUROC.")


def test_a_value_outside_the_other_interval_is_distinguishable(row: Make) -> None:
    wide, narrow = row("a/onnx int8", 9, 9, 0.90, 0.10), row("b/onnx int8", 1, 1, 0.85, 0.01)
    assert choose([wide, narrow]) is wide
    assert choose([wide, row("b/onnx int8", 1, 1, 0.85, 0.05)]).id == "b/onnx int8"


def test_a_file_that_lost_auroc_against_its_source_is_not_chosen(row: Make) -> None:
    best, cheap = row("a/onnx float32", 9, 9, 0.90, 0.05), row("a/onnx int8", 1, 1, 0.88, 0.05)
    assert choose([best, cheap]) is cheap
    assert choose([best, _changed(cheap, -0.03, -0.01)]) is best
    uncertain = _changed(cheap, -0.04, 0.01)
    assert choose([best, uncertain]) is uncertain


@pytest.mark.parametrize(
    "change",
    [
        {"gate": "rejected"},
        {"error": "OSError: x", "quality": None},
        {"runtime": "keras"},
        {"runtime": "openvino"},
        {"speed": None},
        {"area": None},
    ],
)
def test_rows_that_are_never_recommended(row: Make, texts_of: Texts, change: dict[str, Any]) -> None:
    best = row("best/onnx int8", 1, 1, **({"area": 0.99} | change))
    texts = texts_of(row("edge/onnx int8", 4, 4, 0.9), best)
    assert len(texts) == 3
    assert not any("best" in text for text in texts)
    assert texts_of(best) == ["For a device: nothing: no exported file was measured and accepted by the gate."]


def test_a_file_that_the_gate_has_not_checked_is_marked(row: Make, texts_of: Texts) -> None:
    assert texts_of(row("embedded/onnx int8", 3.8, 4, 0.9, gate=None))[0] == (
        "For under 10 ms and 10 MB: embedded, onnx int8 (AUROC 0.900 [0.890, 0.910], 4.0 ms, 3.80 MB, not judged "
        "by the export gate)."
    )


def test_limits_are_exclusive_and_equal_recommendations_are_combined(row: Make, texts_of: Texts) -> None:
    limits = (DeviceLimits(5, 5), DeviceLimits(10, 10), DeviceLimits(25, 25), DeviceLimits(100, 100))
    # A file of exactly the limit is not under it.
    texts = texts_of(row("a/onnx int8", 5, 4, 0.8), row("b/onnx int8", 24, 21, 0.9), limits=limits)
    assert [text.partition(" (")[0] for text in texts[:3]] == [
        "For under 5 ms and 5 MB: none of the accepted files.",
        "For under 10 ms and 10 MB: a, onnx int8",
        "For under 25 ms and 25 MB, and still for under 100 ms and 100 MB: b, onnx int8",
    ]
    assert len(texts) == 5


def test_every_model_has_a_representative(result: dict[str, Any]) -> None:
    run = result_of(result)
    chosen = {name: representative(run, name) for name in run.models}
    assert {name: row and row.id for name, row in chosen.items()} == {
        "custom_cnn": "custom_cnn/onnx int8",
        "edge": "edge/onnx int8",
        "resnet50": "resnet50/onnx int8",
        "vgg16": "vgg16/onnx int8",
        "embedded": "embedded/onnx int8",
    }
    for row in result["rows"]:
        row["gate"] = "rejected"
    run = result_of(result)
    stand_in = representative(run, "edge")
    assert stand_in is not None
    assert stand_in.id == "edge/keras float32"
    assert representative(run, "none") is None
