"""Which files a list of paths means."""

import os
from collections.abc import Sequence
from pathlib import Path

from fracture_edge.images import IMAGE_SUFFIXES


def expand(paths: Sequence[Path], *, recursive: bool = False) -> tuple[list[Path], list[str]]:
    """Replace folders by what is in them that is named like an image, sorted by name.

    A path that is given by name stays, whatever it is, so that it gets its record. So does anything in a
    folder that is named like an image and is none.

    Args:
        paths: Files and folders.
        recursive: Whether to look into sub-folders.

    Returns:
        The files, and notes for the user. A folder without images, or one that may not be looked into, stands
        for itself: it gets a record that says so, and stops nothing.
    """
    files: list[Path] = []
    notes: list[str] = []
    for path in paths:
        # os.path, because Path.is_dir raises for a path that may not be looked at; its record will say so.
        if not os.path.isdir(path) or path.suffix.lower() in IMAGE_SUFFIXES:  # noqa: PTH112
            files.append(path)
            continue
        try:
            found = path.rglob("*") if recursive else path.iterdir()
            images = sorted(entry for entry in found if entry.suffix.lower() in IMAGE_SUFFIXES)
        except OSError as error:
            notes.append(f"{path}: {error.strerror}")
            images = []
        else:
            if not images:
                hint = "" if recursive else "; -r looks into its sub-folders"
                notes.append(f"{path}: no images in this folder{hint}")
        files += images or [path]
    return files, notes
