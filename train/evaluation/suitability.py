"""Limits of image properties of a usable radiograph, widened where the training images need it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import numpy as np

from fracture_edge.machine import usable_cores
from fracture_edge.preprocess import Preprocessing
from fracture_edge.suitability import Limits, Measures, measure
from train.data.dataset import ImageTable

#: Share of the training images that may lie outside one limit.
BEYOND = 0.001


def fit_limits(table: ImageTable, preprocessing: Preprocessing) -> Limits:
    """Measure the training images and fit the limits to them.

    Args:
        table: Training images; every file is read.
        preprocessing: Preprocessing of the model.
    """

    def measured(row: int) -> Measures:
        framed = preprocessing.load_framed(table.file(table.items[row]))
        return measure(framed.content, side=framed.side, colour=framed.colour)

    with ThreadPoolExecutor(usable_cores()) as pool:
        return widened(Limits(), list(pool.map(measured, range(len(table)))))


def widened(limits: Limits, training: list[Measures]) -> Limits:
    """Widen the limits to include all but a share of `BEYOND` of the training images; none is narrowed."""
    fitted = asdict(limits)
    for name, value in fitted.items():
        bound, _, quantity = name.partition("_")
        values = np.array([getattr(found, quantity) for found in training], np.float64)
        if bound == "least":
            fitted[name] = min(value, float(np.quantile(values, BEYOND, method="lower")))
        else:
            fitted[name] = max(value, float(np.quantile(values, 1 - BEYOND, method="higher")))
    return Limits(**fitted)
