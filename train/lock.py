"""Lock that allows one run at a time on a folder."""

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
    """Hold an exclusive lock on `target`; it is released when the process ends, even if it is killed.

    Raises:
        FractureEdgeError: Another process holds the lock.
    """
    # Not beside the target: a lock file must stay after its release, and a run that fails leaves nothing there.
    name = hashlib.sha256(os.fsencode(target.resolve())).hexdigest()[:16]
    lock = FileLock(Path(tempfile.gettempdir()) / f"fracture-edge-{_user()}-{name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise FractureEdgeError(f"{target}: in use by another run") from error
    try:
        yield
    finally:
        lock.release()


def _user() -> str:
    # A container may run as a user id without an account, which has no name.
    return str(os.getuid()) if hasattr(os, "getuid") else getpass.getuser()
