"""Classification of images as they appear in a folder.

The folder is polled, which works on network shares and needs no support by the system. A file is classified when
its state is the same in two consecutive scans and its content shows that it is complete. Where the content does
not tell, nothing must have changed for a while; see `fracture_edge.batch.completeness`. A file is moved only after
that time, because its writer may still set its time.

The records tell what was classified: each contains the state of the file and a digest of its content in addition
to path and frame, so that a restart classifies nothing twice and a file whose content changes is classified again.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fracture_edge.batch.completeness import Content, inspect
from fracture_edge.batch.folders import UNFINISHED, is_hidden, looks_like_image
from fracture_edge.batch.journal import Journal
from fracture_edge.batch.moving import move
from fracture_edge.batch.watch_records import SETTLE_SECONDS, FileState, WatchRecords, state_of
from fracture_edge.classifier import FractureClassifier
from fracture_edge.decoding import Wanted
from fracture_edge.errors import FractureEdgeError
from fracture_edge.images.limits import MAX_PIXELS, max_bytes
from fracture_edge.prediction import Prediction
from fracture_edge.runtimes.threads import default_jobs

#: Maximum number of bytes of a file that are read to inspect it.
_MOST_BYTES = max_bytes(MAX_PIXELS)
#: Interval at which signals are noticed while waiting, in seconds.
_NAP_SECONDS = 0.2


@dataclass(slots=True)
class _Watched:
    """A file as it was in the last scan.

    Attributes:
        state: State of the file.
        since: Time of the clock at which the file was first seen in this state and with this content.
        is_image: Whether the file is taken for an image.
        content: Content of the file, once it was inspected.
        finished: Whether nothing is left to do: the file has its records and, where asked for, was moved.
    """

    state: FileState
    since: float
    is_image: bool
    content: Content | None = None
    finished: bool = False


class Watcher:
    """Watcher of a folder, which remembers the frames that have been classified.

    Attributes:
        folder: Absolute path of the folder, so that the paths in records do not depend on the working folder.
        clock: Function that returns the time in seconds.
    """

    def __init__(
        self,
        folder: Path,
        out: Path,
        classifier: FractureClassifier,
        *,
        recursive: bool = False,
        move_to: Path | None = None,
        settle: float = SETTLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Open the output, and read from it what has been classified.

        Args:
            folder: Folder to watch.
            out: Path of the output, JSON lines: the records of `classify` with the fields of
                `fracture_edge.batch.watch_records.FileState` and ``digest``, that of the content.
            classifier: Classifier of the images.
            recursive: Whether to watch sub-folders too.
            move_to: Folder that classified files are moved to, under the same names; they are not moved if
                ``None``.
            settle: Seconds without a change after which a file is moved, and after which it is classified if its
                content does not show that it is complete.
            clock: Function that returns the time in seconds.
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
        self._settle, self.clock = settle, clock
        self._noted: set[str] = set()
        self._records = WatchRecords()
        self._watched: dict[str, _Watched] = {}
        self._journal = Journal(out, "jsonl", self._records.add)

    def close(self) -> None:
        """Close the output."""
        self._journal.close()

    def scan(self) -> Iterator[Prediction]:
        """Scan the folder once, and classify new files that are complete, oldest first.

        Yields:
            Prediction for each frame, after its record is on the disk.
        """
        # Files that no longer exist are forgotten.
        before, self._watched = self._watched, {}
        new: list[tuple[str, _Watched, Content, Wanted]] = []
        for path, state in self._files(self.folder):
            watched = before.get(path)
            if watched is None or watched.state != state:
                self._watched[path] = _Watched(state, self.clock(), looks_like_image(Path(path)))
                continue
            self._watched[path] = watched
            if not watched.is_image:
                continue
            if not self._records.known(path, state):
                watched.content = watched.content or self._inspect(path)
                self._records.recognise(path, state, watched.content.digest)
            missing = self._records.missing(path, state)
            if missing is not None and not missing:
                self._finish(path, watched)
            elif content := self._complete_content(path, watched):
                new.append((path, watched, content, Wanted(path, missing)))
        new.sort(key=lambda entry: (entry[1].state.mtime_ns, entry[0]))
        predictions = self._classifier.predict_files(
            (wanted for *_, wanted in new), jobs=default_jobs() if len(new) > 1 else 1
        )
        for (path, watched, content, _), frames in zip(new, predictions, strict=True):
            for prediction in frames:
                if state_of(path) != watched.state:
                    # The file was written to while it was read; a later scan will classify it.
                    break
                record = prediction.record() | watched.state._asdict() | {"digest": content.digest}
                self._journal.append(json.dumps(record) + "\n", durable=True)
                self._records.add(record)
                if not self._records.missing(path, watched.state):
                    self._finish(path, watched)
                yield prediction

    def has_unfinished(self, until: float) -> bool:
        """Return whether files that have not changed since the time `until` of the clock are still to be done."""
        return any(
            watched.is_image and not watched.finished and watched.since <= until
            for watched in self._watched.values()
        )

    def _inspect(self, path: str) -> Content:
        try:
            return inspect(path, _MOST_BYTES)
        except OSError:
            # Its writer may keep it locked; if it stays unreadable, its record will say so.
            return Content("", complete=False)

    def _complete_content(self, path: str, watched: _Watched) -> Content | None:
        """Return the content of a file; ``None`` if it may be incomplete."""
        content = watched.content = watched.content or self._inspect(path)
        if content.complete:
            return content
        if not self._is_settled(watched):
            return None
        # Windows and some network shares show a new size and time only when the writer closes the file.
        again = self._inspect(path)
        if again.digest != content.digest:
            watched.content, watched.since = again, self.clock()
        return again if again.complete or again.digest == content.digest else None

    def _is_settled(self, watched: _Watched) -> bool:
        return self.clock() - watched.since >= self._settle

    def _files(self, folder: Path) -> Iterator[tuple[str, FileState]]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            # A network share may be unavailable for a while.
            self._note_once(f"{folder}: {error.strerror}; trying again")
            return
        for entry in entries:
            path = Path(entry.path)
            if path == self._move_to or is_hidden(entry.name):
                continue
            if self._recursive and entry.is_dir(follow_symlinks=False):
                yield from self._files(path)
            elif UNFINISHED.isdisjoint(path.suffixes):
                state = state_of(entry.path)
                # An empty file has not been written to yet.
                if state is not None and state.size and entry.is_file():
                    yield entry.path, state

    def _finish(self, name: str, watched: _Watched) -> None:
        if self._move_to is None:
            watched.finished = True
            return
        if not self._is_settled(watched):
            return
        path = Path(name)
        target = self._move_to / path.relative_to(self.folder)
        try:
            watched.finished = move(path, target, is_unchanged=lambda: state_of(name) == watched.state)
        except OSError as error:
            watched.finished = True
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
        once: Whether to return when the files that are present at the beginning are done. Those that change
            meanwhile are left to the next run.
        stopped: Function that is called before every prediction and several times a second in between.
    """
    scans = 0
    present = 0.0
    while not stopped():
        for prediction in watcher.scan():
            report(prediction)
            if stopped():
                return
        scans += 1
        if scans == 1:
            present = watcher.clock()
        if once and scans >= 2 and not watcher.has_unfinished(present):
            return
        _wait(interval, stopped)


def _wait(seconds: float, stopped: Callable[[], bool]) -> None:
    # Not a threading.Event: a signal handler could not set it while its lock is held.
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not stopped():
        time.sleep(min(left, _NAP_SECONDS))
