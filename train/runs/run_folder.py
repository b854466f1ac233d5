"""Working folder of an unfinished run: resumable, and published by renaming when the run is finished."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import atomic_write_text, refuse_overwrite
from train.recipes.tables import of_this_version
from train.trainer.callbacks import FOLD_FILE, STATE_FILE, clear_state

_SETTINGS = "run.json"


def unfinished(target: Path) -> Path:
    """Return the working folder of the run whose result will be `target`."""
    return target.with_name(f".{target.name}.unfinished")


def check_target(target: Path, *, resume: bool, force: bool) -> None:
    """Check before a run that nothing would be overwritten, and that there is a run to resume.

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
            f"{unfinished(target)} holds an unfinished run: --resume continues it, --force starts over"
        )


def worth_resuming(folder: Path) -> bool:
    """Return whether a run in `folder`, or one of its folds, has completed an epoch."""
    return any(any(folder.rglob(name)) for name in (STATE_FILE, FOLD_FILE))


@contextmanager
def open_folder(target: Path, settings: Mapping[str, Any], *, resume: bool) -> Iterator[Path]:
    """Create the working folder, or open the existing one to resume its run.

    If an exception is raised before any epoch is complete the folder is removed.

    Args:
        target: Path of the finished folder.
        settings: Settings that determine the run; a resumed run must have the same.
        resume: Whether to continue the existing run.

    Yields:
        Path of the working folder.

    Raises:
        FractureEdgeError: The existing run was started with other settings; the message names the first one.
    """
    folder = unfinished(target)
    path = folder / _SETTINGS
    if resume and path.is_file():
        theirs = read_settings(path.read_text(encoding="utf-8"))
        # Ours through JSON and back, to have the same types.
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


def read_settings(text: str) -> dict[str, Any]:
    """Read the settings that determine a run from JSON, of this version or an earlier one."""
    settings: dict[str, Any] = json.loads(text)
    if "recipe" in settings:
        settings["recipe"] = of_this_version(settings["recipe"])
    return settings


def publish(target: Path) -> None:
    """Rename the working folder to `target`; an old folder is removed only after that.

    Raises:
        FractureEdgeError: Renaming failed; the result stays in the working folder.
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
