"""Table of aims and results."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.studies.documents.aims import Latency, Reached, table_of
from benchmarks.studies.edge_model.cross_validated import Network
from train.evaluation.metrics import Estimate


def _estimate(value: float) -> Estimate:
    return Estimate(value, value - 0.01, value + 0.01)


def _network(model: str, pooled: float, change: Estimate | None) -> Network:
    return Network(
        model=model,
        initial_weights="random",
        seed=0,
        device="CPU",
        precision="float32",
        data_fingerprint="f",
        input="32x32",
        images=40,
        fractured=20,
        epochs=(1,),
        seconds=(1.0,),
        auroc_of_folds=(pooled,),
        pooled={"auroc": _estimate(pooled)},
        compared_with="edge" if change else None,
        auroc_change=change,
    )


def _folds(pooled: float = 0.95, change: float = -0.1) -> list[Network]:
    # Another recipe of the same network is skipped.
    return [_network("edge", pooled, None), _network("vgg16", 0.8, _estimate(change)), _network("edge", 0.9, None)]


def _reached(
    networks: Sequence[Network],
    *,
    auroc: float = 0.96,
    size: int = 3_600_000,
    ms: float = 7.94,
    ece: float = 0.03,
    change: float = -0.004,
) -> Reached:
    return Reached(
        auroc=_estimate(auroc),
        ece=_estimate(ece),
        size=size,
        rounding=_estimate(change),
        latency=Latency("Some CPU", ms),
        networks=networks,
    )


def _reached_column(reached: Reached) -> list[str]:
    lines = table_of(reached).splitlines()
    assert lines[0] == "| aim | measured | reached |"
    return [line.split(" | ")[-1].removesuffix(" |") for line in lines[2:]]


def test_measured_values_are_shown() -> None:
    lines = table_of(_reached(_folds())).splitlines()
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
        # Ahead, but not significantly.
        ({}, {"change": -0.005}, [2]),
        ({"size": 5_000_001}, {}, [3]),
        ({"ms": 8.01}, {}, [4]),
        ({"ece": 0.051}, {}, [5]),
        ({"change": 0.006}, {}, [6]),
        ({"change": -0.006}, {}, [6]),
    ],
)
def test_an_aim_is_reached_or_not(run: dict[str, Any], folds: dict[str, float], missed: list[int]) -> None:
    answers = _reached_column(_reached(_folds(**folds), **run))
    assert answers == ["no" if number in missed else "yes" for number in range(7)]


def test_a_network_that_was_compared_with_another_one_does_not_count_as_behind() -> None:
    other = replace(_network("vgg16", 0.8, _estimate(-0.1)), compared_with="edge (robust)")
    assert "| vgg16 by – | no |" in table_of(_reached([_network("edge", 0.95, None), other]))


def test_a_network_without_comparison_does_not_count_as_behind() -> None:
    reached = _reached([_network("edge", 0.95, None), _network("vgg16", 0.8, None)])
    assert table_of(reached).splitlines()[4] == (
        "| ahead of the three networks on the same folds | vgg16 by – | no |"
    )
