"""Reading the bytes of an image from a path, bytes or an open file, up to a limit."""

import io
import os
import stat
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from fracture_edge.errors import ImageAccessError, ImageSizeError, Status
from fracture_edge.images.limits import TOO_LARGE_FILE

Content: TypeAlias = bytes | bytearray | memoryview
FileSource: TypeAlias = str | os.PathLike[str] | Content | BinaryIO
ImageSource: TypeAlias = FileSource | Image.Image | npt.NDArray[np.generic]

EMPTY = "the file is empty"
_CHUNK = 1 << 20
_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def source_name(source: ImageSource) -> str:
    """Return the name of an image source: its path, or ``<array>``, ``<image>``, ``<bytes>`` or ``<file>``."""
    if isinstance(source, np.ndarray):
        return "<array>"
    if isinstance(source, Image.Image):
        path = getattr(source, "filename", "")
        return path if isinstance(path, str) and path else "<image>"
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "<bytes>"
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "<file>"


def read_bytes(source: FileSource, limit: int) -> tuple[str, bytes]:
    """Read the complete content of an image source.

    Args:
        source: Path, bytes of a file (also as a bytearray or memoryview), or open binary file.
        limit: Maximum number of bytes.

    Returns:
        Name and content of the source; the content has at least one byte.

    Raises:
        ImageAccessError: The file cannot be read, is empty, or is not a regular file.
        ImageSizeError: The content has more than `limit` bytes.
    """
    name = source_name(source)
    try:
        if isinstance(source, (bytes, bytearray, memoryview)):
            if memoryview(source).nbytes > limit:
                raise ImageSizeError(name, _too_large(limit))
            data = bytes(source)
        elif isinstance(source, (str, os.PathLike)):
            with _open_regular(name, Path(source)) as stream:
                data = _read_stream(name, stream, limit)
        else:
            data = _read_stream(name, source, limit)
    except OSError as error:
        raise access_error(name, error) from error
    except ValueError as error:
        # A path with a NUL character, which no file system allows, or a file object that is already closed.
        raise ImageAccessError(name, str(error)) from error
    if not data:
        raise ImageAccessError(name, EMPTY, Status.EMPTY)
    if len(data) > limit:
        raise ImageSizeError(name, _too_large(limit))
    return name, data


def _too_large(limit: int) -> str:
    return TOO_LARGE_FILE.format(limit=limit / 1e6)


def access_error(name: str, error: OSError) -> ImageAccessError:
    """Convert an error of the operating system to an `ImageAccessError` with its status."""
    if isinstance(error, FileNotFoundError):
        return ImageAccessError(name, "no such file", Status.NOT_FOUND)
    if isinstance(error, PermissionError):
        return ImageAccessError(name, "no permission to read it", Status.PERMISSION_DENIED)
    if isinstance(error, IsADirectoryError):
        return ImageAccessError(name, "is a folder, not an image", Status.IS_DIRECTORY)
    return ImageAccessError(name, error.strerror or type(error).__name__, Status.UNREADABLE)


def _open_regular(name: str, path: Path) -> BinaryIO:
    """Open a regular file; opening a pipe would wait for its other end, and a device may react to being opened."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        # A folder that may not be read says so, and not that it is no image.
        os.scandir(path).close()
    _refuse_special(name, mode)
    # The file may be replaced in between: opening must not wait then, and the open file is checked again.
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
    """Read to the end, or to one byte beyond the limit."""
    pieces: list[bytes] = []
    left = limit + 1
    # A regular file is read in one piece, because joining pieces would take twice its size.
    at_once = max(_CHUNK, os.fstat(stream.fileno()).st_size + 1) if isinstance(stream, io.FileIO) else _CHUNK
    while left > 0:
        piece = stream.read(left if isinstance(stream, io.BytesIO) else min(left, at_once))
        if piece is None:
            raise ImageAccessError(name, "no data is available now", Status.UNREADABLE)
        if not isinstance(piece, bytes):
            raise ImageAccessError(name, "the file is not open in binary mode")
        if not piece:
            break
        pieces.append(piece)
        left -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
