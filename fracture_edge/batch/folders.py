"""Search of a folder for images, and an account of what is left out."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from fracture_edge.errors import ImageFormatError
from fracture_edge.images.formats import sniff
from fracture_edge.images.image_file import DICOM_START, IMAGE_SUFFIXES, has_dicom_prefix

#: Suffixes of incomplete files, also if another suffix follows: ``x.tmp.png``.
UNFINISHED = frozenset({".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart"})
_SYSTEM_FOLDERS = frozenset({"@eaDir", "__MACOSX", "#recycle", "$RECYCLE.BIN", "System Volume Information"})
#: Sizes of the second header of a BMP file: two letters alone do not make an image of a text.
_BMP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})
#: Number of names, or of suffixes, that a line names.
_NAMED = 3


class FoundImages(NamedTuple):
    """Result of the search of a folder.

    Attributes:
        images: Paths of the images, sorted.
        left_out: What was left out, one line of words for each kind, with its number.
        sub_folders: Number of sub-folders that were not searched.
    """

    images: list[Path]
    left_out: list[str]
    sub_folders: int


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name in a folder is never looked at.

    These are hidden files, lock and backup files, and what systems put beside the user's own: copies of notebooks
    (``.ipynb_checkpoints``), thumbnails of network storage (``@eaDir``), properties that archives of macOS carry
    (``__MACOSX``, ``._x.png``), and recycle bins.
    """
    return name.startswith((".", "~")) or name.endswith("~") or name in _SYSTEM_FOLDERS


def looks_like_image(path: Path) -> bool:
    """Return whether a file found in a folder is taken for an image.

    It is, if it has an image suffix, so that a broken image gets a record, or if it begins like an image, whatever
    its name: ``x.jfif``, ``x``, and ``IM000001`` or ``1.2.840.10008.1`` of DICOM archives. A ``DICOMDIR`` lists
    files and is not an image, nor is an incomplete download, ``x.png.part``.
    """
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    if path.name.upper() == "DICOMDIR" or not UNFINISHED.isdisjoint(path.suffixes):
        return False
    try:
        # Opening a pipe would wait for its other end.
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            return _begins_like_image(stream.read(DICOM_START))
    except OSError:
        return False


def find_images(
    folder: Path, *, recursive: bool = False, follow: Callable[[str], bool] = lambda name: False
) -> FoundImages:
    """Search a folder for images.

    Args:
        folder: Folder to search.
        recursive: Whether to search sub-folders too.
        follow: Function that tells for the name of a symbolic link to a folder whether to search that folder.

    Raises:
        OSError: The folder cannot be read. For a sub-folder there is a line instead.
    """
    search = _Search(recursive, follow)
    images = sorted(search.images_in(folder))
    return FoundImages(images, search.left_out(), search.sub_folders)


class _Search:
    def __init__(self, recursive: bool, follow: Callable[[str], bool]) -> None:
        self._recursive, self._follow = recursive, follow
        self._others: Counter[str] = Counter()
        self._hidden: list[str] = []
        self._unreadable: list[str] = []
        self.sub_folders = 0

    def images_in(self, folder: Path, above: frozenset[str] = frozenset()) -> Iterator[Path]:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        here = above | {os.path.realpath(folder)}
        for entry in entries:
            path = folder / entry.name
            is_folder = entry.is_dir()
            if is_hidden(entry.name):
                if is_folder or path.suffix.lower() in IMAGE_SUFFIXES:
                    self._hidden.append(entry.name)
                continue
            is_image = looks_like_image(path)
            if is_image:
                yield path
            elif not is_folder:
                self._others[path.suffix.lower() or "no suffix"] += 1
            if not is_folder:
                continue
            if not self._recursive:
                self.sub_folders += not is_image
            elif not entry.is_symlink() or (self._follow(entry.name) and os.path.realpath(path) not in here):
                try:
                    yield from self.images_in(path, here)
                except OSError as error:
                    self._unreadable.append(f"folder {path} ({error.strerror})")

    def left_out(self) -> list[str]:
        lines = []
        if self._others:
            lines.append(f"{self._others.total()} files that are not images ({_most_common(self._others)})")
        if self._hidden:
            names = _most_common(Counter(self._hidden))
            lines.append(f"{len(self._hidden)} hidden images and folders ({names})")
        return lines + self._unreadable


def _most_common(counts: Counter[str]) -> str:
    named = [f"{name} {count}" if count > 1 else name for name, count in counts.most_common(_NAMED)]
    return ", ".join([*named, "..."] if len(counts) > _NAMED else named)


def _begins_like_image(start: bytes) -> bool:
    if has_dicom_prefix(start):
        return True
    try:
        kind = sniff("", start)
    except ImageFormatError:
        return False
    return kind != "BMP" or (start[6:10] == bytes(4) and int.from_bytes(start[14:18], "little") in _BMP_HEADERS)
