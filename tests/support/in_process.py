"""Command lines of the project, run in this process as the interpreter would run them, up to where work begins.

What a command would leave behind in the process (Luigi's settings, caches of ours, log handlers) is put back.
"""

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import luigi.setup_logging
from luigi.configuration import LuigiConfigParser
from luigi.retcodes import run_with_retcodes
from luigi.task_register import Register
from support.workplace import Workplace

import tasks.__main__
import tasks.configuration.luigi_sections
import tasks.configuration.settings
import tasks.runtime.worker
from tasks.runtime import resources

ACCEPTED = 25
"""The exit code of a run of Luigi's that was accepted: nothing is made here, and so it ends as "not run"."""


@dataclass(frozen=True)
class Answer:
    """What a command line came to."""

    code: int
    output: str


def python_m_tasks(folder: Path, *words: str, files: Mapping[str, str] | None = None) -> Answer:
    """Run ``python -m tasks <words>`` in a folder; ``files`` are laid over each other, the last one uppermost."""
    return _ask(folder, lambda: tasks.__main__.main(list(words)), words, files)


def ask(workplace: Workplace, *words: str, code: int = 0) -> str:
    """Run ``python -m tasks <words>`` in a workplace, by its own settings, and return what it prints."""
    names = ("luigi.cfg", "overlay.cfg")
    answer = python_m_tasks(
        workplace.folder, *words, files={n: (workplace.folder / n).read_text("utf-8") for n in names}
    )
    assert answer.code == code, answer.output
    assert "Traceback" not in answer.output
    return answer.output


def luigi_module_tasks(folder: Path, *words: str, files: Mapping[str, str] | None = None) -> Answer:
    """Run ``luigi --module tasks <words> --local-scheduler`` in a folder."""
    given = ["--module", "tasks", *words, "--local-scheduler"]
    return _ask(folder, lambda: run_with_retcodes(given), given, files)


def _ask(folder: Path, entry: Callable[[], object], words: Sequence[str], files: Mapping[str, str] | None) -> Answer:
    for name, text in (files or {}).items():
        (folder / name).write_text(text, encoding="utf-8")
    output = io.StringIO()
    layers = [folder / name for name in files or {}]
    with _process_like_new(folder, layers, output), mock.patch("sys.argv", ["it", *words]):
        code = _exit_code(entry)
    return Answer(code, output.getvalue())


def _exit_code(entry: Callable[[], Any]) -> int:
    """Return what the interpreter would make of the function: its hook sees what nobody catches."""
    try:
        code = entry()
    except SystemExit as end:
        code = end.code
    except BaseException:
        try:
            sys.excepthook(*sys.exc_info())
            code = 1
        except SystemExit as end:
            code = end.code
    if isinstance(code, str):
        sys.stderr.write(code)
        return 1
    return code or 0


@contextlib.contextmanager
def _process_like_new(folder: Path, files: list[Path], output: io.StringIO) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(output))
        stack.enter_context(contextlib.redirect_stderr(output))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(_directory(folder))
        stack.enter_context(_handlers(output))
        stack.enter_context(mock.patch.dict(os.environ))
        os.environ.pop("LUIGI_CONFIG_PATH", None)
        if files:
            os.environ["LUIGI_CONFIG_PATH"] = str(files[-1])
        stack.enter_context(mock.patch.object(LuigiConfigParser, "_instance", None))
        stack.enter_context(mock.patch.object(LuigiConfigParser, "_config_paths", [str(f) for f in files]))
        stack.enter_context(mock.patch.object(luigi.setup_logging.InterfaceLogging, "_configured", False))
        stack.enter_context(mock.patch.object(tasks.runtime.worker.Worker, "run", lambda self: True))
        _forget()
        stack.callback(_forget)
        tasks.configuration.luigi_sections.install_defaults()
        yield


def _forget() -> None:
    for cached in (tasks.configuration.settings.settings, tasks.configuration.settings.data_folder, resources._size_of):
        cached.cache_clear()
    Register.clear_instance_cache()


@contextlib.contextmanager
def _directory(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _handlers(output: io.StringIO) -> Iterator[None]:
    """Have our own log lines go to the output, and take away the handlers that Luigi adds."""
    theirs, ours = logging.getLogger("luigi-interface"), logging.getLogger("roar")
    before, streams = (list(theirs.handlers), theirs.level, theirs.propagate), []
    theirs.propagate = False
    for handler in ours.handlers:
        if isinstance(handler, logging.StreamHandler):
            streams.append((handler, handler.setStream(output)))
    try:
        yield
    finally:
        theirs.handlers[:], theirs.level, theirs.propagate = before
        for handler, stream in streams:
            handler.setStream(stream)
