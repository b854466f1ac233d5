"""Append-only file of records that survives interruptions.

Whatever ends the process, even `kill -9`, the records written so far remain. An incomplete record at the end is
cut off when the file is opened again.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from fracture_edge.batch.records import REASON_CODE, Format, OlderRecordsError, OtherColumnsError, parse
from fracture_edge.errors import FractureEdgeError

#: Maximum number of bytes of an incomplete record; with more, it is some other file, which must not be truncated.
_LONGEST_TAIL = 1 << 16


class Journal:
    """Open file of records, locked against a second writer if the system supports it.

    Attributes:
        path: Path of the file.
        empty: Whether the file was empty when it was opened.
    """

    def __init__(
        self,
        path: Path,
        style: Format,
        seen: Callable[[Mapping[str, Any]], None],
        *,
        further: Sequence[str] = (),
        fresh: bool = False,
    ) -> None:
        """Open or create the file, cut off an incomplete record at its end, and read the others.

        Args:
            path: Path of the file; its folder is created.
            style: Format of the records, ``jsonl`` or ``csv``.
            seen: Function that is called with each record, in order; see `fracture_edge.batch.records.parse`.
            further: Columns of the model, as for `fracture_edge.batch.records.parse`.
            fresh: Whether to empty the file first.

        Raises:
            FractureEdgeError: Another process is writing to the file, or it contains something else than records.
            OSError: The file cannot be opened.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("a+b", buffering=0)
        try:
            lock(self._stream, path)
            end = 0 if fresh else self._read(style, seen, further)
            self._stream.truncate(end)
            self.empty = end == 0
        except BaseException:
            self._stream.close()
            raise

    def append(self, text: str, *, durable: bool = False) -> None:
        """Write a record.

        Args:
            text: Record, including its line end.
            durable: Whether to wait until the record is on the disk, so that it survives a power cut.

        Raises:
            OSError: The record cannot be written, because the disk is full, say; the error names the file.
        """
        data = memoryview(text.encode("utf-8", "surrogateescape"))
        try:
            while data:
                data = data[self._stream.write(data) :]
            if durable:
                self.flush()
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fspath(self.path)) from error

    def flush(self) -> None:
        """Wait until all records are on the disk."""
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close the file; closing again has no effect."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, style: Format, seen: Callable[[Mapping[str, Any]], None], further: Sequence[str]) -> int:
        """Read the complete records, and return the offset at which the last of them ends."""
        end = 0
        with self.path.open("rb") as stream:
            for number, data in enumerate(complete_records(stream, style), 1):
                end += len(data)
                try:
                    record = parse(data.decode("utf-8", "surrogateescape"), style, further)
                except OlderRecordsError as error:
                    raise FractureEdgeError(
                        f"{self.path} was written by an earlier version, whose CSV has no column "
                        f"'{REASON_CODE}'; name another file, or give --force to start again"
                    ) from error
                except OtherColumnsError as error:
                    raise FractureEdgeError(
                        f"{self.path} has the columns of another model; name another file, or give --force to "
                        "start again"
                    ) from error
                except Exception as error:  # csv.Error and ValueError
                    raise FractureEdgeError(
                        f"{self.path}: record {number} is not a {style} record of fracture-edge; name another file"
                    ) from error
                if record is not None:
                    seen(record)
            stream.seek(end)
            # A power cut may leave zeros in place of data.
            if len(stream.read().strip(b"\0")) > _LONGEST_TAIL:
                raise FractureEdgeError(f"{self.path} is not a {style} file of fracture-edge; name another file")
        return end


def complete_records(stream: BinaryIO, style: Format) -> Iterator[bytes]:
    """Yield the text of each complete record of JSON lines or CSV, including its line end, and the CSV header."""
    record = b""
    for line in stream:
        record += line
        # A line end within quotes belongs to a file name.
        if line.endswith(b"\n") and (style == "jsonl" or record.count(b'"') % 2 == 0):
            yield record
            record = b""
        elif len(record) > _LONGEST_TAIL:
            return


def lock(stream: BinaryIO, path: Path) -> None:
    """Lock the file against a second process; the system releases the lock however this process ends.

    Raises:
        FractureEdgeError: Another process holds the lock.
    """
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise FractureEdgeError(
            f"{path} is being written by another fracture-edge process; wait for it to end"
        ) from error
    except OSError:
        # Some network shares do not support locks.
        return
