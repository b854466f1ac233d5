"""Limits of usable radiographs, widened by the training images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fracture_edge.preprocess import Preprocessing
from fracture_edge.suitability import Limits, Measures
from train.data.dataset import read_table
from train.evaluation.suitability import fit_limits, widened

USUAL = Measures(
    side=373, colour=0, contrast=40, correlation=0.98, median=30, bright=200, clipped=0, sharpness=0.24
)


def test_limits_stay_where_the_images_lie_within() -> None:
    assert widened(Limits(), [USUAL] * 10) == Limits()


@pytest.mark.parametrize(
    ("quantity", "value", "limit"),
    [
        ("side", 64, "least_side"),
        ("colour", 0.9, "most_colour"),
        ("contrast", 3, "least_contrast"),
        ("correlation", 0.5, "least_correlation"),
        ("median", 200, "most_median"),
        ("bright", 30, "least_bright"),
        ("clipped", 0.6, "most_clipped"),
        ("sharpness", 0.125, "least_sharpness"),
    ],
)
def test_limits_are_widened(quantity: str, value: float, limit: str) -> None:
    odd = USUAL._replace(**{quantity: value})
    found = widened(Limits(), [USUAL] * 90 + [odd] * 10)
    assert found == Limits.from_dict({limit: value})
    assert found.find_problem(odd) is None


def test_a_thousandth_of_the_images_may_lie_outside() -> None:
    odd = USUAL._replace(median=200)
    assert widened(Limits(), [USUAL] * 1999 + [odd]).most_median == Limits().most_median
    assert widened(Limits(), [USUAL] * 1997 + [odd] * 3).most_median == 200


def test_coloured_films(write_bones: Callable[..., Path], tmp_path: Path) -> None:
    root = write_bones(tmp_path / "bones", 4)
    for file in root.rglob("*.*"):
        grey = np.asarray(Image.open(file).convert("L"))
        Image.fromarray(np.stack([grey // 2, grey // 2, grey], axis=2)).save(file.with_suffix(".png"))
        if file.suffix != ".png":
            file.unlink()
    limits = fit_limits(read_table(root), Preprocessing(96, 96))
    assert limits.most_colour > 0.1
    assert limits.least_side == 96
