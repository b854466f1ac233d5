"""Files of an archive: paths that every machine sees, and objects of a store such as ``s3://bucket/xrays/1.dcm``.

Stores are reached through pyarrow, which comes with Ray Data. Credentials, region and endpoint are those of the
environment (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL`` ...), on every machine.
"""

import errno
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from fracture_edge.batch.inputs import STDIN, as_recorded, expand, is_object, read_names
from fracture_edge.console import require_stream
from fracture_edge.errors import FractureEdgeError
from fracture_edge.images.image_file import IMAGE_SUFFIXES

_SCHEME = "://"


def find_sources(names: Sequence[str], *, recursive: bool) -> tuple[list[str], list[str]]:
    """Replace folders, patterns and prefixes by the files and objects in them, in their order.

    Args:
        names: Files, folders and patterns as for `fracture_edge.batch.inputs.expand`; objects; prefixes of
            objects, which end with ``/``; ``-`` for a list on stdin. Of the objects under a prefix, those with the
            suffix of an image are kept.
        recursive: Whether to search sub-folders too.

    Returns:
        Names of files and objects, and notes for the user. A prefix without images is kept and gets a record, as a
        folder does.

    Raises:
        FractureEdgeError: A store cannot be reached.
    """
    found: list[str] = []
    notes: list[str] = []
    for name in names:
        if name == str(STDIN):
            require_stream("stdin", "name the images as arguments")
            found += map(as_recorded, read_names(sys.stdin.buffer))
        elif not is_object(name):
            files, further = expand([Path(name)], recursive=recursive)
            found += map(str, files)
            notes += further
        elif name.endswith("/"):
            objects = list(_objects_under(name, recursive=recursive))
            if not objects:
                notes.append(f"{name}: no images under this prefix{'' if recursive else '; -r searches deeper'}")
            found += objects or [name]
        else:
            found.append(name)
    return found, notes


class StoredObject:
    """Object of a store as a binary file, opened when it is read; its errors are those of a file.

    Attributes:
        name: Name of the object, with its scheme.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._stream: Any = None

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes.

        Raises:
            OSError: The object does not exist, or the store cannot be reached.
        """
        try:
            if self._stream is None:
                filesystem, key = _locate(self.name)
                self._stream = filesystem.open_input_stream(key)
            return bytes(self._stream.read(size))
        except FileNotFoundError:
            raise
        except OSError as error:
            # pyarrow gives one long sentence and no number.
            raise OSError(error.errno or errno.EIO, str(error).splitlines()[0]) from error


def _objects_under(prefix: str, *, recursive: bool) -> Iterator[str]:
    from pyarrow import fs

    filesystem, key = _locate(prefix)
    try:
        entries = filesystem.get_file_info(
            fs.FileSelector(key.rstrip("/"), recursive=recursive, allow_not_found=True)
        )
    except OSError as error:
        raise FractureEdgeError(f"{prefix}: {str(error).splitlines()[0]}") from error
    scheme = prefix.partition(_SCHEME)[0]
    for entry in sorted(entries, key=lambda entry: str(entry.path)):
        if entry.type == fs.FileType.File and Path(entry.path).suffix.lower() in IMAGE_SUFFIXES:
            yield f"{scheme}{_SCHEME}{entry.path}"


def _locate(name: str) -> tuple[Any, str]:
    """Return the file system of an object, and the path of the object in it."""
    scheme, _, key = name.partition(_SCHEME)
    return _filesystem(scheme, key.partition("/")[0]), key


@lru_cache(maxsize=16)
def _filesystem(scheme: str, bucket: str) -> Any:
    from pyarrow import fs

    try:
        filesystem, _ = fs.FileSystem.from_uri(f"{scheme}{_SCHEME}{bucket}")
    except Exception as error:  # pyarrow and fsspec raise several unrelated types
        raise FractureEdgeError(f"{scheme}{_SCHEME}{bucket}: {str(error).splitlines()[0]}") from error
    return filesystem
