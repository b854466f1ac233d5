import json
from dataclasses import asdict

import numpy as np
import pytest

from benchmarks.quality import compare_with_source, quality, subgroups
from fracture_edge.errors import FractureEdgeError
from fracture_edge.policy import Decision, Policy
from train.evaluation.metrics import evaluate, wilson
from train.json_records import to_plain

COLUMN = "edge/onnx int8"
Rows = list[dict[str, str]]


def _row(
    number: int, label: int, score: float, part: str = "", view: str = "", hardware: str = ""
) -> dict[str, str]:
    return {
        "path": f"{number}.png",
        "label": str(label),
        "group": "" if number % 3 else f"g{number // 6}",
        "body_part": part,
        "view": view,
        "hardware": hardware,
        COLUMN: f"{score:.6f}",
    }


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Return 120 images: hands, legs, five of both, and some with unknown body part."""
    random = np.random.default_rng(7)
    labels = random.integers(0, 2, 120)
    scores = np.clip(0.3 * labels + random.normal(0.35, 0.2, 120), 0, 1)
    parts = ["hand"] * 60 + ["leg"] * 40 + ["hand+leg"] * 5 + [""] * 15
    return [
        _row(
            number,
            int(labels[number]),
            float(scores[number]),
            parts[number],
            "frontal" if number % 2 else "lateral",
            "yes" if number < 3 else "no",
        )
        for number in range(120)
    ]


def _columns(rows: Rows) -> tuple[list[int], np.ndarray, list[str]]:
    return (
        [int(row["label"]) for row in rows],
        np.array([float(row[COLUMN]) for row in rows]),
        [row["group"] or row["path"] for row in rows],
    )


def test_metrics_match_the_predictions_file(rows: Rows) -> None:
    labels, scores, groups = _columns(rows)
    found = to_plain(quality(rows, COLUMN, 0.5, (0.4, 0.55)))
    assert found["metrics"] == {
        name: asdict(estimate) for name, estimate in evaluate(labels, scores, groups, 0.5).items()
    }
    called = scores >= 0.5
    assert found["confusion"] == {
        "true_positive": sum(called[np.array(labels) == 1]),
        "false_positive": sum(called[np.array(labels) == 0]),
        "true_negative": sum(~called[np.array(labels) == 0]),
        "false_negative": sum(~called[np.array(labels) == 1]),
    }
    json.dumps(found, allow_nan=False)


def test_uncertain_images_are_those_of_the_policy() -> None:
    # On both ends of the band: its start is uncertain, its end is not.
    scores = [0.3, 0.4, 0.45, 0.549999, 0.55, 0.9, 0.1, 0.6]
    labels = [1, 1, 0, 1, 1, 1, 0, 0]
    rows = [_row(n, label, score) for n, (label, score) in enumerate(zip(labels, scores, strict=True))]
    policy = Policy(0.5, 0.4, 0.55)
    decisions = [policy.decide(score)[0] for score in scores]
    found = to_plain(quality(rows, COLUMN, 0.5, (0.4, 0.55)))["uncertain"]
    assert found["share"] == decisions.count(Decision.UNCERTAIN) / 8 == 3 / 8
    assert found["images_decided"] == 5
    # Decided: 0.55 and 0.9 rightly fractured, 0.1 rightly not, 0.6 falsely, 0.3 missed.
    assert found["metrics_on_decided"] == {
        "accuracy": asdict(wilson(3, 5)),
        "precision": asdict(wilson(2, 3)),
        "recall": asdict(wilson(2, 3)),
        "specificity": asdict(wilson(1, 2)),
    }


def test_without_a_band_every_image_is_decided(rows: Rows) -> None:
    found = to_plain(quality(rows, COLUMN, 0.5, (0.5, 0.5)))
    assert (found["uncertain"]["share"], found["uncertain"]["images_decided"]) == (0.0, 120)
    for name, estimate in found["uncertain"]["metrics_on_decided"].items():
        assert estimate == found["metrics"][name]


def test_metrics_are_null_if_no_image_is_decided(rows: Rows) -> None:
    found = to_plain(quality(rows, COLUMN, 0.5, (0.0, 1.0)))
    decided = sum(row[COLUMN] == "1.000000" for row in rows)
    assert found["uncertain"]["images_decided"] == decided
    nothing = to_plain(quality([row for row in rows if row[COLUMN] != "1.000000"], COLUMN, 0.5, (0.0, 1.0)))[
        "uncertain"
    ]
    assert nothing["share"] == 1.0
    assert set(nothing["metrics_on_decided"].values()) == {None}


def test_subgroups_have_counts_and_metrics(rows: Rows) -> None:
    found = {(each["by"], each["value"]): each for each in to_plain(subgroups(rows, COLUMN, 0.5))}
    assert {key: each["images"] for key, each in found.items()} == {
        ("body_part", "hand"): 60,
        ("body_part", "hand+leg"): 5,
        ("body_part", "leg"): 40,
        ("view", "frontal"): 60,
        ("view", "lateral"): 60,
        ("hardware", "no"): 117,
        ("hardware", "yes"): 3,
    }
    hands = [row for row in rows if row["body_part"] == "hand"]
    labels, scores, groups = _columns(hands)
    expected = evaluate(labels, scores, groups, 0.5)
    assert found["body_part", "hand"] == {
        "by": "body_part",
        "value": "hand",
        "images": 60,
        "fractured": sum(labels),
        **{name: asdict(expected[name]) for name in ("auroc", "recall", "specificity")},
    }
    # Five images are too few for an AUROC, not for Wilson's interval.
    assert found["body_part", "hand+leg"]["auroc"] is None
    assert found["body_part", "hand+leg"]["specificity"] is not None


def test_a_subgroup_that_lacks_a_class() -> None:
    rows = [_row(n, int(n < 12), 0.9 if n < 6 else 0.1, "hip" if n < 12 else "hand") for n in range(24)]
    hand, hip = to_plain(subgroups(rows, COLUMN, 0.5))
    assert (hip["value"], hip["images"], hip["fractured"]) == ("hip", 12, 12)
    assert (hip["auroc"], hip["specificity"]) == (None, None)
    assert hip["recall"] == asdict(wilson(6, 12))
    assert (hand["auroc"], hand["recall"]) == (None, None)
    assert hand["specificity"] == asdict(wilson(12, 12))


@pytest.mark.parametrize(("fractured", "defined"), [(4, False), (5, True), (25, True), (26, False)])
def test_an_auroc_needs_some_of_either_class(fractured: int, defined: bool) -> None:
    rows = [_row(n, int(n < fractured), 0.9 if n % 7 else 0.1, "hip") for n in range(30)]
    (hip,) = to_plain(subgroups(rows, COLUMN, 0.5))
    assert (hip["images"], hip["fractured"], hip["auroc"] is not None) == (30, fractured, defined)
    assert hip["recall"] is not None


def test_one_class_alone_leaves_no_nan(rows: Rows) -> None:
    fractured = [row for row in rows if row["label"] == "1"]
    found = to_plain(quality(fractured, COLUMN, 0.5, (0.4, 0.6)))
    assert found["metrics"]["auroc"] is None
    assert found["metrics"]["specificity"] is None
    assert found["metrics"]["recall"]["value"] == pytest.approx(found["metrics"]["accuracy"]["value"])
    json.dumps(found, allow_nan=False)


def test_a_row_against_its_source(rows: Rows) -> None:
    random = np.random.default_rng(8)
    both = [row | {"edge/keras float32": f"{random.random():.6f}"} for row in rows]
    found = to_plain(compare_with_source(both, "edge/keras float32", COLUMN, 0.5))
    source = np.array([float(row["edge/keras float32"]) for row in both])
    _, scores, _ = _columns(rows)
    assert found["source"] == "edge/keras float32"
    assert found["largest_difference"] == np.abs(source - scores).max()
    assert found["agreement"] == np.mean((source >= 0.5) == (scores >= 0.5))
    # The source guesses.
    assert found["auroc_change"]["low"] > 0
    assert found["mcnemar"]["p"] < 1e-3
    same = to_plain(compare_with_source(rows, COLUMN, COLUMN, 0.5))
    assert same["auroc_change"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert same["mcnemar"]["p"] == 1.0


@pytest.mark.parametrize("cell", ["", "nan"])
def test_a_column_with_a_gap_is_refused(rows: Rows, cell: str) -> None:
    broken = [rows[0] | {COLUMN: cell}, *rows[1:]]
    with pytest.raises(FractureEdgeError, match="lack a probability of 'edge/onnx int8'"):
        quality(broken, COLUMN, 0.5, (0.4, 0.6))


def test_an_unknown_column_is_refused(rows: Rows) -> None:
    with pytest.raises(FractureEdgeError, match="'edge/none'"):
        quality(rows, "edge/none", 0.5, (0.4, 0.6))
