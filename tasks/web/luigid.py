"""luigid as this project runs it: its state is data, foreign pages are refused, its dialogs show our commands."""

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
"""Under the data folder."""

_VERSION = 1
_LUIGI = "luigi --module tasks "
"""How the commands begin that ``tasks.chain.base`` writes, and those of the dialog."""
_STATE_SECONDS = 5.0
_PRUNE_SECONDS = 60.0
_STATUSES = {getattr(task_status, name) for name in dir(task_status) if name.isupper()}


class StoredScheduler(Scheduler):
    """Luigi's, with a state that is plain data, a page for batched tasks, the right command where one failed."""

    def __init__(self, state: Path) -> None:
        super().__init__(state_path=str(state))
        self._file = state

    def load(self) -> None:
        """Take up the state of an earlier luigid; one that is not to be trusted, or damaged, is set aside and named."""
        try:
            text = _read_own(self._file)
            known = None if text is None else _decoded(json.loads(text))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            aside = self._file.with_name(f"{self._file.name}.{time.strftime('%Y%m%d-%H%M%S')}.aside")
            with contextlib.suppress(OSError):
                self._file.replace(aside)
            sys.stderr.write(
                f"{self._file} cannot be used ({error}): luigid begins anew, and the file is {aside.name} now. Nothing "
                "is lost: runs that are under way make themselves known again.\n"
            )
            return
        if known is not None:
            self._state.set_state(known)
            self._state._status_tasks = collections.defaultdict(dict)
            for task in known[0].values():
                self._state._status_tasks[task.status][task.id] = task

    def dump(self) -> None:
        """Write the state, readable for its owner alone; what cannot be written now may be written the next time."""
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
                scratch.write_text(json.dumps(state, default=_plain), encoding="utf-8")
        except OSError as error:
            logging.getLogger("luigi").warning("The scheduler's state cannot be written: %s", error)

    def add_task(self, task_id: str, batch_id: str | None = None, **kwargs: Any) -> Any:
        """Take what a run says of a task. Luigi has the page of a batch overwrite those of its members."""
        known = self._state.get_task(task_id)
        batch = batch_id or (known.batch_id if known else None)
        members = self._state.get_batch_running_tasks(batch) if batch else []
        pages = [member.tracking_url for member in members]
        answer = super().add_task(task_id=task_id, batch_id=batch_id, **kwargs)
        for member, page in zip(members, pages, strict=True):
            member.tracking_url = page
        return answer

    def fetch_error(self, task_id: str, **kwargs: Any) -> dict[str, Any]:
        """Return what the dialog shows: Luigi's own command would lack the run's settings and its scheduler.

        The dialog puts the command together from module, family and parameters. Where a variable must come before it,
        it cannot be shown there.
        """
        shown: dict[str, Any] = super().fetch_error(task_id, **kwargs)
        _, found, command = _text(shown["error"]).rpartition(AGAIN)
        before, _, rest = command.partition(_LUIGI)
        if before:
            rest = f"... (whole in the line above that begins with {AGAIN.strip()})"
        if found:
            shown |= {"taskModule": "tasks", "taskFamily": rest, "taskParams": None}
        elif "taskFamily" in shown:
            shown["taskFamily"] = shown["taskFamily"].removeprefix(NAMESPACE)
        return shown


def _text(error: str | None) -> str:
    """Return the text of what a run has told the scheduler, which is JSON; empty where it is no text."""
    try:
        told = json.loads(error or "null")
    except ValueError:
        return ""
    return told if isinstance(told, str) else ""


def _read_own(path: Path) -> bytes | None:
    """Return the content of a file that nobody but this user can have written; None where there is none.

    Raises:
        PermissionError: somebody else could have, or it is no regular file.
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


def _plain(value: Any) -> Any:
    """Return what JSON has no word for as plain data: sets and queues as lists, a worker's tasks by id."""
    if isinstance(value, Task):
        return value.id
    if isinstance(value, (set, frozenset, OrderedSet, collections.deque)):
        return list(value)
    raise TypeError(f"a scheduler's state holds no {type(value).__name__}")


def _decoded(state: Any) -> tuple[dict[str, Task], dict[str, Worker], dict[str, Any]]:
    """Return tasks, workers and batchers from what ``dump`` wrote.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: it did not write this.
    """
    if state["version"] != _VERSION:
        raise ValueError(f"its version is {state['version']}, not {_VERSION}")
    tasks = {each["id"]: _filled(Task(each["id"], task_status.PENDING, ()), each) for each in state["tasks"]}
    if unknown := {task.status for task in tasks.values()} - _STATUSES:
        raise ValueError(f"tasks are {', '.join(sorted(unknown))}")
    workers = {}
    for each in state["workers"]:
        worker = workers[each["id"]] = _filled(Worker(each["id"]), each)
        worker.tasks = {tasks[task_id] for task_id in worker.tasks if task_id in tasks}
    batchers = {
        worker: {family: (names, size) for family, (names, size) in of_worker.items()}
        for worker, of_worker in state["batchers"].items()
    }
    return tasks, workers, batchers


def _filled(empty: Any, values: Mapping[str, Any]) -> Any:
    """Set an object's attributes to stored values, each of the kind that the new object has there.

    Raises:
        ValueError: a value is of another kind.
    """
    for name, value in values.items():
        usual = getattr(empty, name, None)
        if name == "retry_policy":
            value = RetryPolicy(*value)
        elif isinstance(usual, (set, OrderedSet, collections.deque)) and isinstance(value, list):
            value = type(usual)(value)
        elif usual is not None and not isinstance(value, (int, float) if type(usual) in (int, float) else type(usual)):
            raise ValueError(f"{name} is {type(value).__name__}, not {type(usual).__name__}")
        setattr(empty, name, value)
    return empty


class _OwnRequests(tornado.routing.Router):
    """Passes requests on that were sent to this machine's own loopback, and by no foreign page; refuses every other.

    A foreign site can have its name resolve to 127.0.0.1, and then read and command in a browser (DNS rebinding). And
    its pages can have a browser send commands here without reading the answers (cross-site request forgery).
    """

    def __init__(self, application: tornado.web.Application) -> None:
        self._application = application
        self._refusing = tornado.web.Application([(r".*", _Refused)], log_function=lambda handler: None)

    def find_handler(self, request: tornado.httputil.HTTPServerRequest, **kwargs: Any) -> Any:
        """Return what answers a request."""
        headers = request.headers
        is_own = is_own_host(headers.get("Host")) and is_own_page(request.method or "", request.path, headers)
        chosen = self._application if is_own else self._refusing
        return chosen.find_handler(request, **kwargs)


class _Refused(tornado.web.RequestHandler):
    """Answers every request with 403."""

    def prepare(self) -> None:
        """Refuse."""
        raise tornado.web.HTTPError(403)


def serve(state: Path, host: str, port: int) -> None:
    """Be luigid until SIGINT, SIGTERM or SIGQUIT, in the main thread; its state is written every few seconds."""
    asyncio.run(_serve(state, host, port))


async def _serve(state: Path, host: str, port: int) -> None:
    loop, asked_to_stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        loop.add_signal_handler(number, asked_to_stop.set)
    scheduler = StoredScheduler(state)
    scheduler.load()
    server = tornado.httpserver.HTTPServer(_OwnRequests(luigi.server.app(scheduler)))
    server.add_sockets(tornado.netutil.bind_sockets(port, address=host))
    repeated = [
        PeriodicCallback(scheduler.dump, _STATE_SECONDS * 1000),
        PeriodicCallback(scheduler.prune, _PRUNE_SECONDS * 1000),
    ]
    for each in repeated:
        each.start()
    try:
        await asked_to_stop.wait()
    finally:
        for each in repeated:
            each.stop()
        server.stop()
        scheduler.dump()
        await server.close_all_connections()
