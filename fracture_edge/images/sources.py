"""The bytes of a picture, wherever they come from, and never more of them than allowed."""

import io
import os
import stat
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from fracture_edge.errors import ImageAccessError, ImageSizeError, Status

ImageSource: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | npt.NDArray[np.generic]

_CHUNK = 1 << 20
_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def source_name(source: ImageSource) -> str:
    """What a message or a record calls `source`: its path, or what stands for it."""
    if isinstance(source, np.ndarray):
        return "<array>"
    if isinstance(source, bytes):
        return "<bytes>"
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "<file>"


def read_bytes(source: str | os.PathLike[str] | bytes | BinaryIO, limit: int) -> tuple[str, bytes]:
    """Read all of `source`.

    Args:
        source: A path, bytes, or an open binary file.
        limit: The most bytes there may be.

    Returns:
        The source's name and its bytes, at least one.

    Raises:
        ImageAccessError: The bytes cannot be had, there are none, or the path is no regular file.
        ImageSizeError: More than `limit`.
    """
    name = source_name(source)
    try:
        if isinstance(source, bytes):
            data = source
        elif isinstance(source, (str, os.PathLike)):
            with _open_regular(name, Path(source)) as stream:
                data = _read_stream(name, stream, limit)
        else:
            data = _read_stream(name, source, limit)
    except OSError as error:
        raise access_error(name, error) from error
    except ValueError as error:
        # A path with a NUL character, which no file system has; or an open file that is closed already.
        raise ImageAccessError(name, str(error)) from error
    if not data:
        raise ImageAccessError(name, "the file is empty", Status.EMPTY)
    if len(data) > limit:
        raise ImageSizeError(name, f"over the limit of {limit / 1e6:,.0f} MB for a file")
    return name, data


def access_error(name: str, error: OSError) -> ImageAccessError:
    """The operating system's refusal as one of our statuses."""
    if isinstance(error, FileNotFoundError):
        return ImageAccessError(name, "no such file", Status.NOT_FOUND)
    if isinstance(error, PermissionError):
        return ImageAccessError(name, "no permission to read it", Status.PERMISSION_DENIED)
    if isinstance(error, IsADirectoryError):
        return ImageAccessError(name, "is a folder, not an image", Status.IS_DIRECTORY)
    return ImageAccessError(name, error.strerror or type(error).__name__, Status.UNREADABLE)


def _open_regular(name: str, path: Path) -> BinaryIO:
    """Open a file that is one; a pipe would wait for its other end, and opening a device may do something."""
    _refuse_special(name, path.stat().st_mode)
    # What stands there may change in between: then opening must not wait, and the open file is judged again.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    stream = io.FileIO(descriptor)
    try:
        _refuse_special(name, os.fstat(descriptor).st_mode)
    except ImageAccessError:
        stream.close()
        raise
    return stream


def _refuse_special(name: str, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise ImageAccessError(name, "is a folder, not an image", Status.IS_DIRECTORY)
    if not stat.S_ISREG(mode):
        kind = next((words for test, words in _KINDS if test(mode)), "something else")
        raise ImageAccessError(name, f"is {kind}, not a file", Status.NOT_A_FILE)


def _read_stream(name: str, stream: BinaryIO, limit: int) -> bytes:
    """Read to the end, or one byte beyond the limit."""
    pieces: list[bytes] = []
    left = limit + 1
    # A file that is there as a whole comes in one piece: joining pieces would take its size twice.
    at_once = max(_CHUNK, os.fstat(stream.fileno()).st_size + 1) if isinstance(stream, io.FileIO) else _CHUNK
    while left > 0:
        piece = stream.read(left if isinstance(stream, io.BytesIO) else min(left, at_once))
        if piece is None:
            raise ImageAccessError(name, "has no bytes to give now", Status.UNREADABLE)
        if not isinstance(piece, bytes):
            raise ImageAccessError(name, "the file is not open in binary mode")
        if not piece:
            break
        pieces.append(piece)
        left -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
