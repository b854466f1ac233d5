"""Classification of images as they appear in a folder.

The folder is polled, which works on network shares and needs no support by the system. A file is classified when
its size and modification time are the same in two consecutive scans. The records tell what was classified: each
contains the ``size`` and ``mtime_ns`` of the file in addition to its path and frame, so that a restart classifies
nothing twice and a file that was replaced is classified again.
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

#: Suffixes of incomplete files, also if another suffix follows: ``x.tmp.png``.
UNFINISHED = frozenset({".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart"})
#: Interval at which signals are noticed while waiting, in seconds.
_NAP_SECONDS = 0.2


class FileState(NamedTuple):
    """State of a file, which changes when the file is replaced or written to.

    Attributes:
        size: Size in bytes.
        mtime_ns: Time of modification in nanoseconds since 1970.
    """

    size: int
    mtime_ns: int


class _FileRecords(NamedTuple):
    """State of the records of one file.

    Attributes:
        state: State of the file that was classified.
        missing: Numbers of the frames without a record.
    """

    state: FileState
    missing: set[int]


class Watcher:
    """Watcher of a folder, which remembers the frames that have been classified.

    Attributes:
        folder: Absolute path of the folder, so that the paths in records do not depend on the working folder.
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
        """Open the output, and read from it what has been classified.

        Args:
            folder: Folder to watch.
            out: Path of the output, JSON lines: the records of `classify` with ``size`` (bytes) and ``mtime_ns``
                (nanoseconds since 1970) of the file.
            classifier: Classifier of the images.
            recursive: Whether to watch sub-folders too.
            move_to: Folder that classified files are moved to, under the same names; they are not moved if
                ``None``.
            note: Function that is called once with each message about a folder that cannot be read or a file that
                cannot be moved.

        Raises:
            FractureEdgeError: `folder` does not exist, or `out` is in use by another process or contains something
                else than records.
        """
        if not folder.is_dir():
            raise FractureEdgeError(f"{folder}: no such folder")
        self.folder = Path(os.path.abspath(folder))  # noqa: PTH100
        self._move_to = None if move_to is None else Path(os.path.abspath(move_to))  # noqa: PTH100
        self._classifier = classifier
        self._recursive = recursive
        self._note = note
        self._noted: set[str] = set()
        self._records: dict[str, _FileRecords] = {}
        self._last: dict[str, FileState] = {}
        self._checked: dict[Path, tuple[FileState, bool]] = {}
        self._checked_before: dict[Path, tuple[FileState, bool]] = {}
        self._journal = Journal(out, "jsonl", self._remember)

    def close(self) -> None:
        """Close the output."""
        self._journal.close()

    def scan(self) -> Iterator[Prediction]:
        """Scan the folder once, and classify new files that have not changed since the last scan, oldest first.

        Yields:
            Prediction for each frame, after its record is on the disk.
        """
        # Files that no longer exist are forgotten.
        self._checked_before, self._checked = self._checked, {}
        found = dict(self._files(self.folder))
        unchanged = [(path, state) for path, state in found.items() if self._last.get(path) == state]
        self._last = found
        new: list[tuple[str, FileState, Wanted]] = []
        for path, state in unchanged:
            missing = self._missing(path, state)
            if missing is None or missing:
                new.append((path, state, Wanted(path, missing)))
            else:
                self._move(path)
        new.sort(key=lambda entry: (entry[1].mtime_ns, entry[0]))
        predictions = self._classifier.predict_files(
            (wanted for _, _, wanted in new), jobs=default_jobs() if len(new) > 1 else 1
        )
        for (path, state, _), frames in zip(new, predictions, strict=True):
            for prediction in frames:
                if _state(path) != state:
                    # The file was written to while it was read; a later scan will classify it.
                    break
                record = prediction.record() | state._asdict()
                self._journal.append(json.dumps(record) + "\n", durable=True)
                self._remember(record)
                if not self._missing(path, state):
                    self._move(path)
                yield prediction

    def _missing(self, path: str, state: FileState) -> Sequence[int] | None:
        """Return the numbers of the frames without a record; ``None`` if the file has no record at all."""
        records = self._records.get(path)
        return sorted(records.missing) if records is not None and records.state == state else None

    def _remember(self, record: Mapping[str, Any]) -> None:
        if not ("size" in record and "mtime_ns" in record):
            return
        path, state = record["path"], FileState(record["size"], record["mtime_ns"])
        records = self._records.get(path)
        if records is None or records.state != state:
            records = self._records[path] = _FileRecords(state, set(range(1, record["frames"] + 1)))
        records.missing.discard(record["frame"])

    def _files(self, folder: Path) -> Iterator[tuple[str, FileState]]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            # A network share may be unavailable for a while.
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
                # An empty file has not been written to yet.
                if state is not None and state.size and entry.is_file() and self._is_image(path, state):
                    yield entry.path, state

    def _is_image(self, path: Path, state: FileState) -> bool:
        """Return `looks_like_image` of a file, which is not opened again in every scan."""
        checked = self._checked_before.get(path)
        if checked is None or checked[0] != state:
            checked = state, looks_like_image(path)
        self._checked[path] = checked
        return checked[1]

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
    """Scan a folder repeatedly until `stopped` returns true.

    Args:
        watcher: Watcher of the folder.
        report: Function that is called with every prediction, after its record is on the disk.
        interval: Time between two scans, in seconds.
        once: Whether to return after two scans, which classify the files that are present.
        stopped: Function that is called before every prediction and several times a second in between.
    """
    scans = 0
    while not stopped():
        for prediction in watcher.scan():
            report(prediction)
            if stopped():
                return
        scans += 1
        if once and scans == 2:
            return
        _wait(interval, stopped)


def _wait(seconds: float, stopped: Callable[[], bool]) -> None:
    # Not a threading.Event: a signal handler could not set it while its lock is held.
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not stopped():
        time.sleep(min(left, _NAP_SECONDS))


def _state(path: str) -> FileState | None:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return FileState(found.st_size, found.st_mtime_ns)


def _free(target: Path) -> Path:
    """Return `target`, or a numbered variant of it if it exists."""
    number = 1
    free = target
    while os.path.lexists(free):
        number += 1
        free = target.with_stem(f"{target.stem}-{number}")
    return free
