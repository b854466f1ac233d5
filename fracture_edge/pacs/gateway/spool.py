"""Spool of the gateway: folders on one file system that hold everything that has been taken and is not yet done.

The files are the queue. What has been acknowledged is a complete file in ``in``; it is taken away only when all
its results are complete files in ``out``; these are taken away only when their target has acknowledged them. Every
step writes to ``tmp``, flushes to the disk and renames, so that whatever ends the process, the next one goes on; a
step that is repeated makes objects with the same UIDs. The journal of `watch` would not fit: it records an answer
before the results are safe, and its records outlive the images, while ``--keep 0`` promises that nothing does.

No name contains anything from a header but SOP Instance UIDs of results, which are derived: images are named by a
digest of their SOP Instance UID, with the AE title and address that they came from.
"""

import contextlib
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote

from fracture_edge.batch.journal import lock
from fracture_edge.batch.watch_records import FileState, state_of
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import flush_to_disk
from fracture_edge.pacs.gateway.peers import Target
from fracture_edge.pacs.gateway.spool_files import by_age, count, flush_folder, remove_older
from fracture_edge.pacs.results.make import ResultObject

_FOLDERS = ("tmp", "in", "work", "out", "dead", "done")
_DIGEST_LENGTH = 32
#: Folder of `dead` for images that have ended the process as often as `MOST_CRASHES`.
_CRASHED = "images"
#: Number of ends of the process while an image was being answered, the last one while it was the only one, after
#: which it is set aside. A library may crash on it; that chance has killed the process so often is unlikely.
MOST_CRASHES = 5
#: Seconds after which a temporary file is that of a connection that was cut off.
_ABANDONED_SECONDS = 300
_DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class SpooledImage:
    """Received image.

    Attributes:
        path: Path of the file.
        ae_title: Calling AE title that it came from.
        address: IP address that it came from.
    """

    path: Path
    ae_title: str
    address: str


@dataclass(frozen=True, slots=True)
class OutgoingResult:
    """Result that is to be sent.

    Attributes:
        path: Path of the file.
        state: State of the file when it was found; a newer result of the same UID has another.
    """

    path: Path
    state: FileState


class Spool:
    """Spool folder, locked against a second gateway.

    Attributes:
        folder: Path of the spool.
        incoming: Folder for data sets that are being received.
        queue: Folder of the images that are to be answered.
        crashed: Number of images that were set aside when the spool was opened, see `MOST_CRASHES`.
    """

    def __init__(self, folder: Path, *, keep_days: float = 0.0, clock: Callable[[], float] = time.time) -> None:
        """Open or create a spool, and put back what an earlier process had begun.

        Args:
            folder: Path of the spool; created, readable for its user only.
            keep_days: Days that answered images and sent results stay in it.
            clock: Function that returns the time in seconds since 1970.

        Raises:
            FractureEdgeError: Another process uses the spool.
            OSError: The folder cannot be used.
        """
        self.folder = Path(os.path.abspath(folder))  # noqa: PTH100
        self.crashed = 0
        self._keep, self._clock = keep_days * _DAY_SECONDS, clock
        # Results may be replaced while older ones of the same name are sent.
        self._lock = threading.Lock()
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            flush_folder(self.folder.parent)
        self._lock_file: BinaryIO = (self.folder / "lock").open("a+b", buffering=0)
        try:
            lock(self._lock_file, self.folder)
            for name in _FOLDERS:
                (self.folder / name).mkdir(exist_ok=True, mode=0o700)
            self.incoming, self.queue = self.folder / "tmp", self.folder / "in"
            self._work, self._out, self._dead = (self.folder / name for name in ("work", "out", "dead"))
            self._done = self.folder / "done"
            flush_folder(self.folder)
            self._recover()
        except BaseException:
            self._lock_file.close()
            raise

    def close(self) -> None:
        """Release the lock."""
        self._lock_file.close()

    def free_bytes(self) -> int:
        """Return the free space of the disk in bytes."""
        return shutil.disk_usage(self.folder).free

    def take(self, received: Path, sop_instance_uid: str, ae_title: str, address: str) -> None:
        """Take over a received file. When this returns, the image survives a power cut.

        Args:
            received: Path of the complete file in `incoming`.
            sop_instance_uid: SOP Instance UID of the image; one that comes again replaces one that waits.
            ae_title: Calling AE title of the sender.
            address: IP address of the sender.

        Raises:
            OSError: The disk does not take it.
        """
        digest = hashlib.sha256(sop_instance_uid.encode()).hexdigest()[:_DIGEST_LENGTH]
        flush_to_disk(received)
        path = self.queue / f"{digest}~{quote(ae_title, safe='')}~{quote(address, safe='')}.dcm"
        received.replace(path)
        for crashes in range(1, MOST_CRASHES + 1):
            _counted(path, crashes).unlink(missing_ok=True)
        flush_folder(self.queue)

    def claim(self, most: int) -> list[SpooledImage]:
        """Take images out of the queue to answer them, oldest first, at most `most`.

        An image that was being answered when the process ended is claimed alone, so that it is known whether it
        ends the process again.
        """
        claimed: list[SpooledImage] = []
        for path in by_age(self.queue)[:most]:
            if claimed and _crashes(path):
                break
            held = self._work / path.name
            if held.exists():
                # An older image of the same UID is being answered; this one waits until that is done.
                continue
            path.rename(held)
            # The AE title is the only part that may contain a tilde.
            ae_title, _, address = path.stem.partition("~")[2].rpartition("~")
            claimed.append(SpooledImage(held, unquote(ae_title), unquote(address)))
            if _crashes(path):
                break
        return claimed

    def finish(self, image: SpooledImage) -> None:
        """Drop an image that nothing is left to do for."""
        self._drop(image.path, "images")

    def give_back(self, image: SpooledImage) -> None:
        """Put an image back into the queue, unless a newer one of the same UID waits there."""
        target = self.queue / image.path.name
        if target.exists():
            image.path.unlink()
        else:
            image.path.rename(target)

    def put(self, results: Sequence[ResultObject], target: Target) -> None:
        """Put results into the outbox of a target. When this returns, they survive a power cut.

        Raises:
            OSError: The disk does not take them.
        """
        folder = self._out / target.folder
        for result in results:
            temporary = self.incoming / f".{result.name}"
            temporary.write_bytes(result.content)
            flush_to_disk(temporary)
            with self._lock:
                if not folder.is_dir():
                    folder.mkdir(mode=0o700)
                    flush_folder(self._out)
                temporary.replace(folder / result.name)
        # If all has been sent meanwhile, the folder is gone with it.
        with contextlib.suppress(FileNotFoundError):
            flush_folder(folder)

    def targets(self) -> list[Target]:
        """Return the targets that results wait for."""
        found = []
        for folder in sorted(self._out.iterdir()):
            try:
                if any(folder.iterdir()):
                    found.append(Target.from_folder(folder.name))
            except (FractureEdgeError, NotADirectoryError):
                # Not a folder of this program.
                continue
        return found

    def outgoing(self, target: Target) -> list[OutgoingResult]:
        """Return the results that wait for a target, oldest first."""
        found = []
        for path in by_age(self._out / target.folder):
            state = state_of(os.fspath(path))
            if state is not None:
                found.append(OutgoingResult(path, state))
        return found

    def sent(self, result: OutgoingResult) -> None:
        """Drop a result that its target has acknowledged, unless a newer one has taken its place."""
        with self._lock:
            if state_of(os.fspath(result.path)) == result.state:
                self._drop(result.path, result.path.parent.name)

    def bury(self, result: OutgoingResult) -> Path:
        """Move a result to the dead letters, and return their folder."""
        folder = self._dead / result.path.parent.name
        folder.mkdir(exist_ok=True, mode=0o700)
        with self._lock:
            if state_of(os.fspath(result.path)) == result.state:
                result.path.replace(folder / result.path.name)
        return folder

    def counts(self) -> tuple[int, int, int]:
        """Return the numbers of images that wait, of results that wait, and of dead letters."""
        return (
            count(self.queue) + count(self._work),
            sum(map(count, self._out.iterdir())),
            sum(map(count, self._dead.iterdir())),
        )

    def clean(self) -> None:
        """Remove kept files past their time, parts of images whose connections were cut off, and empty folders."""
        now = self._clock()
        for path in self.incoming.iterdir():
            remove_older(path, now - _ABANDONED_SECONDS)
        for folder in self._done.iterdir():
            for path in folder.iterdir():
                remove_older(path, now - self._keep)
        with self._lock:
            for folder in self._out.iterdir():
                # Every sender may have one.
                with contextlib.suppress(OSError):
                    folder.rmdir()

    def _recover(self) -> None:
        for path in self.incoming.iterdir():
            path.unlink()
        begun = list(self._work.iterdir())
        for path in begun:
            crashes = _crashes(path) + 1
            if crashes >= MOST_CRASHES and len(begun) == 1:
                (self._dead / _CRASHED).mkdir(exist_ok=True, mode=0o700)
                path.replace(self._dead / _CRASHED / path.name)
                self.crashed += 1
                continue
            # To the end of the queue: if this very image ended the process, the others are answered first.
            os.utime(path)
            if (self.queue / _counted(path, 0).name).exists():
                path.unlink()
            else:
                self.give_back(SpooledImage(path.rename(_counted(path, crashes)), "", ""))
        self.clean()

    def _drop(self, path: Path, kind: str) -> None:
        if not self._keep:
            path.unlink(missing_ok=True)
            return
        folder = self._done / kind
        folder.mkdir(exist_ok=True, mode=0o700)
        os.utime(path)
        path.replace(folder / path.name)


def _crashes(image: Path) -> int:
    """Return how often the process has ended while an image was being answered; it is part of the name."""
    return int(image.name.partition("~")[0].partition("+")[2] or 0)


def _counted(image: Path, crashes: int) -> Path:
    """Return the path of an image with another number of crashes."""
    digest, _, rest = image.name.partition("~")
    return image.with_name(f"{digest[:_DIGEST_LENGTH]}{f'+{crashes}' if crashes else ''}~{rest}")
