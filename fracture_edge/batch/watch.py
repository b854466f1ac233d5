"""Answering images as they appear in a folder.

The folder is looked at again and again: that works on network shares and needs nothing of the system. A file is
taken when its size and time of modification are the same in two looks. What was answered is known from the
records themselves: each carries the file's ``size`` and ``mtime_ns`` beside its path and frame, so a restart
answers nothing twice, and a file that was replaced is answered anew.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fracture_edge.batch.inputs import looks_like_image
from fracture_edge.batch.journal import Journal
from fracture_edge.classifier import FractureClassifier
from fracture_edge.decoding import Wanted
from fracture_edge.errors import FractureEdgeError
from fracture_edge.prediction import Prediction
from fracture_edge.threads import default_jobs

#: Endings that programs give to files that they have not finished, also before the final one: ``x.tmp.png``.
UNFINISHED = frozenset({".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart"})
#: How soon a signal is noticed while nothing else happens.
_NAP_SECONDS = 0.2


class State(NamedTuple):
    """What tells one content of a file from another."""

    size: int
    mtime_ns: int


class _Records(NamedTuple):
    """What the records of a file say: of which content, and which of its frames have none."""

    state: State
    missing: set[int]


class Watcher:
    """A folder, and which frames of its files have been answered.

    Attributes:
        folder: Absolute, so that paths in records mean the same wherever the next run is started.
    """

    def __init__(
        self,
        folder: Path,
        out: Path,
        classifier: FractureClassifier,
        *,
        recursive: bool = False,
        move_to: Path | None = None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Open the output and learn from it what was answered.

        Args:
            folder: To look into.
            out: JSON lines: the records of `classify` with ``size`` (bytes) and ``mtime_ns`` (nanoseconds since
                1970) of the file.
            classifier: Answers.
            recursive: Whether to look into sub-folders too.
            move_to: Where answered files go, under the same names; they stay where they are if ``None``.
            note: Told what could not be looked at or moved, once each.

        Raises:
            FractureEdgeError: `folder` is none, or `out` belongs to another process or is something else.
        """
        if not folder.is_dir():
            raise FractureEdgeError(f"{folder}: no such folder")
        self.folder = Path(os.path.abspath(folder))  # noqa: PTH100
        self._move_to = None if move_to is None else Path(os.path.abspath(move_to))  # noqa: PTH100
        self._classifier = classifier
        self._recursive = recursive
        self._note = note
        self._noted: set[str] = set()
        self._records: dict[str, _Records] = {}
        self._last: dict[str, State] = {}
        self._judged: dict[Path, tuple[State, bool]] = {}
        self._judged_before: dict[Path, tuple[State, bool]] = {}
        self._journal = Journal(out, "jsonl", self._remember)

    def close(self) -> None:
        """Close the output."""
        self._journal.close()

    def look(self) -> Iterator[Prediction]:
        """Look once, and answer the files that are as they were at the look before, oldest first.

        Yields:
            Each answer, when its record is on the disk.
        """
        # What is gone is forgotten.
        self._judged_before, self._judged = self._judged, {}
        found = dict(self._files(self.folder))
        settled = [(path, state) for path, state in found.items() if self._last.get(path) == state]
        self._last = found
        new: list[tuple[str, State, Wanted]] = []
        for path, state in settled:
            missing = self._missing(path, state)
            if missing is None or missing:
                new.append((path, state, Wanted(path, missing)))
            else:
                self._move(path)
        new.sort(key=lambda entry: (entry[1].mtime_ns, entry[0]))
        answers = self._classifier.predict_files(
            (wanted for _, _, wanted in new), jobs=default_jobs() if len(new) > 1 else 1
        )
        for (path, state, _), frames in zip(new, answers, strict=True):
            for prediction in frames:
                if _state(path) != state:
                    # Written to while it was read: another look will tell.
                    break
                record = prediction.record() | state._asdict()
                self._journal.append(json.dumps(record) + "\n", durable=True)
                self._remember(record)
                if not self._missing(path, state):
                    self._move(path)
                yield prediction

    def _missing(self, path: str, state: State) -> Sequence[int] | None:
        """Numbers of the frames that have no record; ``None`` for all of them, however many."""
        records = self._records.get(path)
        return sorted(records.missing) if records is not None and records.state == state else None

    def _remember(self, record: Mapping[str, Any]) -> None:
        if not ("size" in record and "mtime_ns" in record):
            return
        path, state = record["path"], State(record["size"], record["mtime_ns"])
        records = self._records.get(path)
        if records is None or records.state != state:
            records = self._records[path] = _Records(state, set(range(1, record["frames"] + 1)))
        records.missing.discard(record["frame"])

    def _files(self, folder: Path) -> Iterator[tuple[str, State]]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            # A share that is away comes back.
            self._note_once(f"{folder}: {error.strerror}; trying again")
            return
        for entry in entries:
            path = Path(entry.path)
            if path == self._move_to or entry.name.startswith((".", "~")):
                continue
            if self._recursive and entry.is_dir(follow_symlinks=False):
                yield from self._files(path)
            elif UNFINISHED.isdisjoint(path.suffixes):
                state = _state(entry.path)
                # An empty file is one that nobody has written to yet.
                if state is not None and state.size and entry.is_file() and self._is_image(path, state):
                    yield entry.path, state

    def _is_image(self, path: Path, state: State) -> bool:
        """Whether it looks like one; a file is not opened for that again at every look."""
        judged = self._judged_before.get(path)
        if judged is None or judged[0] != state:
            judged = state, looks_like_image(path)
        self._judged[path] = judged
        return judged[1]

    def _move(self, name: str) -> None:
        if self._move_to is None:
            return
        path = Path(name)
        target = self._move_to / path.relative_to(self.folder)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, _free(target))
        except OSError as error:
            self._note_once(f"{path}: cannot be moved to {target.parent} ({error.strerror})")

    def _note_once(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self._note(text)


def watch(
    watcher: Watcher,
    report: Callable[[Prediction], None],
    *,
    interval: float,
    once: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Look until `stopped`.

    Args:
        watcher: Of the folder.
        report: Told every answer, when its record is on the disk.
        interval: Seconds between two looks.
        once: Look twice, answer what is there, and return.
        stopped: Asked before every answer, and several times a second in between.
    """
    looks = 0
    while not stopped():
        for prediction in watcher.look():
            report(prediction)
            if stopped():
                return
        looks += 1
        if once and looks == 2:
            return
        _wait(interval, stopped)


def _wait(seconds: float, stopped: Callable[[], bool]) -> None:
    # Not an Event: a signal that arrives while its lock is held could not set it.
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not stopped():
        time.sleep(min(left, _NAP_SECONDS))


def _state(path: str) -> State | None:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return State(found.st_size, found.st_mtime_ns)


def _free(target: Path) -> Path:
    """`target`, or a like name that nothing has."""
    number = 1
    free = target
    while os.path.lexists(free):
        number += 1
        free = target.with_stem(f"{target.stem}-{number}")
    return free
