"""Writing files so that an interrupted run never leaves half of one under its final name."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fracture_edge.errors import FractureEdgeError


@contextmanager
def atomic_path(final: str | os.PathLike[str], *, force: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `final`; on success it takes its place in one step.

    The temporary file keeps the final suffix, because Keras and Matplotlib choose a format by it. It
    is flushed to the disk before the rename, so that a power cut leaves the old file or the new one.

    Args:
        final: Where the file shall end up. Its folder is made.
        force: Whether an existing file may be replaced.

    Yields:
        The path to write to.

    Raises:
        FractureEdgeError: `final` exists and `force` is false.
    """
    target = Path(final)
    if not force:
        refuse_overwrite(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: its files are 0600, and a result should have the permissions the user's umask says.
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
    """Write `text` as UTF-8 under its final name in one step. See `atomic_path`."""
    with atomic_path(final, force=force) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(final: str | os.PathLike[str], value: object, *, force: bool = True) -> None:
    """Write plain values as indented JSON under the final name in one step. See `atomic_path`."""
    atomic_write_text(final, json.dumps(value, indent=2) + "\n", force=force)


def refuse_overwrite(target: Path) -> None:
    """Raise when `target` exists.

    Raises:
        FractureEdgeError: It does; the text names the way out.
    """
    if target.exists():
        raise FractureEdgeError(f"{target} exists already; give --force to replace it")


def clear_temporaries(folder: Path, *names: str) -> None:
    """Remove the temporary files that processes killed within `atomic_path` left; whoever calls is alone there.

    Args:
        folder: Where; there may be none.
        names: The final names, such as ``*.onnx``.
    """
    for name in names:
        for left in folder.glob(_temporary(Path(name), "*-*").name):
            left.unlink(missing_ok=True)


def _temporary(target: Path, unique: str) -> Path:
    return target.with_name(f".{target.stem}.{unique}.tmp{target.suffix}")


def flush_to_disk(path: Path) -> None:
    """Wait until the disk has what was written to a file."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
