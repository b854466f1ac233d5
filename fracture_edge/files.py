"""Atomic writing of files: an interruption never leaves an incomplete file under its final name."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fracture_edge.errors import FractureEdgeError


@contextmanager
def atomic_path(final: str | os.PathLike[str], *, force: bool = True) -> Iterator[Path]:
    """Yield a temporary path next to `final`, and rename it to `final` on success.

    The temporary file keeps the suffix, because Keras and Matplotlib choose the format by it. It is flushed to the
    disk before the rename, so that a power cut leaves either the old or the new file.

    Args:
        final: Final path of the file; its folder is created.
        force: Whether an existing file may be replaced.

    Yields:
        Temporary path to write to.

    Raises:
        FractureEdgeError: `final` exists and `force` is false.
    """
    target = Path(final)
    if not force:
        refuse_overwrite(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: its files have mode 0600, and a result should have the permissions of the user's umask.
    temporary = _temporary(target, f"{os.getpid()}-{secrets.token_hex(4)}")
    try:
        yield temporary
        flush_to_disk(temporary)
        if not force:
            refuse_overwrite(target)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write_text(final: str | os.PathLike[str], text: str, *, force: bool = True) -> None:
    """Write `text` as UTF-8 atomically, see `atomic_path`. File names that are not UTF-8 keep their bytes."""
    with atomic_path(final, force=force) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


def write_json(final: str | os.PathLike[str], value: object, *, force: bool = True) -> None:
    """Write plain values as indented JSON atomically; see `atomic_path`."""
    atomic_write_text(final, json.dumps(value, indent=2) + "\n", force=force)


def refuse_overwrite(target: Path) -> None:
    """Refuse to overwrite an existing file.

    Raises:
        FractureEdgeError: `target` exists.
    """
    if target.exists():
        raise FractureEdgeError(f"{target} exists already; give --force to replace it")


def clear_temporaries(folder: Path, *names: str) -> None:
    """Remove temporary files that killed processes left behind in `atomic_path`.

    No other process may be writing these files at the same time.

    Args:
        folder: Folder to clean; it need not exist.
        names: Patterns of the final names, for example ``*.onnx``.
    """
    for name in names:
        for left in folder.glob(_temporary(Path(name), "*-*").name):
            left.unlink(missing_ok=True)


def _temporary(target: Path, unique: str) -> Path:
    return target.with_name(f".{target.stem}.{unique}.tmp{target.suffix}")


def flush_to_disk(path: Path) -> None:
    """Wait until the content of a file is on the disk."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
