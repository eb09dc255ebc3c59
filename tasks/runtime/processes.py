"""Processes for stages: one for each, forked from one that has imported what they need.

Luigi's own process must never import torch, and forks a process for each task. Were the stage's process
forked from there, it would import for two to three seconds. So a run that has more than a little to do keeps a *warm*
process beside it, which imports once and then only forks, and which never computes anything itself: neither OpenMP's
threads nor CUDA survive a fork. Where there is none, or it is gone, a stage's process is forked on the spot. One that
dies is replaced, once: it serves the tasks that are begun from then on.

    luigi -+- warm -+- stage's process        tells the task's process what came of it, the warm one adds the exit code
           |        +- stage's process
           +- task's process (Luigi's), waits
           +- task's process (Luigi's), waits
"""

import contextlib
import ctypes
import gc
import logging
import mmap
import multiprocessing
import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

from luigi.worker import fork_lock

__all__ = ["Word", "die_with_parent", "keep_warm", "limit_threads", "run_apart", "warm_process"]

_PR_SET_PDEATHSIG = 1
_LOOK_SECONDS = 1.0
_MOST = 1 << 16
"""Bytes of an order."""
_RESTARTS = 1
"""Times that a warm process that has died is replaced."""
_BEGUN, _WORD, _CODE = range(3)
"""What a message is: that there is a process, what it tells, its exit code."""

Word = Any
"""What a stage's process tells, in plain data."""

_log = logging.getLogger("roar")

_fork = multiprocessing.get_context("fork")
_asking: socket.socket | None = None
"""Through which the warm process is asked; processes that Luigi forks inherit it."""
_warm: "_Warm | None" = None
"""What keeps a warm process at hand, in the process that began it."""
_is_warm = mmap.mmap(-1, 1)
"""One byte that all forked processes see: 1 once the warm process has imported everything."""


def run_apart(
    work: Callable[[Any], Word], order: Any, look: Callable[[], None], *, is_light: bool
) -> tuple[Word | None, int | None]:
    """Call ``work(order)`` in a process of its own, which (on Linux) dies with this one.

    Args:
        work: the function that the warm process was started with, if there is one.
        order: plain data.
        look: called every second meanwhile.
        is_light: whether the work needs none of what takes seconds to import, and so need not wait for it.

    Returns:
        What the process told, None if it ended without a word; and its exit code, None if that is not known.
    """
    if _asking is not None and (_is_warm[0] or not is_light):
        ended = _from_the_warm_one(_asking, order, look)
        if ended is not None:
            return ended
    ours, theirs = _fork.Pipe()
    process = _fork.Process(target=_work, args=(work, order, theirs))
    with ours:
        with theirs:
            process.start()
        told = _receive(ours, look)
    process.join()
    return told.get(_WORD), process.exitcode


def _from_the_warm_one(
    asking: socket.socket, order: Any, look: Callable[[], None]
) -> tuple[Word | None, int | None] | None:
    """Have the warm process fork one; None if it is gone, or could not, and nothing was begun."""
    ours, theirs = _fork.Pipe()
    with ours:
        with theirs:
            try:
                socket.send_fds(asking, [pickle.dumps(order)], [theirs.fileno()])
            except OSError:
                return None
        told = _receive(ours, look)
    return (told.get(_WORD), told.get(_CODE)) if told else None


def _receive(connection: Connection, look: Callable[[], None]) -> dict[int, Any]:
    """Return all messages by what they are, when no more can come.

    The exit code is the last; the end of the connection would come late, for other processes have copies of it.
    """
    told: dict[int, Any] = {}
    while _CODE not in told:
        while not connection.poll(_LOOK_SECONDS):
            look()
        try:
            kind, value = connection.recv()
        except (EOFError, OSError):
            return told
        told[kind] = value
    return told


def _work(work: Callable[[Any], Word], order: Any, connection: Connection) -> None:
    die_with_parent()
    connection.send((_WORD, work(order)))


@contextlib.contextmanager
def warm_process(work: Callable[[Any], Word], warm_up: Callable[[], None]) -> Iterator[None]:
    """Keep a process at hand within the body that forks what ``run_apart`` asks for. Linux only, elsewhere nothing.

    Args:
        work: called with an order in a forked process.
        warm_up: called once in the warm process, to import and remember what every ``work`` needs.
    """
    global _warm
    if sys.platform != "linux":
        yield
        return
    warm = _Warm(work, warm_up)
    try:
        warm.start()
        _warm = warm
        yield
    finally:
        _warm = None
        warm.stop()


def keep_warm() -> None:
    """Replace a warm process that has died, once, and say so; called by the process that began it, now and then."""
    if _warm is not None:
        _warm.renew()


class _Warm:
    """The warm process, and the socket through which it is asked."""

    def __init__(self, work: Callable[[Any], Word], warm_up: Callable[[], None]) -> None:
        self._work, self._warm_up = work, warm_up
        self._asking: socket.socket | None = None
        self._process: Any = None
        self._restarts = _RESTARTS

    def start(self) -> None:
        """Begin it, and have tasks that are forked from now on ask it."""
        global _asking
        self._asking, served = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._process = _fork.Process(target=_be_warm, args=(self._work, self._warm_up, served), name="warm")
        _is_warm[0] = 0
        with served, fork_lock:
            self._process.start()
        _asking = self._asking

    def stop(self) -> None:
        """End it; tasks then fork on the spot."""
        global _asking
        _asking = None
        if self._asking is not None:
            self._asking.close()
        if self._process is not None and self._process.pid is not None:
            self._process.kill()
            self._process.join()
        self._process = None

    def renew(self) -> None:
        """Begin another if it has died, unless that has been done as often as is allowed."""
        if self._process is None or self._process.is_alive():
            return
        ending = f"exit code {self._process.exitcode}"
        self.stop()
        if not self._restarts:
            _log.warning(
                "The process that stages are forked from has ended again (%s): each imports by itself.", ending
            )
            return
        self._restarts -= 1
        try:
            self.start()
        except OSError as error:
            self.stop()
            _log.warning(
                "The process that stages are forked from has ended (%s), and cannot be replaced: %s.", ending, error
            )
        else:
            _log.warning("The process that stages are forked from has ended (%s): another takes its place.", ending)


def _be_warm(work: Callable[[Any], Word], warm_up: Callable[[], None], served: socket.socket) -> None:
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    warm_up()
    gc.freeze()  # or the collections of those that are forked would copy all of it
    _is_warm[0] = 1
    running: dict[Connection, Any] = {}
    while True:
        ready = wait([served, *running, *(process.sentinel for process in running.values())])
        for connection, process in list(running.items()):
            if process.sentinel in ready:
                process.join()
                with contextlib.suppress(OSError), connection:
                    connection.send((_CODE, process.exitcode))
                process.close()
                del running[connection]
            elif connection in ready:  # closed: who has asked is gone
                process.kill()
        if served in ready:
            order, descriptors, _, _ = socket.recv_fds(served, _MOST, 1)
            for descriptor in descriptors:
                connection = Connection(descriptor)
                try:
                    process = _fork.Process(target=_work, args=(work, pickle.loads(order), connection))
                    process.start()
                    running[connection] = process
                    connection.send((_BEGUN, None))
                except OSError:  # no more processes, or nobody who waits
                    if connection not in running:
                        connection.close()


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
