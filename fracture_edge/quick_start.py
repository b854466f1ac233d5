"""What makes `fracture-edge classify image.png` start and end quickly.

A single answer takes milliseconds; the process around it takes a hundred. Each trick says what it saves.
"""

import gc
import os
import sys
from pathlib import Path
from typing import NoReturn

from fracture_edge.errors import EXIT_FAILED

#: Commands that need the bare install only.
DEVICE_COMMANDS = frozenset({"classify", "watch", "info", "doctor"})
_HELP = frozenset({"-h", "--help"})
#: Options with which `classify` does not want the embedded model with default threads.
_OTHER_SESSION = ("--model", "--threads")


def is_device_command() -> bool:
    """Whether the command line names a command of the device."""
    return not DEVICE_COMMANDS.isdisjoint(sys.argv[1:2])


def import_quickly() -> None:
    """Import what the command line needs, with the garbage collector off.

    Imports leave no reference cycles to speak of, and the collector would go through all that is imported again
    and again.
    """
    gc.disable()
    try:
        if is_device_command():
            # numpy's linear algebra is not used on the device; starting its threads takes time.
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        if sys.argv[1:2] == ["classify"] and _HELP.isdisjoint(sys.argv):
            _import_to_classify()
        if not has_paths_only():
            import fracture_edge.commands.registry  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()


def has_paths_only() -> bool:
    """Whether the command line is `classify PATH...` without options, which needs no parser and so no typer.

    On Windows typer's parser expands patterns and ``~``, which shells do elsewhere.
    """
    words = sys.argv[2:]
    alone = bool(words) and not any(word.startswith("-") or not word for word in words)
    return alone and sys.argv[1] == "classify" and os.name != "nt"


def classify_paths() -> NoReturn:
    """Run `classify PATH...` without the parser, and exit with its status."""
    from fracture_edge.batch.classify import ClassifyOptions, classify

    sys.exit(classify([Path(word) for word in sys.argv[2:]], ClassifyOptions()))


def exit_quickly(code: int) -> NoReturn:
    """End the process without Python's teardown, once everything is written.

    Every file is closed when a command ends, so there is nothing left to do in it.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        # The reader of our output is gone, or the disk is full.
        code = code or EXIT_FAILED
    os._exit(code)


def _import_to_classify() -> None:
    # From here: deep within other imports Python 3.11 may spend milliseconds on growing its stack again and again.
    import numpy  # noqa: F401

    from fracture_edge.session import open_ahead

    # A guess: where it is wrong, the session is not used.
    if not any(word.startswith(_OTHER_SESSION) for word in sys.argv[2:]):
        open_ahead()
    import fracture_edge.batch.classify  # noqa: F401
