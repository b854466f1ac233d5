"""Index of the records of all parts, in a database on the disk, so that memory does not grow with their number."""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from fracture_edge.batch.merging.parts import PartRecord

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE record (
    id INTEGER PRIMARY KEY, key BLOB, path BLOB, frame INT, frames INT, part INT, start INT, length INT,
    answer BLOB
);
CREATE TABLE expected (place INTEGER PRIMARY KEY, key BLOB, path BLOB);
CREATE TABLE numbered (
    id INTEGER PRIMARY KEY, key BLOB, copy INT, place INT, frame INT, frames INT, known INT, first INT
);
"""
# A path that the list names twice has two records of each frame; further ones are copies.
_NUMBER = """
CREATE INDEX by_key ON record (key, frame, id);
CREATE TABLE wanted AS
    SELECT place, key, path, ROW_NUMBER() OVER (PARTITION BY key ORDER BY place) AS copy FROM expected;
CREATE UNIQUE INDEX by_copy ON wanted (key, copy);
INSERT INTO numbered
    SELECT id, key, copy, place, frame, frames, EXISTS (SELECT 1 FROM wanted WHERE wanted.key = found.key), first
    FROM (
        SELECT id, key, frame, frames, ROW_NUMBER() OVER same AS copy, FIRST_VALUE(id) OVER same AS first
        FROM record WINDOW same AS (PARTITION BY key, frame ORDER BY id)
    ) AS found LEFT JOIN wanted USING (key, copy);
CREATE INDEX in_order ON numbered (place IS NULL, place, key, frame);
CREATE VIEW kept AS SELECT * FROM numbered WHERE place IS NOT NULL OR (NOT known AND copy = 1);
CREATE VIEW surplus AS SELECT * FROM numbered WHERE place IS NULL AND (known OR copy > 1);
"""


class Place(NamedTuple):
    """Place of the text of a record.

    Attributes:
        part: Number of the part, from 0.
        start: Offset in the part, in bytes.
        length: Length in bytes.
    """

    part: int
    start: int
    length: int


class Found(NamedTuple):
    """Files in which something was found.

    Attributes:
        number: Number of files, or of records.
        first: Path of the first of them; empty if there is none.
    """

    number: int
    first: str


class Index:
    """Index of records by path and frame.

    As a context manager, it is closed at the end of the block.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def add(self, part: int, records: Iterable[PartRecord]) -> None:
        """Add the records of a part, with its number from 0."""
        self._database.execute("BEGIN")
        self._database.executemany(
            "INSERT INTO record (key, path, frame, frames, part, start, length, answer) VALUES (?,?,?,?,?,?,?,?)",
            (
                (
                    _key(record.fields["path"]),
                    _bytes(record.fields["path"]),
                    record.fields["frame"],
                    record.fields["frames"],
                    part,
                    record.start,
                    record.length,
                    _answer(record),
                )
                for record in records
            ),
        )
        self._database.execute("COMMIT")

    def expect(self, paths: Iterable[str]) -> None:
        """Add the paths that should have records, in their order."""
        self._database.execute("BEGIN")
        self._database.executemany(
            "INSERT INTO expected (key, path) VALUES (?, ?)",
            ((_key(path), _bytes(path)) for path in paths),
        )
        self._database.execute("COMMIT")

    def finish(self) -> None:
        """Bring the records into order; call it once, after all have been added."""
        self._database.executescript(_NUMBER)

    def __len__(self) -> int:
        (count,) = self._database.execute("SELECT COUNT(*) FROM kept").fetchone()
        return int(count)

    def files(self) -> int:
        """Count the files that have a record."""
        (count,) = self._database.execute("SELECT COUNT(*) FROM (SELECT DISTINCT key, copy FROM kept)").fetchone()
        return int(count)

    def in_order(self) -> Iterator[Place]:
        """Yield where each record is: in the order of the list, then those that it does not name, by path."""
        rows = self._database.execute(
            "SELECT part, start, length FROM kept JOIN record USING (id) "
            "ORDER BY place IS NULL, place, kept.key, kept.frame"
        )
        return map(Place._make, rows)

    def copies(self) -> Found:
        """Find records that are there more often than they should be."""
        return self._found(
            "SELECT COUNT(*) OVER (), path FROM surplus JOIN record USING (id) ORDER BY surplus.id LIMIT 1"
        )

    def contradictions(self) -> Found:
        """Find those of `copies` that differ from the first of their path and frame in more than `elapsed_ms`."""
        return self._found(
            "SELECT COUNT(*) OVER (), record.path FROM surplus JOIN record USING (id) "
            "JOIN record AS earlier ON earlier.id = surplus.first "
            "WHERE record.answer != earlier.answer ORDER BY surplus.id LIMIT 1"
        )

    def missing(self) -> Found:
        """Find the paths of the list that have no record."""
        return self._found(
            "SELECT COUNT(*) OVER (), path FROM wanted "
            "WHERE place NOT IN (SELECT place FROM numbered WHERE place IS NOT NULL) ORDER BY place LIMIT 1"
        )

    def unexpected(self) -> Found:
        """Find the paths with records that the list does not name."""
        return self._found(
            "SELECT COUNT(*) OVER (), path FROM numbered JOIN record USING (id) WHERE NOT known "
            "GROUP BY numbered.key ORDER BY numbered.key LIMIT 1"
        )

    def incomplete(self) -> Found:
        """Find the files of which frames have no record."""
        return self._found(
            "SELECT COUNT(*) OVER (), path FROM kept JOIN record USING (id) GROUP BY kept.key, copy "
            "HAVING COUNT(*) != MAX(kept.frames) ORDER BY kept.key LIMIT 1"
        )

    def _found(self, query: str) -> Found:
        number, path = self._database.execute(query).fetchone() or (0, b"")
        return Found(number, path.decode("utf-8", "surrogateescape"))


def _key(path: str) -> bytes:
    """Return what orders paths as `classify` orders the files of a folder: by name, folder by folder."""
    return "\0".join(Path(path).parts).encode("utf-8", "surrogatepass")


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _answer(record: PartRecord) -> bytes:
    """Return a digest of the record without the time that it took."""
    fields = {name: value for name, value in record.fields.items() if name != "elapsed_ms"}
    return hashlib.blake2b(json.dumps(fields).encode(), digest_size=8).digest()
