"""States of watched files, and which of them have records."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

#: Seconds without a change after which a file counts as complete if its content does not tell. Copies over a
#: network stall for ten seconds and more.
SETTLE_SECONDS = 30.0


class FileState(NamedTuple):
    """State of a file, which changes when the file is replaced or written to.

    Attributes:
        size: Size in bytes.
        mtime_ns: Time of modification in nanoseconds since 1970, which a copy may set back.
        ctime_ns: Time of the last change of content or attributes, which no program can set (on Windows the time
            of creation); 0 in records of version 0.1.
        inode: Number of the file in its file system, another one for a file that replaces it; 0 in records of
            version 0.1.
    """

    size: int
    mtime_ns: int
    ctime_ns: int = 0
    inode: int = 0


def state_of(path: str) -> FileState | None:
    """Return the state of a file; ``None`` if it is not there."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return FileState(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


@dataclass(slots=True)
class _FileRecords:
    """State of the records of one file.

    Attributes:
        state: State of the file that was classified.
        digest: Digest of the content that was classified; empty if it is not known.
        missing: Numbers of the frames without a record.
    """

    state: FileState
    digest: str
    missing: set[int]

    def are_of(self, state: FileState) -> bool:
        """Return whether the records are of a file in this state, as far as the state tells."""
        if not self.state.inode:
            return self.state[:2] == state[:2]
        return self.state == state


class WatchRecords:
    """Records of the files of a folder, by path."""

    def __init__(self) -> None:
        self._files: dict[str, _FileRecords] = {}

    def add(self, record: Mapping[str, Any]) -> None:
        """Register a record; one without the size and time of its file, as `classify` writes it, has no effect."""
        if not ("size" in record and "mtime_ns" in record):
            return
        state = FileState(*(record.get(name, 0) for name in FileState._fields))
        path, digest = record["path"], record.get("digest", "")
        records = self._files.get(path)
        if records is None or (records.digest != digest if digest else records.state != state):
            records = self._files[path] = _FileRecords(state, digest, set(range(1, record["frames"] + 1)))
        records.state = state
        records.missing.discard(record["frame"])

    def known(self, path: str, state: FileState) -> bool:
        """Return whether a file in this state has records, so that its content need not be compared."""
        records = self._files.get(path)
        return records is not None and records.are_of(state)

    def recognise(self, path: str, state: FileState, digest: str) -> None:
        """Take a file for the one of the records if its content is the same, whatever its state is by now."""
        records = self._files.get(path)
        if records is not None and digest and records.digest == digest:
            records.state = state

    def missing(self, path: str, state: FileState) -> Sequence[int] | None:
        """Return the numbers of the frames without a record; ``None`` if this file has no record at all."""
        records = self._files.get(path)
        return sorted(records.missing) if records is not None and records.are_of(state) else None
