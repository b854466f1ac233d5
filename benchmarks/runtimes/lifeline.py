"""Child processes that do not outlive the process that started them."""

import os
import signal
import sys

#: From Linux's sys/prctl.h.
_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Have Linux kill this process when the one that started it dies, even by SIGKILL.

    Args:
        parent: Its process id; if it is dead already, this process ends here, on every system with such ids.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(1)
