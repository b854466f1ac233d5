"""Fast start and exit of `fracture-edge classify image.png`.

The process around a prediction takes many times as long as the prediction. Each function says what it avoids.
"""

import gc
import os
import sys
from pathlib import Path
from typing import NoReturn

from fracture_edge.errors import EXIT_FAILED

#: Commands that need no extra.
DEVICE_COMMANDS = frozenset({"classify", "merge", "watch", "page", "hub", "info", "doctor"})
_HELP = frozenset({"-h", "--help"})
#: Options of `classify` that ask for another session than the embedded model with default threads.
_OTHER_SESSION = ("--model", "--threads")


def is_device_command() -> bool:
    """Return whether the command line names a command of the device."""
    return not DEVICE_COMMANDS.isdisjoint(sys.argv[1:2])


def import_quickly() -> None:
    """Import the modules that the command line needs, with the garbage collector disabled.

    Imports create hardly any reference cycles, and the collector would traverse all imported objects repeatedly.
    """
    gc.disable()
    try:
        if is_device_command():
            # The device does not use numpy's linear algebra, whose threads take time to start.
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        if sys.argv[1:2] == ["classify"] and _HELP.isdisjoint(sys.argv):
            _import_to_classify()
        if not has_paths_only():
            import fracture_edge.commands.registry  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()


def has_paths_only() -> bool:
    """Return whether the command line is `classify PATH...` without options, which works without typer.

    It is false on Windows, where typer's parser expands patterns and ``~``, as shells do elsewhere.
    """
    words = sys.argv[2:]
    alone = bool(words) and not any(word.startswith("-") or not word for word in words)
    return alone and sys.argv[1] == "classify" and os.name != "nt"


def classify_paths() -> NoReturn:
    """Run `classify PATH...` without typer, and exit with its status."""
    from fracture_edge.batch.classify import ClassifyOptions, classify

    sys.exit(classify([Path(word) for word in sys.argv[2:]], ClassifyOptions()))


def exit_quickly(code: int) -> NoReturn:
    """Flush the output and end the process without Python's shutdown.

    The commands close every file, so the shutdown has nothing left to do.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        # The reader of the output has closed the pipe, or the disk is full.
        code = code or EXIT_FAILED
    os._exit(code)


def _import_to_classify() -> None:
    # First, because deep within other imports Python 3.11 may spend milliseconds on growing its stack repeatedly.
    import numpy  # noqa: F401

    # A guess from the arguments: if it is wrong, the session is not used.
    if not any(word.startswith(_OTHER_SESSION) for word in sys.argv[2:]):
        from fracture_edge.runtimes.opening import open_ahead

        open_ahead()
    import fracture_edge.batch.classify  # noqa: F401
