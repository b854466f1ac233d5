"""Files and folders of the spool: listed by age, counted, removed, flushed to the disk."""

import os
from collections.abc import Iterator
from pathlib import Path


def by_age(folder: Path) -> list[Path]:
    """List the files of a folder, oldest first; none if there is no folder."""
    return [path for _, path in sorted(_aged(folder))]


def _aged(folder: Path) -> Iterator[tuple[float, Path]]:
    if folder.is_dir():
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    yield entry.stat().st_mtime, Path(entry.path)
                except FileNotFoundError:
                    continue


def count(folder: Path) -> int:
    """Count the files of a folder."""
    try:
        return sum(1 for _ in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return 0


def remove_older(path: Path, than: float) -> None:
    """Remove a file that was last changed before a time, in seconds since 1970."""
    try:
        if path.stat().st_mtime <= than:
            path.unlink()
    except FileNotFoundError:
        # Its connection has ended meanwhile.
        pass


def flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
