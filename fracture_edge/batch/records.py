"""Predictions as text, JSON, JSON lines or CSV.

CSV is made for spreadsheets, and file names come from strangers: a cell of text that begins with one of
`FORMULA_STARTS` gets an apostrophe in front, or a spreadsheet would calculate it
(https://owasp.org/www-community/attacks/CSV_Injection). A cell that begins with an apostrophe gets one too, so
that taking one away gives the text back. Numbers stay numbers.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from typing import Any, Literal

from fracture_edge.errors import FractureEdgeError
from fracture_edge.prediction import Prediction

Format = Literal["text", "json", "jsonl", "csv"]
#: The overlay's file, where overlays are asked for; in Python a prediction carries the map itself.
HEATMAP = "heatmap"
REASON_CODE = "reason_code"
COLUMNS = tuple(entry.name for entry in fields(Prediction) if entry.name != HEATMAP)
#: Version of the record's format. 2 added `REASON_CODE`; JSON lines of 1 are still read.
RECORD_SCHEMA = 2
_COLUMNS_OF_1 = tuple(name for name in COLUMNS if name != REASON_CODE)
#: As OWASP lists them, with the full-width forms that East Asian spreadsheets take for the same.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
#: What may end a cell somewhere: spreadsheets of some countries divide at semicolons.
_QUOTED = frozenset(',;"\t\r\n')


class OlderRecordsError(FractureEdgeError):
    """A CSV file has the columns of an earlier version, so that no record can be added to it."""


def render(
    predictions: Iterable[Prediction],
    style: Format,
    *,
    header: bool = True,
    overlays: Callable[[Prediction], str | None] | None = None,
) -> Iterator[str]:
    """Yield pieces of text, one per prediction as it comes (and brackets or a header around them).

    Args:
        predictions: In the order of the output.
        style: Of the text.
        header: Whether CSV begins with the names of the columns.
        overlays: Writes the overlay of a prediction and names its file, which records then carry as `HEATMAP`.
    """

    def record(prediction: Prediction) -> dict[str, Any]:
        values = prediction.record()
        return values if overlays is None else values | {HEATMAP: overlays(prediction)}

    if style == "text":
        for prediction in predictions:
            overlay = overlays(prediction) if overlays else None
            yield f"{sentence(prediction)}{f'; {overlay}' if overlay else ''}\n"
    elif style == "jsonl":
        yield from (f"{json.dumps(record(prediction))}\n" for prediction in predictions)
    elif style == "csv":
        if header:
            yield csv_line(columns(with_heatmap=overlays is not None))
        yield from (csv_line(record(prediction).values()) for prediction in predictions)
    else:
        separator = "[\n  "
        for prediction in predictions:
            yield separator + json.dumps(record(prediction))
            separator = ",\n  "
        yield "[]\n" if separator.startswith("[") else "\n]\n"


def columns(*, with_heatmap: bool) -> tuple[str, ...]:
    """Names of the columns, with that of the overlay's file or without."""
    return (*COLUMNS, HEATMAP) if with_heatmap else COLUMNS


def sentence(prediction: Prediction) -> str:
    """One prediction for people, without a line's end."""
    frame = f", frame {prediction.frame} of {prediction.frames}" if prediction.frames > 1 else ""
    if prediction.probability is None:
        return f"{prediction.path}{frame}: no answer, {prediction.status} ({prediction.reason})"
    return (
        f"{prediction.path}{frame}: {prediction.decision}, P(fractured) = {prediction.probability:.3f} "
        f"(threshold {prediction.threshold:.3f}; {prediction.reason}; {prediction.elapsed_ms:.0f} ms)"
    )


def csv_line(values: Iterable[object]) -> str:
    """One record that no spreadsheet calculates; see above."""
    return ",".join(map(_cell, values)) + "\n"


def parse(text: str, style: Format) -> dict[str, Any] | None:
    """Read one record of `render` in JSON lines or CSV; ``None`` for the header of CSV.

    Numbers of a CSV record stay texts, those of frames excepted, and what is missing is the empty text.

    Raises:
        ValueError: It is none.
        OlderRecordsError: It is the header of CSV that an earlier version wrote.
    """
    if style == "jsonl":
        record = json.loads(text)
        if not isinstance(record, dict) or not record.keys() >= set(_COLUMNS_OF_1):
            raise ValueError("not a record")
    else:
        import csv
        import io

        (cells,) = csv.reader(io.StringIO(text, newline=""), strict=True)
        if tuple(cells) in (_COLUMNS_OF_1, (*_COLUMNS_OF_1, HEATMAP)):
            raise OlderRecordsError
        names = columns(with_heatmap=len(cells) > len(COLUMNS))
        if tuple(cells) == names:
            return None
        record = dict(zip(names, map(_plain, cells), strict=True))
    frame, frames = int(record["frame"]), int(record["frames"])
    if not 1 <= frame <= frames:
        raise ValueError("no such frame")
    return record | {"frame": frame, "frames": frames}


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = str(value)
    if isinstance(value, (int, float)):
        return text
    if text.startswith((*FORMULA_STARTS, "'")):
        text = "'" + text
    return '"' + text.replace('"', '""') + '"' if _QUOTED.intersection(text) else text


def _plain(cell: str) -> str:
    return cell.removeprefix("'")
