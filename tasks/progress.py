"""How far the run is: one line per finished task, with the tasks done of all and the time left.

Luigi announces, in its own process and before anything runs, every task that the run needs. Worker processes are forked
afterwards, know that list, and count what is done by the manifests.
"""

import datetime
import logging
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import luigi

from roar_pipeline.manifests import MANIFEST, read_manifest

if TYPE_CHECKING:
    from tasks.base import StageTask

__all__ = ["announce", "closure", "seconds_left"]

_planned: dict[str, "StageTask"] = {}
_started = time.monotonic()
_log = logging.getLogger("roar")


@luigi.Task.event_handler(luigi.Event.DEPENDENCY_DISCOVERED)
def _plan(task: "StageTask", dependency: "StageTask") -> None:
    for each in (*task.parts(), dependency):
        if each.fingerprint not in _planned:
            _planned.update(closure(each))


def announce(task: "StageTask") -> None:
    """Say that a task is done, how many are of all, and about how long the rest takes."""
    waiting = [t for t in _planned.values() if not (t.directory / MANIFEST).exists()]
    seconds = (read_manifest(task.directory) or {}).get("seconds", 0.0)
    place = f"[{len(_planned) - len(waiting)}/{len(_planned)}] " if _planned else ""
    left = seconds_left(list(_planned.values()), waiting, luigi.interface.core().workers)
    rest = f", about {_duration(left)} left" if waiting and left is not None else ""
    elapsed = _duration(time.monotonic() - _started)
    _log.info("%s%s: %.1f s (%s elapsed%s)", place, task.title, seconds, elapsed, rest)


def seconds_left(planned: list[Any], waiting: list[Any], workers: int) -> float | None:
    """Estimate the wall time of what waits, from what finished tasks of the same family (else of any) took."""
    unfinished = {t.fingerprint for t in waiting}
    taken: dict[str, list[float]] = defaultdict(list)
    for task in planned:
        if task.fingerprint not in unfinished and len(taken[task.task_family]) < 5:
            taken[task.task_family].append((read_manifest(task.directory) or {}).get("seconds", 0.0))
    known = [seconds for family in taken.values() for seconds in family]
    if not known:
        return None
    usual = sum(known) / len(known)
    means = {family: sum(values) / len(values) for family, values in taken.items() if values}
    return sum(means.get(t.task_family, usual) for t in waiting) / max(1, workers)


def closure(root: "StageTask") -> dict[str, "StageTask"]:
    """Return the task and everything it is built on, each result once, by fingerprint."""
    found: dict[str, StageTask] = {}
    stack: list[StageTask] = [root]
    while stack:
        for task in stack.pop().parts():
            if task.fingerprint not in found:
                found[task.fingerprint] = task
                stack += task.deps()
    return found


def _duration(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))
