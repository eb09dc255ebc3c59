"""Processes for stages: they end with the run that began them, and know how many threads they may start."""

import ctypes
import multiprocessing
import os
import signal
import sys

__all__ = ["die_with_parent", "limit_threads"]

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel to end this process when the one that forked it is gone, however it went. Linux only."""
    parent = multiprocessing.parent_process()
    if sys.platform != "linux" or parent is None:
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent.pid:
        os.kill(os.getpid(), signal.SIGKILL)


def limit_threads(threads: int) -> None:
    """Set what numerical libraries read when they are first imported: idle threads sleep instead of spinning."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
