"""Which files a list of paths means: folders, patterns that no shell has expanded, and a list on stdin."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from fracture_edge.images.image_file import DICOM_START, IMAGE_SUFFIXES, has_dicom_prefix

#: In place of a path: a list of paths on stdin. A file of this name is ``./-``.
STDIN = Path("-")
_WILD = frozenset("*?[")


def expand(paths: Sequence[Path], *, recursive: bool = False) -> tuple[list[Path], list[str]]:
    """Replace folders by what is in them that looks like an image, patterns by what they match, by name.

    A path that is given by name stays, whatever it is, so that it gets its record. So does anything in a
    folder that looks like an image (see `looks_like_image`) and is none.

    Args:
        paths: Files, folders, patterns such as ``xrays/**/*.png`` (``*``, ``?``, ``[...]``, and ``**`` for any
            folders; they match files that are not hidden), and ``-`` for a list on stdin, see `read_list`. What
            exists is no pattern, and neither is anything on stdin.
        recursive: Whether to look into sub-folders.

    Returns:
        The files, and notes for the user. A folder without images, one that may not be looked into, and a
        pattern that matches nothing stand for themselves: each gets a record that says so, and stops nothing.
    """
    files: list[Path] = []
    notes: list[str] = []
    for path, literal in _named(paths):
        # os.path, because Path's own functions raise for a path that may not be looked at; its record will say so.
        if not literal and _WILD.intersection(os.fspath(path)) and not os.path.lexists(path):
            found = _matches(path)
            if not found:
                notes.append(f"{path}: no file matches")
            files += found or [path]
        elif os.path.isdir(path) and path.suffix.lower() not in IMAGE_SUFFIXES:  # noqa: PTH112
            images, note = _images(path, recursive=recursive)
            notes += [note] if note else []
            files += images or [path]
        else:
            files.append(path)
    return files, notes


def looks_like_image(path: Path) -> bool:
    """Whether a file that nobody named is taken for an image: by its ending, or as a DICOM file without one.

    Archives call DICOM files ``IM000001``, or by their UID, ``1.2.840.10008.1``; those are opened to see. A
    ``DICOMDIR`` lists files and is no image.
    """
    ending = path.suffix.lower()
    if ending in IMAGE_SUFFIXES:
        return True
    if (ending and not ending[1:].isdigit()) or path.name.upper() == "DICOMDIR":
        return False
    try:
        # A pipe would wait for its other end.
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            return has_dicom_prefix(stream.read(DICOM_START))
    except OSError:
        return False


def read_list(stream: BinaryIO) -> Iterator[Path]:
    """Paths from a list: one a line, or each ended by a NUL character, as ``find -print0`` writes them."""
    data = stream.read()
    if b"\0" in data:
        names: Iterable[bytes] = data.split(b"\0")
    else:
        # PowerShell puts a byte order mark in front.
        names = (line.removesuffix(b"\r") for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"))
    return (Path(os.fsdecode(name)) for name in names if name)


def _named(paths: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """The paths, those of stdin among them, and whether to take each as it is."""
    for path in paths:
        if path == STDIN:
            yield from ((listed, True) for listed in read_list(sys.stdin.buffer))
        else:
            yield path, False


def _images(folder: Path, *, recursive: bool) -> tuple[list[Path], str | None]:
    try:
        found = folder.rglob("*") if recursive else folder.iterdir()
        images = sorted(entry for entry in found if looks_like_image(entry))
    except OSError as error:
        return [], f"{folder}: {error.strerror}"
    if images:
        return images, None
    return [], f"{folder}: no images in this folder{'' if recursive else '; -r looks into its sub-folders'}"


def _matches(pattern: Path) -> list[Path]:
    parts = pattern.parts
    first = next(index for index, part in enumerate(parts) if _WILD.intersection(part))
    base, wild = Path(*parts[:first]), parts[first:]
    hidden_asked = any(part.startswith(".") for part in wild)
    try:
        found = [entry for entry in base.glob(os.path.join(*wild)) if os.path.isfile(entry)]  # noqa: PTH113, PTH118
    except (OSError, ValueError):
        # Not to be looked into, or `**` beside other characters.
        return []
    shown = (
        entry
        for entry in found
        if hidden_asked or not any(part.startswith(".") for part in entry.relative_to(base).parts)
    )
    return sorted(shown)
