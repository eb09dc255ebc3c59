"""``roar status``: what is done, running, failed, missing, damaged, and why."""

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from roar_pipeline.cache.states import KINDS, changes
from tasks.chain.base import StageTask
from tasks.chain.report import Report
from tasks.chain.survey import FAMILIES, Entry, Survey, grid_of
from tasks.commands.command_line import Command, check_family, whole
from tasks.commands.printing import console, note
from tasks.configuration.settings import data_folder

__all__ = ["COMMAND", "show_status"]

_COLORS = dict(zip(KINDS, ("green", "cyan", "red", "yellow", "magenta", "dim"), strict=True))
_SHOWN = 10
"""Results of one state that the overview names."""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("family", nargs="?", help=f"one stage: {', '.join(FAMILIES)}")
    parser.add_argument("--depth", type=whole(0), help="show the tree, so many levels deep")


def _run(given: argparse.Namespace) -> int:
    with grid_of(given.options) as report:
        return show_status(report, given.family, given.depth)


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
        note(out, "Set aside what is damaged with `roar verify --repair`, and run again.")
    for line in _changed(survey.entries):
        note(out, line)


def _name_some(out: Console, survey: Survey, entries: Sequence[Entry]) -> None:
    for entry in entries[:_SHOWN]:
        _describe(out, survey, entry)
    if len(entries) > _SHOWN:
        kinds = {entry.family for entry in entries}
        note(out, f"... and {len(entries) - _SHOWN} more: roar status {' or '.join(sorted(kinds))}")


def _list(out: Console, survey: Survey, entries: Sequence[Entry]) -> None:
    for entry in entries:
        _describe(out, survey, entry)
    for line in _changed(entries):
        note(out, line)


def _describe(out: Console, survey: Survey, entry: Entry) -> None:
    why = survey.why(entry)
    lines = why.splitlines() or [""]
    if entry.state.kind == "failed":
        lines = [lines[-1]]
    _say(out, entry.state.kind, entry.task.title + (f": {' '.join(lines)}" if why else ""))
    if entry.state.kind == "failed":
        note(out, f"{'':12}log:   {entry.state.log}")
        note(out, f"{'':12}again: {entry.task.command()}")


def _say(out: Console, kind: str, text: str) -> None:
    out.print(f"[{_COLORS[kind]}]{kind:11}[/] {escape(text)}", soft_wrap=True, highlight=False)


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


COMMAND = Command("status", "Show what is done, running, failed, missing or damaged, and why.", _arguments, _run)
