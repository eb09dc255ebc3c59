"""``python -m tasks status`` and ``logs``: what is done, running, failed, missing, damaged, and why."""

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from roar_pipeline.cache import attempts
from roar_pipeline.cache.files import check_is_file
from roar_pipeline.cache.states import KINDS, changes
from roar_pipeline.errors import InputError
from roar_pipeline.numerals import shortened
from tasks.chain.base import StageTask
from tasks.chain.report import Report
from tasks.chain.survey import FAMILIES, Entry, Survey
from tasks.configuration.settings import data_folder

__all__ = ["show_logs", "show_status"]

_COLORS = dict(zip(KINDS, ("green", "cyan", "red", "yellow", "magenta", "dim"), strict=True))
_SHOWN = 10
"""Results of one state that the overview names."""
_PIPE_WIDTH = 200
"""Characters of a line where the output is no terminal."""
_FOLLOW_SECONDS = 0.5


def console() -> Console:
    """Return where to write: a terminal with its width and colors, or plain lines."""
    return Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH, no_color=True, highlight=False)


def show_status(report: Report, family: str | None, depth: int | None) -> int:
    """Print the counts per stage and what needs attention; or the results of one stage; or the tree."""
    survey = Survey(report)
    out = console()
    if depth is not None:
        out.print(_tree(survey, check_family(family), depth))
    elif check_family(family):
        _list(out, survey, survey.of(family or ""))
    else:
        _overview(out, survey)
    return 0


def check_family(family: str | None) -> str | None:
    """Return the name of a stage, or none.

    Raises:
        InputError: there is no such stage.
    """
    if family is not None and family not in FAMILIES:
        raise InputError(f"unknown stage '{family}'. Known: {', '.join(FAMILIES)}.")
    return family


def _overview(out: Console, survey: Survey) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage")
    for kind in KINDS:
        table.add_column(kind, justify="right", style=_COLORS[kind])
    table.add_column("all", justify="right")
    totals: Counter[str] = Counter()
    for family in FAMILIES:
        counts = Counter(entry.state.kind for entry in survey.of(family))
        totals += counts
        if counts:
            table.add_row(family, *(str(counts[kind] or "") for kind in KINDS), str(counts.total()))
    table.add_row("", *(str(totals[kind] or "") for kind in KINDS), str(totals.total()), style="bold")
    out.print(table)
    out.print(f"\n{data_folder()}", soft_wrap=True, highlight=False)
    for kind in ("running", "failed", "damaged", "interrupted"):
        _name_some(out, survey, [entry for entry in survey.entries if entry.state.kind == kind])
    missing = [entry for entry in survey.entries if entry.state.kind == "missing"]
    reasons = Counter(survey.why(entry) for entry in missing)
    for why, count in reasons.most_common(_SHOWN):
        _say(out, "missing", f"{count} x: {why}")
    if totals["damaged"]:
        _note(out, "Set aside what is damaged with `python -m tasks verify --repair`, and run again.")
    for line in _changed(survey.entries):
        _note(out, line)


def _name_some(out: Console, survey: Survey, entries: Sequence[Entry]) -> None:
    for entry in entries[:_SHOWN]:
        _describe(out, survey, entry)
    if len(entries) > _SHOWN:
        kinds = {entry.family for entry in entries}
        _note(out, f"... and {len(entries) - _SHOWN} more: python -m tasks status {' or '.join(sorted(kinds))}")


def _list(out: Console, survey: Survey, entries: Sequence[Entry]) -> None:
    for entry in entries:
        _describe(out, survey, entry)
    for line in _changed(entries):
        _note(out, line)


def _describe(out: Console, survey: Survey, entry: Entry) -> None:
    why = survey.why(entry)
    lines = why.splitlines() or [""]
    if entry.state.kind == "failed":
        lines = [lines[-1]]
    _say(out, entry.state.kind, entry.task.title + (f": {' '.join(lines)}" if why else ""))
    if entry.state.kind == "failed":
        _note(out, f"{'':12}log:   {entry.state.log}")
        _note(out, f"{'':12}again: {entry.task.command()}")


def _say(out: Console, kind: str, text: str) -> None:
    out.print(f"[{_COLORS[kind]}]{kind:11}[/] {escape(text)}", soft_wrap=True, highlight=False)


def _note(out: Console, text: str) -> None:
    out.print(escape(text), soft_wrap=True, highlight=False)


def _changed(entries: Iterable[Entry]) -> list[str]:
    """Say how many results were made by other code or with other libraries than are here now."""
    counts = Counter(change for e in entries if e.state.kind == "done" for change in changes(e.state.manifest or {}))
    if not counts:
        return []
    told = "; ".join(f"{change}: {count} results" for change, count in counts.most_common(_SHOWN))
    return [f"Changed since results were made (they stay valid until their stage's version is raised): {told}"]


def _tree(survey: Survey, family: str | None, depth: int) -> Tree:
    roots = [entry.task for entry in survey.of(family)] if family else [survey.report]
    if len(roots) == 1:
        return _branch(survey, roots[0], depth, set())
    tree = Tree(str(family))
    shown: set[str] = set()
    for task in roots:
        tree.add(_branch(survey, task, depth, shown))
    return tree


def _branch(survey: Survey, task: StageTask, depth: int, shown: set[str]) -> Tree:
    """Return a result with what it is built on, ``depth`` levels down; a branch that is shown already is cut."""
    entry = survey.by_fingerprint[task.fingerprint]
    color = _COLORS[entry.state.kind]
    why = survey.why(entry).splitlines()
    text = f"[{color}]{entry.state.kind}[/] {escape(task.title)}" + (f": {escape(why[-1])}" if why else "")
    deps = list({t.fingerprint: t for t in task.deps()}.values())
    if task.fingerprint in shown and deps:
        return Tree(f"{text} (above)")
    shown.add(task.fingerprint)
    tree = Tree(text)
    if depth > 0:
        for dependency in deps:
            tree.add(_branch(survey, dependency, depth - 1, shown))
    return tree


def show_logs(report: Report, what: str, follow: bool) -> int:
    """Print the logs of all attempts at one result, or the newest of each; follow the latest while it grows.

    Raises:
        InputError: there is no such stage or directory, or no log.
    """
    out = console()
    directories = _directories(report, what)
    found = [attempts.logs(directory) for directory in directories]
    shown = found[0] if len(found) == 1 else [logs[-1] for logs in found if logs]
    if not shown:
        raise InputError(f"There is no log of {what} yet. What there is: python -m tasks status.")
    if follow:
        latest = max(shown, key=lambda log: log.stat().st_mtime)
        _note(out, f"==> {latest} <==")
        return _follow(out, latest)
    for log in shown:
        _note(out, f"==> {log} <==")
        _note(out, attempts.read_log(log).rstrip())
    return 0


def _directories(report: Report, what: str) -> list[Path]:
    if what in FAMILIES:
        return [entry.task.directory for entry in Survey(report).of(what)]
    path = Path(what)
    try:
        results = sorted((data_folder() / "runs").glob("*/*"))
        found = (
            [path]
            if what and path.is_dir()
            else [each for each in results if path.name and each.name.startswith(path.name)]
        )
    except (OSError, ValueError):  # a name that no file can have
        found = []
    if not found:
        raise InputError(f"'{shortened(what)}' is neither a stage ({', '.join(FAMILIES)}) nor a directory of a result.")
    return found


def _follow(out: Console, log: Path) -> int:
    """Print a log and what is added to it, until somebody interrupts."""
    check_is_file(log)
    with contextlib.suppress(KeyboardInterrupt), log.open(encoding="utf-8", errors="replace") as opened:
        while True:
            if text := opened.read():
                out.print(escape(text), end="", soft_wrap=True, highlight=False)
            else:
                time.sleep(_FOLLOW_SECONDS)
    return 0
