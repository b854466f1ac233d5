"""One run at a time on one folder."""

import getpass
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fracture_edge.errors import FractureEdgeError


@contextmanager
def exclusive_lock(target: Path) -> Iterator[None]:
    """Hold the lock on `target`; it is let go when the process ends, however it ends.

    Raises:
        FractureEdgeError: Another process holds it.
    """
    # Not beside the target: a lock file must stay when it is let go, and a run that fails leaves nothing there.
    name = hashlib.sha256(os.fsencode(target.resolve())).hexdigest()[:16]
    lock = FileLock(Path(tempfile.gettempdir()) / f"fracture-edge-{_user()}-{name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise FractureEdgeError(f"{target}: another run is at work on it") from error
    try:
        yield
    finally:
        lock.release()


def _user() -> str:
    # A container may run as a number that no account has, for which there is no name.
    return str(os.getuid()) if hasattr(os, "getuid") else getpass.getuser()
