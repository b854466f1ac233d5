"""Comparison of the records that the page makes with the program's predictions."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence

from fracture_edge.attributes import BODY_PART_NAME, VIEW_NAME
from fracture_edge.prediction import Prediction

#: Name of the field of P(fractured).
PROBABILITY = "probability"
#: Maximum difference of two values of P(fractured): that of sums in another order.
TOLERANCE = 1e-6
#: The same of body parts, views and classes: the terms of their log-odds are much larger than the sum.
FURTHER_TOLERANCE = 1e-5
#: Kinds that the program answers and the page refuses, with the status there.
REFUSED = {"picture.tif": "decoder_not_installed"}
#: Fields of a record that are compared before the others, or differ from run to run.
_APART = ("path", "elapsed_ms")

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
    header = next(iter(text.splitlines()), "")
    if any(header != ",".join(prediction.record()) for prediction in predictions):
        yield f"other columns: {header}"
        return
    if [record["path"] for record in records] != [prediction.path for prediction in predictions]:
        yield "other files, or in another order"
        return
    for record, prediction in zip(records, predictions, strict=True):
        if prediction.path in REFUSED:
            if record["status"] != REFUSED[prediction.path]:
                yield f"{prediction.path}: status {record['status']}"
            continue
        for field, value in prediction.record().items():
            if field not in _APART:
                yield from (f"{prediction.path}: {told}" for told in _compare(field, record[field], value))


def _compare(field: str, found: str, wanted: object) -> Iterator[str]:
    """Yield how a cell differs from the value of the program: probabilities by rounding, all else not at all."""
    if isinstance(wanted, Mapping):
        values = json.loads(found or "{}")
        if list(values) != list(wanted):
            yield f"{field} is {found!r}, not {wanted!r}"
            return
        for name in wanted:
            yield from _compare(f"{field} {name}", str(values[name]), wanted[name])
    elif isinstance(wanted, float) and found and field != "threshold":
        difference = abs(float(found) - wanted)
        if not difference <= (TOLERANCE if field == PROBABILITY else FURTHER_TOLERANCE):
            yield f"{field} differs by {difference:.2g}"
    else:
        text = "" if wanted is None else str(wanted)
        if found != text and not (field == "reason" and _is_rounding(found, text)):
            yield f"{field} is {found!r}, not {text!r}"


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


def largest_difference(
    records: Sequence[Mapping[str, str]], predictions: Sequence[Prediction], field: str = PROBABILITY
) -> float:
    """Return the largest difference of two probabilities of the same frame.

    Args:
        records: Records of the page.
        predictions: Predictions of the program, in the same order.
        field: Name of the field with the probabilities; without it, in models of no such output, 0.
    """
    pairs = zip(records, predictions, strict=False)
    return max(
        (abs(float(one[field]) - (getattr(other, field) or 0)) for one, other in pairs if one.get(field)),
        default=0.0,
    )


def about_text(record: Mapping[str, str]) -> str:
    """Return what the page has to say of body part and view beside an answer; empty without one.

    Args:
        record: Record of the answer, from `read_records`.
    """
    if not record[PROBABILITY]:
        return ""
    words = []
    for name in (BODY_PART_NAME, VIEW_NAME):
        if name in record:
            sure = f"{record[name]} ({float(record[f'{name}_probability']):.2f})"
            words.append(f"{name.replace('_', ' ')}: {sure if record[name] else 'not recognised'}")
    return ", ".join(words).capitalize()
