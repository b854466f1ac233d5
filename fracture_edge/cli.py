"""Entry point of the `fracture-edge` command: expected errors become one line on stderr and an exit code."""

import errno
import os
import sys
from typing import NoReturn

from fracture_edge import quick_start
from fracture_edge.console import prepare_streams
from fracture_edge.errors import EXIT_FAILED, FractureEdgeError

#: Exit code of shells and typer after SIGINT.
_EXIT_INTERRUPTED = 130


def main(*, own_process: bool = False) -> None:
    """Run the command line.

    Args:
        own_process: Whether this process runs nothing but the command.
    """
    try:
        prepare_streams()
        if own_process:
            quick_start.import_quickly()
            if quick_start.has_paths_only():
                quick_start.classify_paths()
        from fracture_edge.commands.registry import app

        app()
    except FractureEdgeError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        _fail(_how_to_install(error))
    except OSError as error:
        if error.errno == errno.EPIPE:
            # The reader of the output has closed the pipe, as `head` does.
            sys.exit(EXIT_FAILED)
        _fail(f"{error.filename or 'input/output'}: {_in_words(error)}")
    except KeyboardInterrupt:
        sys.exit(_EXIT_INTERRUPTED)


def run() -> None:
    """Run the installed command in a process of its own."""
    try:
        main(own_process=True)
        code: int | str | None = 0
    except SystemExit as stop:
        code = stop.code
    if isinstance(code, int) and quick_start.is_device_command():
        quick_start.exit_quickly(code)
    sys.exit(code)


def _in_words(error: OSError) -> str:
    text = error.strerror or str(error)
    if "\n" in text:
        # HDF5 reports on several lines.
        text = os.strerror(error.errno) if error.errno else text.partition("\n")[0]
    return text


def _how_to_install(error: ModuleNotFoundError) -> str:
    """Return a message that names the extra with a missing module.

    Raises:
        ModuleNotFoundError: The module belongs to no extra.
    """
    from fracture_edge.commands.registry import COMMANDS, MODULES_OF_EXTRAS

    missing = (error.name or "").partition(".")[0]
    command = next((word for word in sys.argv[1:] if word in COMMANDS and COMMANDS[word].extra), None)
    if missing not in MODULES_OF_EXTRAS or command is None:
        raise error
    return f"'{command}' needs {missing}: pip install 'fracture-edge[{COMMANDS[command].extra}]'"


def _fail(text: str) -> NoReturn:
    print(f"fracture-edge: {text}", file=sys.stderr)
    sys.exit(EXIT_FAILED)
