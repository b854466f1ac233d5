"""A file of records that grows by whole records.

Whatever ends the process, kill -9 included, the records written so far stay, and the half of one that may follow
them is cut off when the file is opened again.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from fracture_edge.batch.records import REASON_CODE, Format, OlderRecordsError, parse
from fracture_edge.errors import FractureEdgeError

#: No record is as long: more than this without an end is some other file, which must not be cut.
_LONGEST_TAIL = 1 << 16


class Journal:
    """An open file of records, locked against a second writer where the system can.

    Attributes:
        path: Of the file.
        empty: Whether it was, when it was opened.
    """

    def __init__(
        self, path: Path, style: Format, seen: Callable[[Mapping[str, Any]], None], *, fresh: bool = False
    ) -> None:
        """Open or make the file, cut off half a record at its end, and read the others.

        Args:
            path: Of the file. Its folder is made.
            style: ``jsonl`` or ``csv``.
            seen: Called with each record, in order; see `fracture_edge.batch.records.parse`.
            fresh: Whether to empty the file first.

        Raises:
            FractureEdgeError: Another process writes to it, or it holds something else than records.
            OSError: It cannot be opened.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("a+b", buffering=0)
        try:
            _lock(self._stream, path)
            end = 0 if fresh else self._read(style, seen)
            self._stream.truncate(end)
            self.empty = end == 0
        except BaseException:
            self._stream.close()
            raise

    def append(self, text: str, *, durable: bool = False) -> None:
        """Write a record, line's end included.

        Args:
            text: The record.
            durable: Whether to wait until it is on the disk, where a power cut does not reach it.
        """
        data = memoryview(text.encode("utf-8", "surrogateescape"))
        while data:
            data = data[self._stream.write(data) :]
        if durable:
            self.flush()

    def flush(self) -> None:
        """Wait until everything is on the disk."""
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close the file; may be called again."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, style: Format, seen: Callable[[Mapping[str, Any]], None]) -> int:
        """Read the whole records; the offset at which the last of them ends."""
        end = 0
        with self.path.open("rb") as stream:
            for number, data in enumerate(_whole_records(stream, style), 1):
                end += len(data)
                try:
                    record = parse(data.decode("utf-8", "surrogateescape"), style)
                except OlderRecordsError as error:
                    raise FractureEdgeError(
                        f"{self.path} was begun by an earlier version, whose CSV has no column "
                        f"'{REASON_CODE}'; name another file, or give --force to begin again"
                    ) from error
                except Exception as error:  # csv.Error and ValueError
                    raise FractureEdgeError(
                        f"{self.path}: record {number} is no {style} record of fracture-edge; name another file"
                    ) from error
                if record is not None:
                    seen(record)
            stream.seek(end)
            # A power cut may leave zeros where data was due.
            if len(stream.read().strip(b"\0")) > _LONGEST_TAIL:
                raise FractureEdgeError(f"{self.path} is no {style} file of fracture-edge; name another file")
        return end


def _whole_records(stream: BinaryIO, style: Format) -> Iterator[bytes]:
    record = b""
    for line in stream:
        record += line
        # A line's end within quotes belongs to a file's name.
        if line.endswith(b"\n") and (style == "jsonl" or record.count(b'"') % 2 == 0):
            yield record
            record = b""
        elif len(record) > _LONGEST_TAIL:
            return


def _lock(stream: BinaryIO, path: Path) -> None:
    """Keep a second process out; the system lets go of the lock however this one ends."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise FractureEdgeError(f"{path} is being written by another fracture-edge; wait for it to end") from error
    except OSError:
        # Some network shares know no locks.
        return
