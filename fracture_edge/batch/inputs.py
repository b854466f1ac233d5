"""Expansion of path arguments to files: folders, patterns that the shell has not expanded, a list on stdin."""

import codecs
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from fracture_edge.batch.folders import find_images, is_hidden
from fracture_edge.console import require_stream
from fracture_edge.images.image_file import IMAGE_SUFFIXES

#: Argument that stands for a list of paths on stdin. A file of this name can be given as ``./-``.
STDIN = Path("-")
_WILD = frozenset("*?[")


def expand(paths: Sequence[Path], *, recursive: bool = False) -> tuple[list[Path], list[str]]:
    """Replace folders by the image files in them and patterns by the files that they match, sorted by name.

    A path that is given explicitly is kept whatever it is, so that it gets a record. In a folder, files that
    `fracture_edge.batch.folders.looks_like_image` accepts are kept even if they turn out not to be images.

    Args:
        paths: Files, folders, patterns such as ``xrays/**/*.png`` (``*``, ``?``, ``[...]``, and ``**`` for any
            number of folders; hidden files are not matched), and ``-`` for a list on stdin, see `read_list`. The
            path of an existing file is not taken as a pattern, nor is a line on stdin.
        recursive: Whether to search sub-folders too.

    Returns:
        Files, and notes for the user. A folder without images, an unreadable folder and a pattern without a match
        are kept as they are: each gets a record with its status, and the other files are still classified.
    """
    files: list[Path] = []
    notes: list[str] = []
    for path, literal in _named(paths):
        # os.path, because the methods of Path raise for a path without permission; its record will report it.
        if not literal and _WILD.intersection(os.fspath(path)) and not os.path.lexists(path):
            found = _matches(path)
            if not found:
                notes.append(f"{path}: no file matches")
            files += found or [path]
        elif os.path.isdir(path) and path.suffix.lower() not in IMAGE_SUFFIXES:  # noqa: PTH112
            images, found_notes = _images(path, recursive=recursive)
            notes += found_notes
            files += images or [path]
        else:
            files.append(path)
    return files, notes


def read_list(stream: BinaryIO) -> Iterator[Path]:
    """Read a list of paths, see `read_names`."""
    return map(Path, read_names(stream))


def read_names(stream: BinaryIO) -> Iterator[str]:
    """Read a list of names, one per line or each terminated by a NUL character, as ``find -print0`` writes it.

    Lines may be UTF-16 with a byte order mark, as older versions of PowerShell write them.
    """
    data = stream.read()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and b"\0" in data:
        # Without a NUL it is a name that begins with these bytes: each line end has one.
        data = os.fsencode(data.decode("utf-16", "replace"))
    if b"\0" in data:
        names: Iterable[bytes] = data.split(b"\0")
    else:
        # PowerShell begins the list with a byte order mark.
        names = (line.removesuffix(b"\r") for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"))
    return (os.fsdecode(name) for name in names if name)


def is_object(name: str) -> bool:
    """Return whether a name is that of an object in a store, such as ``s3://bucket/xrays/1.dcm``."""
    return "://" in name


def as_recorded(name: str) -> str:
    """Return the name of a file or object as it stands in its records."""
    return name if is_object(name) else str(Path(name))


def _named(paths: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Yield the paths, including those on stdin, and whether each is literal, not a pattern or a folder."""
    for path in paths:
        if path == STDIN:
            require_stream("stdin", "name the images as arguments")
            yield from ((listed, True) for listed in read_list(sys.stdin.buffer))
        else:
            yield path, False


def _images(folder: Path, *, recursive: bool) -> tuple[list[Path], list[str]]:
    try:
        found = find_images(folder, recursive=recursive)
    except OSError as error:
        return [], [f"{folder}: {error.strerror}"]
    notes = [f"{folder}: left out: {line}" for line in found.left_out]
    if not found.images:
        notes.insert(
            0, f"{folder}: no images in this folder{'' if recursive else '; -r searches its sub-folders too'}"
        )
    elif found.sub_folders:
        notes.append(f"{folder}: left out: {found.sub_folders} sub-folders; -r searches them too")
    return found.images, notes


def _matches(pattern: Path) -> list[Path]:
    parts = pattern.parts
    first = next(index for index, part in enumerate(parts) if _WILD.intersection(part))
    base, wild = Path(*parts[:first]), parts[first:]
    hidden_asked = any(map(is_hidden, wild))
    try:
        found = [entry for entry in base.glob(os.path.join(*wild)) if os.path.isfile(entry)]  # noqa: PTH113, PTH118
    except (OSError, ValueError):
        # The folder cannot be read, or `**` is combined with other characters.
        return []
    shown = (entry for entry in found if hidden_asked or not any(map(is_hidden, entry.relative_to(base).parts)))
    return sorted(shown)
