"""Decoders that keep to themselves what they find odd about a file.

Pillow and pydicom warn of every irregularity, and pydicom's warnings and log lines quote the header: names of
patients too. What matters comes back as an answer or an error of ours.
"""

import os
import sys
import warnings

# `threading` and `logging` take milliseconds to import, and no PNG or JPEG needs them.
from _thread import allocate_lock
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_LOCK = allocate_lock()
_inside = 0
_restore = ExitStack()
_log_is_off = False
#: Above `logging.CRITICAL`.
_OFF = 100


@contextmanager
def quiet() -> Iterator[None]:
    """Silence them while any thread is in here.

    `warnings.catch_warnings` alone is not safe in threads: whoever leaves first would switch them on again, and
    whoever leaves last would restore what the first one had set.
    """
    global _inside, _log_is_off  # noqa: PLW0603
    with _LOCK:
        if not _inside:
            _restore.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"(PIL|pydicom|fracture_edge)\b")
        _inside += 1
        if "pydicom" in sys.modules and not _log_is_off:
            _switch_log_off()
            _log_is_off = True
    try:
        yield
    finally:
        with _LOCK:
            _inside -= 1
            if not _inside:
                _restore.close()
                _log_is_off = False


def _begin_anew() -> None:
    """In a forked child no other thread is in here, whatever the parent's threads were doing."""
    global _LOCK, _inside, _log_is_off
    _LOCK, _inside, _log_is_off = allocate_lock(), 0, False
    _restore.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def _switch_log_off() -> None:
    import logging

    # By its level, which the loggers of pydicom's modules inherit.
    log = logging.getLogger("pydicom")
    _restore.callback(log.setLevel, log.level)
    log.setLevel(_OFF)
