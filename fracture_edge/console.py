"""Messages to the user, and the standard streams."""

import io
import os
import sys

from fracture_edge.errors import FractureEdgeError

_closed: set[str] = set()


def prepare_streams() -> None:
    """Make the standard streams usable, whatever the caller has done to them.

    A closed stream is opened on the null device, or the next file that is opened would get its number and whatever
    a library writes to it. A file name need not be valid text; stdout gets its bytes unchanged.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            _closed.add(name)
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="surrogateescape"))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")


def require_stream(name: str, advice: str) -> None:
    """Refuse to work with a standard stream that the caller has closed.

    Args:
        name: Name of the stream: ``stdin`` or ``stdout``.
        advice: What to do instead, in words.

    Raises:
        FractureEdgeError: The stream is closed.
    """
    if name in _closed:
        raise FractureEdgeError(f"{name} is closed; {advice}")


def say(text: str) -> None:
    """Print one line for the user on stderr, which keeps stdout for results."""
    print(text, file=sys.stderr, flush=True)
