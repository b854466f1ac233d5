"""Predictions as text, JSON, JSON lines or CSV records.

CSV files are opened in spreadsheets, and file names are untrusted input: an apostrophe is put before a text cell
that begins with one of `FORMULA_STARTS`, because a spreadsheet would evaluate it as a formula
(https://owasp.org/www-community/attacks/CSV_Injection). A cell that begins with an apostrophe gets another one, so
that removing one restores the text. Numbers are left unchanged.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from fracture_edge.errors import FractureEdgeError
from fracture_edge.prediction import COLUMNS, Prediction

Format = Literal["text", "json", "jsonl", "csv"]
#: Name of the column with the path of the overlay; a `Prediction` carries the heat map itself.
HEATMAP = "heatmap"
REASON_CODE = "reason_code"
#: Version of the record format. Version 2 added `REASON_CODE`, and the fields of models with further outputs; JSON
#: lines of version 1 can still be read.
RECORD_SCHEMA = 2
_COLUMNS_OF_1 = tuple(name for name in COLUMNS if name != REASON_CODE)
#: First characters of formulas: those that OWASP lists, and full-width forms that East Asian spreadsheets accept.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
#: Characters for which a cell is quoted; spreadsheets in some locales separate cells at semicolons.
_QUOTED = frozenset(',;"\t\r\n')


class OtherColumnsError(FractureEdgeError):
    """A CSV file has the columns of another model, so that no records can be added to it."""


class OlderRecordsError(FractureEdgeError):
    """A CSV file has the columns of an earlier version, so that no records can be added to it."""


def render(
    predictions: Iterable[Prediction],
    style: Format,
    *,
    header: bool = True,
    further: Sequence[str] = (),
    overlays: Callable[[Prediction], str | None] | None = None,
) -> Iterator[str]:
    """Format predictions as records, one at a time.

    Args:
        predictions: Predictions in the order of the output.
        style: Format of the records: ``text``, ``json``, ``jsonl`` or ``csv``.
        header: Whether CSV begins with a header of column names.
        further: Columns of the header after `COLUMNS`, see `fracture_edge.attributes.Attributes.columns`.
        overlays: Function that writes the overlay of a prediction and returns its path, which becomes the field
            `HEATMAP` of the record.

    Yields:
        Text of each record when its prediction is available, and of the brackets or the header around them.
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
            yield csv_line(columns(further, with_heatmap=overlays is not None))
        yield from (csv_line(record(prediction).values()) for prediction in predictions)
    else:
        separator = "[\n  "
        for prediction in predictions:
            yield separator + json.dumps(record(prediction))
            separator = ",\n  "
        yield "[]\n" if separator.startswith("[") else "\n]\n"


def columns(further: Sequence[str] = (), *, with_heatmap: bool) -> tuple[str, ...]:
    """Return the names of the CSV columns: `COLUMNS`, those of the model, the path of the overlay if wanted."""
    return (*COLUMNS, *further, *((HEATMAP,) if with_heatmap else ()))


def sentence(prediction: Prediction) -> str:
    """Format a prediction as a sentence, without a line end."""
    frame = f", frame {prediction.frame} of {prediction.frames}" if prediction.frames > 1 else ""
    if prediction.probability is None:
        return f"{prediction.path}{frame}: no answer, {prediction.status} ({prediction.reason})"
    return (
        f"{prediction.path}{frame}: {prediction.decision}, P(fractured) = {prediction.probability:.3f} "
        f"(threshold {prediction.threshold:.3f}; {prediction.reason}; {prediction.elapsed_ms:.0f} ms)"
    )


def csv_line(values: Iterable[object]) -> str:
    """Format a CSV record whose cells no spreadsheet evaluates as formulas; see the module."""
    return ",".join(map(_cell, values)) + "\n"


def parse(text: str, style: Format, further: Sequence[str] = ()) -> dict[str, Any] | None:
    """Parse one record that `render` has written as JSON lines or CSV.

    Args:
        text: Record, including its line end.
        style: Format of the record, ``jsonl`` or ``csv``.
        further: Columns of CSV after `COLUMNS`, as for `render`.

    Returns:
        Fields of the record, or ``None`` for a CSV header. In CSV all values but ``frame`` and ``frames`` are
        strings, and missing values are empty strings.

    Raises:
        ValueError: The text is not a record.
        OlderRecordsError: The text is the CSV header of an earlier version.
        OtherColumnsError: The text is a CSV header with other columns than `further` after `COLUMNS`.
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
        names = columns(further, with_heatmap=len(cells) > len(COLUMNS) + len(further))
        if tuple(cells) == names:
            return None
        if tuple(cells[: len(COLUMNS)]) == COLUMNS:
            raise OtherColumnsError
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
    if isinstance(value, Mapping):
        text = json.dumps(value)
    if text.startswith((*FORMULA_STARTS, "'")):
        text = "'" + text
    return '"' + text.replace('"', '""') + '"' if _QUOTED.intersection(text) else text


def _plain(cell: str) -> str:
    return cell.removeprefix("'")
