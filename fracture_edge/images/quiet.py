"""Silencing of the warnings and log messages of decoders.

Pillow and pydicom warn about every irregularity, and the warnings and log messages of pydicom quote the header,
patient names included. Whatever matters is returned as a status or raised as an error of this package.
"""

import os
import sys
import warnings

# `threading` and `logging` take milliseconds to import, and PNG and JPEG do not need them.
from _thread import allocate_lock
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_LOCK = allocate_lock()
_inside = 0
_restore = ExitStack()
#: Packages whose log is switched off, and those of them for which it is now.
_LOGGING = ("pydicom", "tifffile")
_silent: set[str] = set()
#: Log level above `logging.CRITICAL`.
_OFF = 100


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the decoders as long as any thread is inside this context.

    `warnings.catch_warnings` alone is not thread-safe: the first thread to leave would switch the warnings on
    again, and the last one would restore the filters that the first one had set.
    """
    global _inside  # noqa: PLW0603
    with _LOCK:
        if not _inside:
            _restore.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"(PIL|pydicom|tifffile|fracture_edge)\b")
        _inside += 1
        for package in _LOGGING:
            if package in sys.modules and package not in _silent:
                _switch_log_off(package)
                _silent.add(package)
    try:
        yield
    finally:
        with _LOCK:
            _inside -= 1
            if not _inside:
                _restore.close()
                _silent.clear()


def _reset_after_fork() -> None:
    """Reset the state in a forked child, where no other thread is inside the context."""
    global _LOCK, _inside
    _LOCK, _inside = allocate_lock(), 0
    _silent.clear()
    _restore.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)


def _switch_log_off(package: str) -> None:
    import logging

    # By the level, which the loggers of its modules inherit.
    log = logging.getLogger(package)
    _restore.callback(log.setLevel, log.level)
    log.setLevel(_OFF)
