"""The folder of a run that is not finished: one run at a time, resumable, published by renaming."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_write_text, refuse_overwrite
from train.trainer.callbacks import FOLD_FILE, STATE_FILE, clear_state

_SETTINGS = "run.json"


def unfinished(target: Path) -> Path:
    """Where the run that will become `target` works."""
    return target.with_name(f".{target.name}.unfinished")


def check_target(target: Path, *, resume: bool, force: bool) -> None:
    """Refuse early what would destroy something, or what cannot be resumed.

    Raises:
        FractureEdgeError: The finished folder exists, an unfinished run would be lost, or there is none to resume.
    """
    if resume and not unfinished(target).is_dir():
        raise FractureEdgeError(f"{target}: no unfinished run to resume; leave --resume out to start one")
    if resume or force:
        return
    refuse_overwrite(target)
    if worth_resuming(unfinished(target)):
        raise FractureEdgeError(
            f"{unfinished(target)} holds an unfinished run: --resume goes on with it, --force starts anew"
        )


def worth_resuming(folder: Path) -> bool:
    """Whether a run in `folder`, or a fold or teacher of it, has an epoch behind it."""
    return any(any(folder.rglob(name)) for name in (STATE_FILE, FOLD_FILE))


@contextmanager
def open_folder(target: Path, settings: Mapping[str, Any], *, resume: bool) -> Iterator[Path]:
    """Make the working folder, or take up the one that is there; one without a whole epoch is not left behind.

    Args:
        target: What it will become.
        settings: Everything that decides the run; a resumed run must have the same.
        resume: Whether to go on with what is there.

    Yields:
        The folder.

    Raises:
        FractureEdgeError: The run that is there was started with other settings; the text names the first.
    """
    folder = unfinished(target)
    path = folder / _SETTINGS
    if resume and path.is_file():
        theirs = json.loads(path.read_text(encoding="utf-8"))
        # Ours as they would be read again.
        if differing := _first_difference(theirs, json.loads(json.dumps(settings)), ""):
            raise FractureEdgeError(f"{folder}: was started with another {differing}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        atomic_write_text(path, json.dumps(settings, indent=2))
    try:
        yield folder
    except BaseException:
        if not worth_resuming(folder):
            shutil.rmtree(folder, ignore_errors=True)
        raise


def publish(target: Path) -> None:
    """Put the finished folder in place; an old one goes only when the new one is whole.

    Raises:
        FractureEdgeError: The file system refuses; the result stays where it is.
    """
    working, old = unfinished(target), target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    try:
        if target.exists():
            target.rename(old)
        working.rename(target)
    except OSError as error:
        if old.exists() and not target.exists():
            old.rename(target)
        raise FractureEdgeError(f"{target}: {error.strerror}; the result is in {working}") from error
    clear_state(target)
    (target / _SETTINGS).unlink(missing_ok=True)
    shutil.rmtree(old, ignore_errors=True)


def _first_difference(theirs: Any, ours: Any, key: str) -> str:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in ours | theirs:
            if found := _first_difference(theirs.get(name), ours.get(name), f"{key}.{name}".strip(".")):
                return found
        return ""
    return "" if theirs == ours else f"{key} ({theirs!r}, now {ours!r})"
