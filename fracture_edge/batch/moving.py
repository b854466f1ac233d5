"""Moving of a file into another folder, also on another file system, without leaving a part of it behind."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_path


class _ChangedError(FractureEdgeError):
    """The file was written to while it was copied."""


def move(path: Path, target: Path, *, is_unchanged: Callable[[], bool]) -> bool:
    """Move a file; if `target` exists, to a numbered variant of it.

    Args:
        path: Path of the file.
        target: New path; its folder is created.
        is_unchanged: Function that tells whether nobody has written to the file since it was classified.

    Returns:
        Whether the file was moved; if it has changed, it stays where it is.

    Raises:
        OSError: The file cannot be moved. It stays where it is, and nothing is left in the other folder.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    free = _free(target)
    if not is_unchanged():
        return False
    try:
        path.rename(free)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    else:
        return True
    try:
        _copy(path, free, is_unchanged)
    except FractureEdgeError:
        # It has changed, or `free` is no longer free; the next attempt finds out.
        return False
    try:
        path.unlink()
    except OSError:
        # Or the next attempt would make another copy.
        free.unlink()
        raise
    return True


def _copy(path: Path, target: Path, is_unchanged: Callable[[], bool]) -> None:
    with atomic_path(target, force=False) as temporary:
        shutil.copy2(path, temporary)
        if not is_unchanged():
            raise _ChangedError


def _free(target: Path) -> Path:
    """Return `target`, or a numbered variant of it if it exists."""
    number = 1
    free = target
    while os.path.lexists(free):
        number += 1
        free = target.with_stem(f"{target.stem}-{number}")
    return free
