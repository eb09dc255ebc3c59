"""This project's luigid: it stores its state as JSON, refuses foreign pages, and shows our commands in its dialogs."""

import asyncio
import collections
import contextlib
import json
import logging
import os
import signal
import stat
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import luigi.server
import tornado.httpserver
import tornado.httputil
import tornado.netutil
import tornado.routing
import tornado.web
from luigi import task_status
from luigi.scheduler import OrderedSet, RetryPolicy, Scheduler, Task, Worker
from tornado.ioloop import PeriodicCallback

from roar_pipeline.cache.files import whole_file
from tasks.runtime.failures import AGAIN
from tasks.runtime.grouping import NAMESPACE
from tasks.web.safety import is_own_host, is_own_page

__all__ = ["STATE_FILE", "StoredScheduler", "serve"]

STATE_FILE = "luigid-state.json"
"""Name of the state's file in the data folder."""

_VERSION = 1
_COMMAND_START = "luigi --module tasks "
"""Start of the commands of ``tasks.chain.base``, and of those in the dialog."""
_STATE_SECONDS = 5.0
_PRUNE_SECONDS = 60.0
_STATUSES = {getattr(task_status, name) for name in dir(task_status) if name.isupper()}


class StoredScheduler(Scheduler):
    """Luigi's scheduler, with a JSON state, a page for every task of a batch, and our commands for failed tasks."""

    def __init__(self, state: Path) -> None:
        super().__init__(state_path=str(state))
        self._file = state

    def load(self) -> None:
        """Restore the state of an earlier luigid; rename a damaged or untrusted file, and say so on standard error."""
        try:
            text = _read_own(self._file)
            state = None if text is None else _parse_state(json.loads(text))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            aside = self._file.with_name(f"{self._file.name}.{time.strftime('%Y%m%d-%H%M%S')}.aside")
            with contextlib.suppress(OSError):
                self._file.replace(aside)
            sys.stderr.write(
                f"{self._file} cannot be used ({error}): luigid starts with an empty state, and the file is now "
                f"{aside.name}. Nothing is lost: active runs announce their tasks again.\n"
            )
            return
        if state is not None:
            self._state.set_state(state)
            self._state._status_tasks = collections.defaultdict(dict)
            for task in state[0].values():
                self._state._status_tasks[task.status][task.id] = task

    def dump(self) -> None:
        """Write the state, readable by its owner alone; a failure is logged, and the next call may succeed."""
        tasks, workers, batchers = self._state.get_state()
        state = {
            "version": _VERSION,
            "tasks": [vars(task) for task in tasks.values()],
            "workers": [vars(worker) for worker in workers.values()],
            "batchers": batchers,
        }
        try:
            with whole_file(self._file) as scratch:
                scratch.touch(0o600)
                scratch.chmod(0o600)
                scratch.write_text(json.dumps(state, default=_jsonable), encoding="utf-8")
        except OSError as error:
            logging.getLogger("luigi").warning("The scheduler's state cannot be written: %s", error)

    def add_task(self, task_id: str, batch_id: str | None = None, **kwargs: Any) -> Any:
        """Add a task or update it, and restore the pages of its batch's members, which Luigi overwrites."""
        stored = self._state.get_task(task_id)
        batch = batch_id or (stored.batch_id if stored else None)
        members = self._state.get_batch_running_tasks(batch) if batch else []
        pages = [member.tracking_url for member in members]
        answer = super().add_task(task_id=task_id, batch_id=batch_id, **kwargs)
        for member, page in zip(members, pages, strict=True):
            member.tracking_url = page
        return answer

    def fetch_error(self, task_id: str, **kwargs: Any) -> dict[str, Any]:
        """Return the dialog's contents, with our command: Luigi's lacks the run's settings and its scheduler.

        The dialog builds its command as module, family, parameters. It cannot show an environment variable before it.
        """
        dialog: dict[str, Any] = super().fetch_error(task_id, **kwargs)
        _, mark, command = _decode_text(dialog["error"]).rpartition(AGAIN)
        variables, _, arguments = command.partition(_COMMAND_START)
        if variables:
            arguments = f"... (whole in the line above that begins with {AGAIN.strip()})"
        if mark:
            dialog |= {"taskModule": "tasks", "taskFamily": arguments, "taskParams": None}
        elif "taskFamily" in dialog:
            dialog["taskFamily"] = dialog["taskFamily"].removeprefix(NAMESPACE)
        return dialog


def _decode_text(error: str | None) -> str:
    """Return the text of an error that a run has reported as JSON; empty if it is no text."""
    try:
        text = json.loads(error or "null")
    except ValueError:
        return ""
    return text if isinstance(text, str) else ""


def _read_own(path: Path) -> bytes | None:
    """Return the content of a file that only this user can have written; None if there is no file.

    Raises:
        PermissionError: another user can have written it, or it is no regular file.
        OSError: it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise PermissionError("it is no regular file")
        if facts.st_uid != os.geteuid():
            raise PermissionError(f"it belongs to user {facts.st_uid}")
        if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(f"others may write it: its mode is {stat.S_IMODE(facts.st_mode):o}")
        return file.read()


def _jsonable(value: Any) -> Any:
    """Return a set or queue as a list, and a worker's task as its id."""
    if isinstance(value, Task):
        return value.id
    if isinstance(value, (set, frozenset, OrderedSet, collections.deque)):
        return list(value)
    raise TypeError(f"a scheduler's state holds no {type(value).__name__}")


def _parse_state(state: Any) -> tuple[dict[str, Task], dict[str, Worker], dict[str, Any]]:
    """Return tasks, workers and batchers from the state that ``dump`` wrote.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: ``dump`` did not write this.
    """
    if state["version"] != _VERSION:
        raise ValueError(f"its version is {state['version']}, not {_VERSION}")
    tasks = {
        values["id"]: _set_attributes(Task(values["id"], task_status.PENDING, ()), values) for values in state["tasks"]
    }
    if unknown := {task.status for task in tasks.values()} - _STATUSES:
        raise ValueError(f"tasks are {', '.join(sorted(unknown))}")
    workers = {}
    for values in state["workers"]:
        worker = workers[values["id"]] = _set_attributes(Worker(values["id"]), values)
        worker.tasks = {tasks[task_id] for task_id in worker.tasks if task_id in tasks}
    batchers = {
        worker: {family: (names, size) for family, (names, size) in of_worker.items()}
        for worker, of_worker in state["batchers"].items()
    }
    return tasks, workers, batchers


def _set_attributes(target: Any, values: Mapping[str, Any]) -> Any:
    """Set a new object's attributes to stored values, converted to the types of its present ones; return the object.

    Raises:
        ValueError: a value has another type.
    """
    for name, value in values.items():
        old = getattr(target, name, None)
        if name == "retry_policy":
            value = RetryPolicy(*value)
        elif isinstance(old, (set, OrderedSet, collections.deque)) and isinstance(value, list):
            value = type(old)(value)
        elif old is not None and not isinstance(value, (int, float) if type(old) in (int, float) else type(old)):
            raise ValueError(f"{name} is {type(value).__name__}, not {type(old).__name__}")
        setattr(target, name, value)
    return target


class _OwnRequestRouter(tornado.routing.Router):
    """Routes requests to this machine's loopback from no foreign page to luigid; refuses all others.

    A foreign site can let its name resolve to 127.0.0.1, and then read pages and send commands in a browser (DNS
    rebinding). Its pages can also make a browser send commands without reading the answers (cross-site request
    forgery).
    """

    def __init__(self, application: tornado.web.Application) -> None:
        self._application = application
        self._refusal = tornado.web.Application([(r".*", _Forbidden)], log_function=lambda handler: None)

    def find_handler(self, request: tornado.httputil.HTTPServerRequest, **kwargs: Any) -> Any:
        """Return the handler of a request."""
        headers = request.headers
        is_own = is_own_host(headers.get("Host")) and is_own_page(request.method or "", request.path, headers)
        application = self._application if is_own else self._refusal
        return application.find_handler(request, **kwargs)


class _Forbidden(tornado.web.RequestHandler):
    """Answers every request with 403."""

    def prepare(self) -> None:
        """Refuse the request."""
        raise tornado.web.HTTPError(403)


def serve(state: Path, host: str, port: int) -> None:
    """Run luigid in the main thread until SIGINT, SIGTERM or SIGQUIT; write its state every few seconds."""
    asyncio.run(_serve(state, host, port))


async def _serve(state: Path, host: str, port: int) -> None:
    loop, stop_event = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        loop.add_signal_handler(number, stop_event.set)
    scheduler = StoredScheduler(state)
    scheduler.load()
    server = tornado.httpserver.HTTPServer(_OwnRequestRouter(luigi.server.app(scheduler)))
    server.add_sockets(tornado.netutil.bind_sockets(port, address=host))
    callbacks = [
        PeriodicCallback(scheduler.dump, _STATE_SECONDS * 1000),
        PeriodicCallback(scheduler.prune, _PRUNE_SECONDS * 1000),
    ]
    for callback in callbacks:
        callback.start()
    try:
        await stop_event.wait()
    finally:
        for callback in callbacks:
            callback.stop()
        server.stop()
        scheduler.dump()
        await server.close_all_connections()
