"""Predictions as text, JSON, JSON lines or CSV."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from typing import Literal

from fracture_edge.classifier import Prediction

Format = Literal["text", "json", "jsonl", "csv"]
COLUMNS = tuple(entry.name for entry in fields(Prediction))


def render(predictions: Iterable[Prediction], style: Format) -> Iterator[str]:
    """Yield pieces of text, one per prediction as it comes (and brackets or a header around them)."""
    if style == "text":
        yield from (f"{_sentence(prediction)}\n" for prediction in predictions)
    elif style == "jsonl":
        yield from (f"{json.dumps(asdict(prediction))}\n" for prediction in predictions)
    elif style == "csv":
        yield _csv_line(COLUMNS)
        yield from (_csv_line(asdict(prediction).values()) for prediction in predictions)
    else:
        separator = "[\n  "
        for prediction in predictions:
            yield separator + json.dumps(asdict(prediction))
            separator = ",\n  "
        yield "[]\n" if separator.startswith("[") else "\n]\n"


def _sentence(prediction: Prediction) -> str:
    if prediction.probability is None:
        return f"{prediction.path}: no answer, {prediction.status} ({prediction.reason})"
    return (
        f"{prediction.path}: {prediction.decision}, P(fractured) = {prediction.probability:.3f} "
        f"(threshold {prediction.threshold:.3f}; {prediction.reason}; {prediction.elapsed_ms:.0f} ms)"
    )


def _csv_line(values: Iterable[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow("" if value is None else value for value in values)
    return buffer.getvalue()
