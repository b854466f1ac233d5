"""Messages to the user."""

import sys


def say(text: str) -> None:
    """Print one line for the user on stderr, which keeps stdout for results."""
    print(text, file=sys.stderr, flush=True)
