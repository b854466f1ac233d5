"""Comparison of the records that the page makes with the program's predictions."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence

from fracture_edge.prediction import Prediction

#: Maximum difference of two probabilities: that of sums in another order.
TOLERANCE = 1e-6
#: Kinds that the program answers and the page refuses, with the status there.
REFUSED = {"picture.tif": "decoder_not_installed"}
#: Fields of a record that have to be equal, as text.
_EQUAL = ("status", "decision", "reason", "reason_code", "threshold", "frame", "frames", "model", "model_sha256")

_DISTANCE = re.compile(r"(?<=squared distance )([\d.e+]+)")


def read_records(text: str) -> list[dict[str, str]]:
    """Read the CSV of the page; values are text, empty if missing."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


def compare_records(text: str, predictions: Sequence[Prediction]) -> Iterator[str]:
    """Yield the differences of the page's records from the program's.

    Args:
        text: CSV that the page made.
        predictions: Predictions of the program, in the same order.
    """
    records = read_records(text)
    if [record["path"] for record in records] != [prediction.path for prediction in predictions]:
        yield "other files, or in another order"
        return
    for record, prediction in zip(records, predictions, strict=True):
        if prediction.path in REFUSED:
            if record["status"] != REFUSED[prediction.path]:
                yield f"{prediction.path}: status {record['status']}"
            continue
        own = prediction.record()
        for field in _EQUAL:
            value = "" if own[field] is None else str(own[field])
            if record[field] != value and not (field == "reason" and _is_rounding(record[field], value)):
                yield f"{prediction.path}: {field} is {record[field]!r}, not {value!r}"
        if prediction.probability is None:
            continue
        difference = abs(float(record["probability"]) - prediction.probability)
        if not difference <= TOLERANCE:
            yield f"{prediction.path}: probability differs by {difference:.2g}"


def _is_rounding(one: str, other: str) -> bool:
    """Return whether two reasons differ only in the third digit of the features' distance.

    The distance is a sum of floating-point numbers, as the probability is; on the border of two digits its last
    one may be either.
    """
    found = [_DISTANCE.split(text) for text in (one, other)]
    if [len(parts) for parts in found] != [3, 3] or found[0][::2] != found[1][::2]:
        return False
    numbers = [float(parts[1]) for parts in found]
    return abs(numbers[0] - numbers[1]) <= 0.0101 * min(numbers)


def largest_difference(records: Sequence[Mapping[str, str]], predictions: Sequence[Prediction]) -> float:
    """Return the largest difference of two probabilities of the same frame."""
    pairs = zip(records, predictions, strict=False)
    return max(
        (abs(float(one["probability"]) - (other.probability or 0)) for one, other in pairs if one["probability"]),
        default=0.0,
    )
