"""Aims, and what the results say of them."""

from typing import Any

import pytest

from benchmarks.studies.documents.aims import table_of


def _estimate(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


def _run(
    *, auroc: float = 0.96, size: int = 3_600_000, ms: float = 7.94, ece: float = 0.03, change: float = -0.004
) -> dict[str, Any]:
    return {
        "environment": {"cpu": "Some CPU"},
        "rows": [
            {
                "id": "embedded/onnx int8",
                "bytes": size,
                "quality": {"metrics": {"auroc": _estimate(auroc), "ece": _estimate(ece)}},
                "speed": {"1": {"inference_ms": {"p50": ms}}},
            },
            {"id": "edge/onnx int8", "against_source": {"auroc_change": _estimate(change)}},
        ],
    }


def _folds(pooled: float = 0.95, change: float = -0.1) -> list[dict[str, Any]]:
    return [
        {"model": "edge", "pooled": {"auroc": _estimate(pooled)}, "auroc_change": None},
        {"model": "vgg16", "auroc_change": _estimate(change)},
        # Another recipe of the same network is no rival.
        {"model": "edge", "auroc_change": None},
    ]


def _answers(run: dict[str, Any], folds: list[dict[str, Any]]) -> list[str]:
    lines = table_of([run], folds, shipped="embedded/onnx int8", exported="edge/onnx int8").splitlines()
    assert lines[0] == "| aim | measured | reached |"
    return [line.split(" | ")[-1].removesuffix(" |") for line in lines[2:]]


def test_what_was_measured_is_shown() -> None:
    lines = table_of([_run()], _folds(), shipped="embedded/onnx int8", exported="edge/onnx int8").splitlines()
    assert lines[2] == "| AUROC of 0.95 on the test split, int8 | 0.960 [0.950, 0.970] | yes |"
    assert lines[4] == "| ahead of the three networks on the same folds | vgg16 by 0.100 [0.090, 0.110] | yes |"
    assert lines[5] == "| a file of at most 5 MB | 3.60 MB | yes |"
    assert lines[6] == "| at most 8 ms for one inference on one thread (median) | 7.9 ms (Some CPU) | yes |"
    assert lines[8] == "| AUROC in int8 within 0.005 of float, on the test split | -0.004 [-0.014, 0.006] | yes |"


@pytest.mark.parametrize(
    ("run", "folds", "missed"),
    [
        ({}, {}, []),
        ({"auroc": 0.9499}, {}, [0]),
        ({}, {"pooled": 0.9}, [1]),
        # Ahead, but not beyond chance.
        ({}, {"change": -0.005}, [2]),
        ({"size": 5_000_001}, {}, [3]),
        ({"ms": 8.01}, {}, [4]),
        ({"ece": 0.051}, {}, [5]),
        ({"change": 0.006}, {}, [6]),
        ({"change": -0.006}, {}, [6]),
    ],
)
def test_an_aim_is_reached_or_not(run: dict[str, float], folds: dict[str, float], missed: list[int]) -> None:
    answers = _answers(_run(**run), _folds(**folds))
    assert answers == ["no" if number in missed else "yes" for number in range(7)]


@pytest.mark.parametrize(
    ("ms", "expected"), [((7.0, 8.0), "yes"), ((9.0, 7.0), "on 1 of 2 processors"), ((9.0, 8.1), "no")]
)
def test_latency_on_two_processors(ms: tuple[float, float], expected: str) -> None:
    runs = [_run(ms=each) for each in ms]
    lines = table_of(runs, _folds(), shipped="embedded/onnx int8", exported="edge/onnx int8").splitlines()
    found = f"{ms[0]:.1f} ms (Some CPU), {ms[1]:.1f} ms (Some CPU)"
    assert lines[6] == f"| at most 8 ms for one inference on one thread (median) | {found} | {expected} |"
