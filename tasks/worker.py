"""Luigi's worker, taught three things that a cache shared by several runs needs.

1. A run stays while another run on its scheduler makes something that it needs, and no longer. (Luigi's ``keep_alive``
   stays whenever something is pending, for ever if an upstream task has failed.) A run that was killed is such another
   run until the scheduler gives it up, ``[scheduler] worker_disconnect_delay`` later: then its work is taken over.
2. What another run has made counts as done, so that the exit code tells the truth.
3. Of a batch that fails, the tasks that have their results are done, and their followers can run.
"""

import json
import time
from typing import Any

import luigi.interface
import luigi.worker
from luigi.task_status import DONE, FAILED, PENDING

from tasks.execution import failure_text

__all__ = ["install"]

_ASKED_SECONDS = 1.0
"""An idle run asks the scheduler for others' work this often at most."""


class Worker(luigi.worker.Worker):
    """See the module."""

    _others: bool = False
    _asked: float = 0.0

    def run(self) -> bool:
        """Run all that can be run, here or by others; tell whether all of it succeeded."""
        succeeded: bool = super().run()
        latest = {task: status for task, status, _ in self._add_task_history}
        for task in [task for task, status in latest.items() if status == PENDING]:
            if task.complete():
                self._add_task_history.append((task, DONE, True))
        return succeeded

    def _keep_alive(self, get_work_response: Any) -> bool:
        if self._stop_requesting_work or self._assistant:
            return bool(super()._keep_alive(get_work_response))
        if time.monotonic() - self._asked > _ASKED_SECONDS:
            self._others = self._others_are_at_work()
            self._asked = time.monotonic()
        return self._others

    def _others_are_at_work(self) -> bool:
        """Tell whether the scheduler has anything of this run's in the hands of another."""
        needed = self._scheduled_tasks.keys()
        return any(
            not needed.isdisjoint(self._scheduler.task_list(status, "", limit=False) or ())
            for status in ("RUNNING", "BATCH_RUNNING")
        )

    def _add_task(self, *args: Any, **kwargs: Any) -> None:
        task = self._scheduled_tasks.get(kwargs["task_id"])
        parts = list(self._batch_running_tasks.get(kwargs["task_id"], ()))
        if kwargs["status"] == FAILED and task is not None and kwargs.get("expl"):
            unmade = [part for part in task.parts() if not part.complete()]
            told = [failure_text(part, None) for part in unmade]
            kwargs["expl"] = json.dumps("\n".join(told) or json.loads(kwargs["expl"]))
        super()._add_task(*args, **kwargs)
        if kwargs["status"] == FAILED:
            for part in parts:
                if part.complete():
                    self._add_task(worker=self._id, task_id=part.task_id, status=DONE, runnable=True)


class _Factory(luigi.interface._WorkerSchedulerFactory):
    def create_worker(self, scheduler: Any, worker_processes: int, assistant: bool = False) -> Worker:
        return Worker(scheduler=scheduler, worker_processes=worker_processes, assistant=assistant)


def install() -> None:
    """Have ``luigi`` on the command line use this worker; Luigi offers its programs no other way in."""
    luigi.interface._WorkerSchedulerFactory = _Factory  # type: ignore[misc]
