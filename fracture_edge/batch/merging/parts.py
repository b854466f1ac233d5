"""Reading of record files in every format that has records, with the text of each record as it was written."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fracture_edge.batch.journal import complete_records
from fracture_edge.batch.records import HEATMAP, Format, OlderRecordsError, OtherColumnsError, parse
from fracture_edge.errors import FractureEdgeError
from fracture_edge.prediction import COLUMNS

_ENCODING = ("utf-8", "surrogateescape")
_CSV_START = ",".join(COLUMNS[:3]).encode()


class PartRecord(NamedTuple):
    """Record of a part.

    Attributes:
        fields: Fields of the record, see `fracture_edge.batch.records.parse`.
        start: Offset of its text in the file, in bytes.
        length: Length of its text in bytes, without what separates records.
    """

    fields: Mapping[str, Any]
    start: int
    length: int


class Part:
    """Record file to be merged.

    Attributes:
        path: Path of the file.
        style: Format of the records; ``None`` if the file is empty.
        header: CSV header with its line end; empty in other formats.
    """

    def __init__(self, path: Path) -> None:
        """Find out the format of a file.

        Raises:
            FractureEdgeError: The file does not exist, or contains something else than records.
        """
        self.path = path
        self.style: Format | None = None
        self.header = b""
        try:
            with path.open("rb") as stream:
                first = stream.readline()
        except FileNotFoundError as error:
            partial = path.with_name(f"{path.name}.partial")
            hint = f"; {partial} is there: continue that run with --resume" if partial.exists() else ""
            raise FractureEdgeError(f"{path}: no such file{hint}") from error
        if first.startswith(b"["):
            self.style = "json"
        elif first.startswith(b"{"):
            self.style = "jsonl"
        elif first.startswith(_CSV_START):
            self.style, self.header = "csv", first
        elif first:
            raise FractureEdgeError(
                f"{path} has no records; merge takes what `classify` writes with --jsonl, --csv or --json"
            )

    def records(self) -> Iterator[PartRecord]:
        """Yield the records.

        Raises:
            FractureEdgeError: A record is damaged, or the file ends within one.
        """
        if self.style is None:
            return
        with self.path.open("rb") as stream:
            end = number = 0
            for text in complete_records(stream, "csv" if self.style == "csv" else "jsonl"):
                number += 1
                fields = self._parse(text, number)
                if fields is not None:
                    content = text.strip().removesuffix(b",") if self.style == "json" else text
                    yield PartRecord(fields, end + text.index(content), len(content))
                end += len(text)
            if stream.seek(0, os.SEEK_END) != end:
                raise FractureEdgeError(
                    f"{self.path} ends within record {number + 1}; continue the run that wrote it with --resume"
                )

    def _parse(self, text: bytes, number: int) -> Mapping[str, Any] | None:
        """Parse a record; ``None`` for the CSV header and the brackets of JSON."""
        line = text.decode(*_ENCODING)
        try:
            if self.style == "csv":
                return parse(line, "csv", self._further())
            if self.style == "json":
                line = line.strip().removesuffix(",")
                if line in ("[", "]", "[]"):
                    return None
            return parse(line, "jsonl")
        except OlderRecordsError as error:
            raise FractureEdgeError(f"{self.path} was written by an earlier version; classify anew") from error
        except (ValueError, OtherColumnsError) as error:
            raise FractureEdgeError(
                f"{self.path}: record {number} is not a record of fracture-edge ({error})"
            ) from error

    def _further(self) -> list[str]:
        """Return the columns of the header after the fixed ones, without that of the overlays."""
        names = self.header.decode(*_ENCODING).rstrip("\n").split(",")[len(COLUMNS) :]
        return names[:-1] if names[-1:] == [HEATMAP] else names
