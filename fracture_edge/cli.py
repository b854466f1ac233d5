"""The `fracture-edge` command: failures as one line, exit codes, a quick start and a quick end."""

import errno
import gc
import os
import sys
from pathlib import Path

from fracture_edge.errors import FractureEdgeError

EXIT_FAILED, EXIT_SOME_FAILED = 1, 3
_HELP = frozenset({"-h", "--help"})
#: Commands of the device, which start and end quickly.
_DEVICE = frozenset({"classify", "watch", "info", "doctor"})
#: With one of these it is not the embedded model with default threads that is wanted.
_OTHER_SESSION = ("--model", "--threads")
#: As shells and typer say it of SIGINT.
_EXIT_INTERRUPTED = 130


def main(*, own_process: bool = False) -> None:
    """Run the command line; every expected failure is one line on stderr.

    Args:
        own_process: Nothing but the command runs in this process, from its start to its end.
    """
    try:
        if own_process:
            _import_quickly()
            if _paths_alone():
                from fracture_edge.batch.classify import classify

                sys.exit(classify([Path(word) for word in sys.argv[2:]]))
        from fracture_edge.commands.registry import app

        app()
    except FractureEdgeError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        _fail(_how_to_install(error))
    except OSError as error:
        if error.errno == errno.EPIPE:
            # Whoever read our output has seen enough.
            sys.exit(EXIT_FAILED)
        _fail(f"{error.filename or 'input/output'}: {error.strerror or error}")
    except KeyboardInterrupt:
        sys.exit(_EXIT_INTERRUPTED)


def run() -> None:
    """The installed command: `main`, and on the device a quick way out.

    Python's teardown costs a good part of the whole process once onnxruntime is loaded (compare with `python -P -m
    benchmarks.speed.startup`), and there is nothing left to do in it: every file is closed when `main` ends.
    """
    try:
        main(own_process=True)
        code: int | str | None = 0
    except SystemExit as stop:
        code = stop.code
    if not isinstance(code, int) or _DEVICE.isdisjoint(sys.argv[1:2]):
        sys.exit(code)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        # Whoever read our output is gone, or the disk is full.
        code = code or EXIT_FAILED
    os._exit(code)


def _import_quickly() -> None:
    """Import without looking for reference cycles, of which modules leave none to speak of.

    The collector would go through all that is imported again and again: nearly a tenth of the time to an answer.
    """
    gc.disable()
    try:
        if not _DEVICE.isdisjoint(sys.argv[1:2]):
            # numpy's linear algebra is not used on the device; its threads would cost start-up time.
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        if sys.argv[1:2] == ["classify"] and _HELP.isdisjoint(sys.argv):
            _import_to_classify()
        if not _paths_alone():
            import fracture_edge.commands.registry  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()


def _paths_alone() -> bool:
    """Whether it is `classify PATH...` without any option: nothing to parse, and typer takes its time to import.

    On Windows typer's parser expands patterns and ``~``, which shells do elsewhere.
    """
    words = sys.argv[2:]
    alone = bool(words) and not any(word.startswith("-") or not word for word in words)
    return alone and sys.argv[1] == "classify" and os.name != "nt"


def _import_to_classify() -> None:
    # From here: deep within other imports Python 3.11 may spend milliseconds on growing its stack again and again.
    import numpy  # noqa: F401

    from fracture_edge.session import open_ahead

    # A guess: where it is wrong, the session is not used.
    if not any(word.startswith(_OTHER_SESSION) for word in sys.argv[2:]):
        open_ahead()
    import fracture_edge.batch.classify  # noqa: F401


def _how_to_install(error: ModuleNotFoundError) -> str:
    """What to do about a module of an extra; any other that is missing is raised again."""
    from fracture_edge.commands.registry import HEAVY, WORKSHOP

    missing = (error.name or "").partition(".")[0]
    command = next((word for word in sys.argv[1:] if word in WORKSHOP), None)
    if missing not in HEAVY or command is None:
        raise error
    return f"'{command}' needs {missing}: pip install 'fracture-edge[{WORKSHOP[command].extra}]'"


def _fail(text: str) -> None:
    print(f"fracture-edge: {text}", file=sys.stderr)
    sys.exit(EXIT_FAILED)
