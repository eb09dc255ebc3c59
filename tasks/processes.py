"""Processes for stages: one for each, forked from one that has imported what they need.

Luigi's own process must never import torch (DESIGN 4), and forks a process for each task. Were the stage's process
forked from there, it would import for two to three seconds. So a run that has more than a little to do keeps a *warm*
process beside it, which imports once and then only forks, and which never computes anything itself: neither OpenMP's
threads nor CUDA survive a fork. Where there is none, or it is gone, a stage's process is forked on the spot.

    luigi -+- warm -+- stage's process        tells the task's process what came of it, the warm one adds the exit code
           |        +- stage's process
           +- task's process (Luigi's), waits
           +- task's process (Luigi's), waits
"""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

__all__ = ["Word", "die_with_parent", "limit_threads", "run_apart", "warm_process"]

_PR_SET_PDEATHSIG = 1
_BEGUN = "begun"
_ASKED_SECONDS = 1.0
_PARENT_SECONDS = 5.0

Word = Any
"""What a stage's process tells, in plain data."""

_fork = multiprocessing.get_context("fork")
_asking: socket.socket | None = None
"""Through which the warm process is asked; processes that Luigi forks inherit it."""
_is_warm = multiprocessing.RawValue("b", 0)


def run_apart(
    work: Callable[[Any], Word], order: Any, look: Callable[[], None], *, is_light: bool
) -> tuple[Word | None, int | None]:
    """Call ``work(order)`` in a process of its own, which dies with this one.

    Args:
        work: the function that the warm process was started with.
        order: plain data.
        look: called every second meanwhile.
        is_light: whether the work needs none of what takes seconds to import, and so need not wait for it.

    Returns:
        What the process told, None if it ended without a word; and its exit code, None if that is not known.
    """
    if _asking is not None and (_is_warm.value or not is_light):
        ended = _from_the_warm_one(_asking, order, look)
        if ended is not None:
            return ended
    ours, theirs = _fork.Pipe()
    process = _fork.Process(target=_work, args=(work, order, theirs))
    with ours:
        with theirs:
            process.start()
        word = _receive(ours, look)
    process.join()
    return word, process.exitcode


def _from_the_warm_one(
    asking: socket.socket, order: Any, look: Callable[[], None]
) -> tuple[Word | None, int | None] | None:
    """Have the warm process fork one; None if it is gone and nothing was begun."""
    ours, theirs = _fork.Pipe()
    with ours:
        with theirs:
            try:
                socket.send_fds(asking, [b"?"], [theirs.fileno()])
            except OSError:
                return None
        with contextlib.suppress(OSError):
            ours.send(order)
        if _receive(ours, look) != _BEGUN:
            return None
        word = _receive(ours, look)
        return (None, word) if word is None or isinstance(word, int) else (word, _receive(ours, look))


def _receive(connection: Connection, look: Callable[[], None]) -> Any:
    """Wait for a message; None if none can come any more."""
    while not connection.poll(_ASKED_SECONDS):
        look()
    try:
        return connection.recv()
    except (EOFError, OSError):
        return None


def _work(work: Callable[[Any], Word], order: Any, connection: Connection) -> None:
    die_with_parent()
    connection.send(work(order))


@contextlib.contextmanager
def warm_process(work: Callable[[Any], Word], warm_up: Callable[[], None]) -> Iterator[None]:
    """Keep a process at hand within the body that forks what ``run_apart`` asks for.

    Args:
        work: called with an order in a forked process.
        warm_up: called once in the warm process, to import and remember what every ``work`` needs.
    """
    global _asking
    _asking, served = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    _is_warm.value = 0
    with _asking:
        process = _fork.Process(target=_be_warm, args=(work, warm_up, served), name="warm", daemon=False)
        process.start()
        served.close()
        try:
            yield
        finally:
            _asking = None
            process.terminate()
            process.join()


def _be_warm(work: Callable[[Any], Word], warm_up: Callable[[], None], served: socket.socket) -> None:
    die_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    warm_up()
    parent = os.getppid()
    running: dict[Connection, Any] = {}
    _is_warm.value = 1
    while os.getppid() == parent:
        ready = wait([served, *running, *(process.sentinel for process in running.values())], _PARENT_SECONDS)
        for connection, process in list(running.items()):
            if process.sentinel in ready:
                process.join()
                with contextlib.suppress(OSError), connection:
                    connection.send(process.exitcode)
                process.close()
                del running[connection]
            elif connection in ready:  # closed: who has asked is gone
                process.kill()
        if served in ready:
            connection = Connection(socket.recv_fds(served, 1, 1)[1][0])
            with contextlib.suppress(EOFError, OSError):
                process = _fork.Process(target=_work, args=(work, connection.recv(), connection))
                connection.send(_BEGUN)
                process.start()
                running[connection] = process


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
