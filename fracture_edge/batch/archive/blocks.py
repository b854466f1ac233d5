"""Folder of an archive in work: the list of its files, and a file with the records of each block of the list.

A block is so many consecutive files of the list. Its records are appended to ``parts/NUMBER.jsonl.partial`` as
they come, a task at a time, and the file is renamed when the block is complete: whatever ends the process, a
resumed one repeats only tasks whose records had not arrived.
"""

import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from fracture_edge.batch.archive.worker import to_row
from fracture_edge.batch.journal import Journal, lock
from fracture_edge.batch.records import Format, columns, csv_line
from fracture_edge.batch.resume import OutputRecords, partial_path
from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_path, write_json

#: Number of files of a task, which is what one worker does at a time.
TASK_FILES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a resumed run must have in common with the one before.

    Attributes:
        files: Number of files.
        list_sha256: SHA-256 of the list of their names.
        model_sha256: SHA-256 of the model file.
        policy: Threshold and uncertain band.
        check_images: Whether images are checked.
        max_pixels: Maximum number of pixels.
        style: Format of the records.
        block_files: Number of files of a block.
    """

    files: int
    list_sha256: str
    model_sha256: str
    policy: Mapping[str, float]
    check_images: bool
    max_pixels: int
    style: Format
    block_files: int

    @classmethod
    def of(
        cls,
        files: Sequence[str],
        classifier: FractureClassifier,
        *,
        max_pixels: int,
        style: Format,
        block_files: int,
    ) -> Self:
        """Make the plan for a list of files."""
        return cls(
            files=len(files),
            list_sha256=hashlib.sha256(_listed(files)).hexdigest(),
            model_sha256=classifier.sha256,
            policy=asdict(classifier.policy),
            check_images=classifier.checks_images,
            max_pixels=max_pixels,
            style=style,
            block_files=block_files,
        )


class _Block(NamedTuple):
    """Block in work.

    Attributes:
        number: Number of the block, from 0.
        tasks: Numbers of the tasks whose records have not arrived.
    """

    number: int
    tasks: set[int]


class Blocks:
    """Blocks of an archive, locked against a second process. As a context manager, it is closed at the end.

    Attributes:
        list_path: Path of the list of files, each name terminated by NUL.
    """

    def __init__(
        self, folder: Path, plan: Plan, files: Sequence[str], like: FractureClassifier, *, resume: bool
    ) -> None:
        """Begin or go on.

        Args:
            folder: Folder for everything.
            plan: Plan of this run.
            files: Names of the files.
            like: Classifier with whose model and policy existing records must agree.
            resume: Whether to keep the records that are there.

        Raises:
            FractureEdgeError: The folder is that of another plan or of another process, or it must be resumed.
        """
        self._folder, self._plan, self._files, self._like = folder, plan, files, like
        self._parts, self.list_path = folder / "parts", folder / "files.list"
        self._waiting: dict[int, _Block] = {}
        self._journals: dict[int, Journal] = {}
        self._parts.mkdir(parents=True, exist_ok=True)
        self._lock = (folder / ".lock").open("wb")
        try:
            lock(self._lock, folder)
            self._begin(folder / "plan.json", resume=resume)
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for journal in self._journals.values():
            journal.close()
        self._lock.close()

    def _begin(self, path: Path, *, resume: bool) -> None:
        from json import loads

        begun = path.exists() and any(self._parts.iterdir())
        if not begun:
            with atomic_path(self.list_path) as temporary:
                temporary.write_bytes(_listed(self._files))
            write_json(path, asdict(self._plan))
            return
        if not resume:
            raise FractureEdgeError(f"{self._folder} has an archive in work; give --resume, or another folder")
        before, now = loads(path.read_text(encoding="utf-8")), asdict(self._plan)
        if other := [name for name in now if before.get(name) != now[name]]:
            raise FractureEdgeError(
                f"{self._folder} was begun with another {', '.join(other)}; resume it in the same way, or give "
                "another folder"
            )

    def __len__(self) -> int:
        return math.ceil(len(self._files) / self._plan.block_files)

    def part(self, number: int) -> Path:
        """Return the path of the records of a block, with its number from 0."""
        return self._parts / f"{number:07}.{self._plan.style}"

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each task whose records are missing; see `fracture_edge.batch.archive.worker`."""
        for number in range(len(self)):
            part = self.part(number)
            if part.exists():
                continue
            records = OutputRecords(part, self._like, with_heatmap=False)
            if partial_path(part).exists():
                self._open(part, records).close()
            first = number * self._plan.block_files
            wanted = records.missing(self._files[first : first + self._plan.block_files])
            tasks = [wanted[start : start + TASK_FILES] for start in range(0, len(wanted), TASK_FILES)]
            self._waiting[number] = _Block(number, set(range(len(tasks))))
            if not tasks:
                self._finish(number)
            for task, files in enumerate(tasks):
                yield to_row(number, task, files)

    def add(self, row: Mapping[str, Any]) -> bool:
        """Append the records of a task.

        Returns:
            Whether they are new; a task that was done twice, because a machine failed, counts once.
        """
        number, task = int(row["block"]), int(row["task"])
        block = self._waiting.get(number)
        if block is None or task not in block.tasks:
            return False
        part = self.part(number)
        journal = self._journals.get(number)
        if journal is None:
            records = OutputRecords(part, self._like, with_heatmap=False)
            journal = self._journals[number] = self._open(part, records)
            if self._plan.style == "csv" and journal.empty:
                journal.append(csv_line(columns(self._like.attributes.columns, with_heatmap=False)))
        journal.append(bytes(row["records"]).decode("utf-8", "surrogateescape"))
        block.tasks.discard(task)
        if not block.tasks:
            self._finish(number)
        return True

    def _open(self, part: Path, records: OutputRecords) -> Journal:
        return Journal(partial_path(part), self._plan.style, records.add, further=self._like.attributes.columns)

    def _finish(self, number: int) -> None:
        part = self.part(number)
        journal = self._journals.pop(number, None)
        if journal is not None:
            journal.flush()
            journal.close()
        partial_path(part).replace(part)
        del self._waiting[number]


def _listed(files: Iterable[str]) -> bytes:
    return b"".join(os.fsencode(file) + b"\0" for file in files)
