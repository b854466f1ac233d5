"""Counting how often the files of a folder are opened, by inotify(7); for studies, on Linux."""

import ctypes
import os
import struct
from collections import Counter
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Self

#: Events of `linux/inotify.h`: a file was opened; events were lost.
_OPENED, _OVERFLOW = 0x20, 0x4000
_HEADER = struct.Struct("iIII")


class Opens:
    """Count of the opened files of a folder, by name, while the context manager is entered.

    Attributes:
        counts: Number of times that each file was opened.
        lost: Whether the system lost events, so that the counts are too small.
    """

    def __init__(self, folder: Path) -> None:
        self.counts: Counter[str] = Counter()
        self.lost = False
        self._folder = folder

    def __enter__(self) -> Self:
        library = ctypes.CDLL(None, use_errno=True)
        self._descriptor = library.inotify_init1(os.O_CLOEXEC)
        if library.inotify_add_watch(self._descriptor, os.fsencode(self._folder), _OPENED) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch", str(self._folder))
        self._stop, self._wake = os.pipe()
        self._thread = Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        os.write(self._wake, b"x")
        self._thread.join()
        for descriptor in (self._descriptor, self._stop, self._wake):
            os.close(descriptor)

    def _read(self) -> None:
        import select

        while True:
            ready, _, _ = select.select([self._descriptor, self._stop], [], [])
            # What was opened before the end is read before the end.
            if self._descriptor in ready:
                self._count(os.read(self._descriptor, 1 << 16))
            elif self._stop in ready:
                return

    def _count(self, events: bytes) -> None:
        at = 0
        while at < len(events):
            _, mask, _, length = _HEADER.unpack_from(events, at)
            name = events[at + _HEADER.size : at + _HEADER.size + length].rstrip(b"\0")
            at += _HEADER.size + length
            self.lost |= bool(mask & _OVERFLOW)
            with suppress(UnicodeDecodeError):
                if name:
                    self.counts[os.fsdecode(name)] += 1
