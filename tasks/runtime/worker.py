"""Luigi's worker with six additions, for a cache that several runs share.

1. A run waits while another run on its scheduler makes a result that it needs, and no longer. (With Luigi's
   ``keep_alive`` it waits while any task is pending: forever if an upstream task has failed.) A killed run counts as
   running until the scheduler drops it, ``[scheduler] worker_disconnect_delay`` later, and marks its tasks as failed.
   Then this run takes them over. Tasks that really failed have a record of the failure, and stay failed.
2. A result that another run has made counts as done in the exit code.
3. If a batch fails, its finished tasks count as done, so that their downstream tasks can run.
4. The run announces its tasks again to a scheduler that was restarted and has lost them.
5. A task whose process was killed, or met a transient error, is retried, ``[execution] retries`` times.
6. Before the first of several stages that need them, the process imports the libraries that all of them share.
"""

import contextlib
import json
import logging
import math
import signal
import socket
import time
import urllib.parse
from collections import Counter
from typing import Any

import luigi.interface
import luigi.worker
from luigi.task_status import DONE, FAILED, PENDING

from roar_pipeline.cache import attempts
from roar_pipeline.errors import InputError
from tasks.configuration.settings import settings, task_classes
from tasks.runtime.execution import import_libraries, open_cache
from tasks.runtime.failures import TRANSIENT, failure_text, is_worth_another_try, record_death
from tasks.runtime.grouping import GroupedScheduler
from tasks.runtime.refusals import no_task
from tasks.runtime.resources import resources_of_machine, shortages
from tasks.runtime.terminal import Monitor, progress_text
from tasks.startup import streams

__all__ = ["install"]

_log = logging.getLogger("roar")

_ANSWER_SECONDS = 5.0
_POLL_SECONDS = 1.0
"""Shortest interval at which an idle run asks the scheduler for the work of other runs."""
_REPORT_SECONDS = 1.0
"""Shortest interval at which the scheduler's page gets the progress of running tasks."""
_SILENT_SECONDS = 5.0
"""A process that exited with code 0 without reporting on its task counts as failed after this time."""


class Worker(luigi.worker.Worker):
    """The worker that this module's docstring describes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._others_work, self._polled = False, 0.0
        self._roots: list[Any] = []
        self._tries: Counter[str] = Counter()
        """Retries by task id."""
        self._ended: dict[str, float] = {}
        """Time at which the end of a running task's process was noticed, by task id."""
        self._progress_lines: dict[str, str] = {}
        """Progress line of a running task on the scheduler's page, by task id."""
        self._reported = 0.0
        self._is_to_import = False

    def run(self) -> bool:
        """Run all tasks, here or in other runs; return whether all of them succeeded."""
        open_cache()
        self._offer_resources()
        pending = [task for task, status, _ in self._add_task_history if status == PENDING]
        waiting = {single.fingerprint: single for task in pending for single in task.single_tasks()}.values()
        for warning in shortages(waiting):
            _log.warning("%s", warning)
        self._is_to_import = sum(not task.is_light for task in waiting) > 1
        with Monitor(self._scheduled_tasks.values(), self.worker_processes):
            succeeded = bool(super().run())
        latest = {task: status for task, status, _ in self._add_task_history}
        for task in [task for task, status in latest.items() if status == PENDING]:
            if task.complete():
                self._add_task_history.append((task, DONE, True))
        done = {task.task_id for task, status, _ in self._add_task_history if status == DONE}
        for response in self._get_work_response_history:
            response["running_tasks"] = [t for t in response["running_tasks"] if t["task_id"] not in done]
        return succeeded

    def _offer_resources(self) -> None:
        """Announce this machine's resources to the scheduler, which assumes 1 of a resource that it does not know."""
        names = {resource["name"] for resource in self._scheduler.resource_list()}
        if missing := {k: v for k, v in resources_of_machine().items() if k not in names}:
            self._scheduler.update_resources(**missing)

    def add(self, task: Any, multiprocess: bool = False, processes: int = 0) -> bool:
        """Schedule a task and its requirements."""
        if task.task_family not in task_classes():
            raise no_task(task.task_family)
        if task not in self._roots:
            self._roots.append(task)
        return bool(super().add(task, multiprocess, processes))

    def _keep_alive(self, get_work_response: Any) -> bool:
        if self._stop_requesting_work or self._assistant:
            return bool(super()._keep_alive(get_work_response))
        if time.monotonic() - self._polled > _POLL_SECONDS:
            self._offer_resources()  # a restarted luigid has lost them
            others_work = self._others_are_at_work()
            self._others_work = self._takes_over() or self._reschedules(get_work_response) or others_work
            self._polled = time.monotonic()
        return self._others_work

    def _reschedules(self, get_work_response: Any) -> bool:
        """Schedule all tasks again if the scheduler was restarted and has lost this run; return whether it has."""
        if not self._scheduler.is_central or get_work_response.n_pending_tasks:
            return False
        lost = [root for root in self._roots if not root.complete()]
        if not lost or lost[0].task_id in self._scheduler.task_list("", "", limit=False):
            return False
        failed = [task for task, status, _ in self._add_task_history if status == FAILED]
        self._batch_families_sent.clear()
        for root in lost:
            super().add(root)
        for single in {single.task_id: single for task in failed for single in task.single_tasks()}.values():
            self._settle(single)  # a failed task stays failed
        return True

    def _others_are_at_work(self) -> bool:
        """Return whether another run is making a result that this run needs."""
        needed = self._scheduled_tasks.keys()
        return any(
            not needed.isdisjoint(self._scheduler.task_list(status, "", limit=False) or ())
            for status in ("RUNNING", "BATCH_RUNNING")
        )

    def _takes_over(self) -> bool:
        """Reset the failures of dead runs' tasks that this run needs; return whether there were any."""
        failed = self._scheduler.task_list(FAILED, "", limit=False) or {}
        tried = [task for task, status, _ in self._add_task_history if status == FAILED]
        own = {single.task_id for task in tried for single in (task, *task.single_tasks())}
        abandoned = [
            task_id
            for task_id in failed.keys() & self._scheduled_tasks.keys() - own
            if not _has_failed(self._scheduled_tasks[task_id], failed[task_id]["time_running"] or 0.0)
        ]
        for task_id in abandoned:
            self._scheduler.forgive_failures(task_id=task_id)
        return bool(abandoned)

    def _add_task(self, *args: Any, **kwargs: Any) -> None:
        task = self._scheduled_tasks.get(kwargs["task_id"])
        batch = list(self._batch_running_tasks.get(kwargs["task_id"], ()))
        if batch:  # Luigi stores an iterator, which can be read once
            self._batch_running_tasks[kwargs["task_id"]] = batch
        if kwargs["status"] == FAILED and task is not None and kwargs.get("expl"):
            unmade = [single for single in task.single_tasks() if not single.complete()]
            reasons = [failure_text(single.spec(), None) for single in unmade]
            kwargs["expl"] = json.dumps("\n".join(reasons) or json.loads(kwargs["expl"]))
        if task is not None and not batch:
            kwargs["tracking_url"] = self._scheduler.page_of(task.fingerprint)
        super()._add_task(*args, **kwargs)
        if kwargs["status"] == FAILED:
            for single in batch:
                self._settle(single)

    def _run_task(self, task_id: str) -> None:
        task = self._scheduled_tasks[task_id]
        task.tries_left = settings().execution.retries - self._tries[task_id]
        self._ended.pop(task_id, None)
        if not task.is_light:
            self._import_libraries()
        super()._run_task(task_id)
        self._import_libraries()  # in parallel with a light stage

    def _import_libraries(self) -> None:
        if self._is_to_import:
            self._is_to_import = False
            import_libraries()

    def _purge_children(self) -> None:
        """Find ended processes, retry their tasks if that may help, and report the progress of the others."""
        ended = [(key, process) for key, process in self._running_tasks.items() if not process.is_alive()]
        retried = [self._retries(key, process) for key, process in ended if key not in self._ended]
        for task_id, process in ended:
            if process.exitcode == 0 and time.monotonic() - self._ended.get(task_id, math.inf) > _SILENT_SECONDS:
                self._task_result_queue.put((task_id, FAILED, "", [], []))
        self._report_progress()
        if not any(retried):  # retried processes are checked the next time
            super()._purge_children()

    def _retries(self, task_id: str, process: Any) -> bool:
        """Retry a task whose process has ended, if that may help; else record a crash. Return whether it is retried."""
        code, task = process.exitcode, process.task
        tries_left = settings().execution.retries - self._tries[task_id]
        if tries_left <= 0 or not is_worth_another_try(task.single_tasks()[0].directory, code):
            self._ended[task_id] = time.monotonic()
            _record_deaths(task, code)
            return False
        if code != TRANSIENT:  # then the process has logged it
            _log.warning(
                "%s: its process was killed (%s). This may pass: it is tried again, %d times at most.",
                task.title,
                signal.Signals(-code).name,
                tries_left,
            )
        self._tries[task_id] += 1
        del self._running_tasks[task_id]
        self._run_task(task_id)
        return True

    def _report_progress(self) -> None:
        """Show the progress of running tasks on the scheduler's page; ignore a scheduler that does not answer."""
        if not self._scheduler.is_central or time.monotonic() - self._reported < _REPORT_SECONDS:
            return
        self._reported = time.monotonic()
        for task_id, process in self._running_tasks.items():
            notes = [attempts.read_note(task.directory, attempts.PROGRESS) for task in process.task.single_tasks()]
            note = next(filter(None, notes), None)
            if note is None or (text := progress_text(note)) == self._progress_lines.get(task_id):
                continue
            self._progress_lines[task_id] = text
            with contextlib.suppress(Exception):
                self._scheduler.set_task_status_message(task_id, text)
                self._scheduler.set_task_progress_percentage(task_id, round(100 * note["share"]))

    def _settle(self, task: Any) -> None:
        """Report the end of a tried task to the scheduler: done, or failed with its own reason."""
        done = task.complete()
        self._add_task(
            worker=self._id,
            task_id=task.task_id,
            status=DONE if done else FAILED,
            expl=None if done else json.dumps(""),
            resources=task.process_resources(),
            runnable=True,
        )


def _record_deaths(task: Any, code: int) -> None:
    """Record and log the crash of a process that could not do so itself."""
    for single in task.single_tasks() if code else ():
        if not (spec := single.spec()).is_done():
            record_death(spec, code)
            _log.error("%s", failure_text(spec, None))


def _has_failed(task: Any, since: float) -> bool:
    """Return whether an attempt at the task has recorded a failure since then (seconds of the epoch)."""
    notes = [attempts.read_note(single.directory, attempts.FAILURE) for single in task.single_tasks()]
    return any(note is not None and note["failed"] >= since for note in notes)


class _Factory(luigi.interface._WorkerSchedulerFactory):
    def create_remote_scheduler(self, url: str) -> Any:
        address = urllib.parse.urlsplit(url)
        try:
            socket.create_connection((address.hostname or "", address.port or 80), _ANSWER_SECONDS).close()
        except OSError as error:
            raise InputError(
                f"No scheduler answers at {url} ({error.strerror or error}). Start one with `make scheduler`, or run "
                "without one: --local-scheduler."
            ) from error
        return super().create_remote_scheduler(url)

    def create_worker(self, scheduler: Any, worker_processes: int, assistant: bool = False) -> Worker:
        return Worker(scheduler=GroupedScheduler(scheduler), worker_processes=worker_processes, assistant=assistant)


def install() -> None:
    """Make ``luigi`` on the command line use this worker; Luigi has no public hook for that."""
    streams.renew_after_forks()
    luigi.interface._WorkerSchedulerFactory = _Factory  # type: ignore[misc]
