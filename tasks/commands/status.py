"""``roar status``: the state of every result, and the reason for it."""

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
_MOST_LISTED = 10
"""Most results of a state that the overview names."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("family", nargs="?", help=f"one stage: {', '.join(FAMILIES)}")
    parser.add_argument("--depth", type=whole(0), help="show the tree of results, DEPTH levels deep")


def _run(arguments: argparse.Namespace) -> int:
    with grid_of(arguments.options) as report:
        return show_status(report, arguments.family, arguments.depth)


def show_status(report: Report, family: str | None, depth: int | None) -> int:
    """Print the counts per stage and the results that need attention; or the results of a stage; or a tree."""
    survey = Survey(report)
    out = console()
    if depth is not None:
        out.print(_tree(survey, check_family(family), depth))
    elif check_family(family):
        _list(out, survey, survey.entries_of(family or ""))
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
        counts = Counter(entry.state.kind for entry in survey.entries_of(family))
        totals += counts
        if counts:
            table.add_row(family, *(str(counts[kind] or "") for kind in KINDS), str(counts.total()))
    table.add_row("", *(str(totals[kind] or "") for kind in KINDS), str(totals.total()), style="bold")
    out.print(table)
    out.print(f"\n{data_folder()}", soft_wrap=True, highlight=False)
    for kind in ("running", "failed", "damaged", "interrupted"):
        _describe_first(out, survey, [entry for entry in survey.entries if entry.state.kind == kind])
    missing = [entry for entry in survey.entries if entry.state.kind == "missing"]
    reasons = Counter(survey.why(entry) for entry in missing)
    for reason, count in reasons.most_common(_MOST_LISTED):
        _print_state(out, "missing", f"{count} x: {reason}")
    if totals["damaged"]:
        note(out, "Set aside what is damaged with `roar verify --repair`, and run again.")
    for line in _changed_code(survey.entries):
        note(out, line)


def _describe_first(out: Console, survey: Survey, entries: Sequence[Entry]) -> None:
    for entry in entries[:_MOST_LISTED]:
        _describe(out, survey, entry)
    if len(entries) > _MOST_LISTED:
        families = {entry.family for entry in entries}
        note(out, f"... and {len(entries) - _MOST_LISTED} more: roar status {' or '.join(sorted(families))}")


def _list(out: Console, survey: Survey, entries: Sequence[Entry]) -> None:
    for entry in entries:
        _describe(out, survey, entry)
    for line in _changed_code(entries):
        note(out, line)


def _describe(out: Console, survey: Survey, entry: Entry) -> None:
    reason = survey.why(entry)
    lines = reason.splitlines() or [""]
    if entry.state.kind == "failed":
        lines = [lines[-1]]
    _print_state(out, entry.state.kind, entry.task.title + (f": {' '.join(lines)}" if reason else ""))
    if entry.state.kind == "failed":
        note(out, f"{'':12}log:   {entry.state.log}")
        note(out, f"{'':12}again: {entry.task.command()}")


def _print_state(out: Console, kind: str, text: str) -> None:
    out.print(f"[{_COLORS[kind]}]{kind:11}[/] {escape(text)}", soft_wrap=True, highlight=False)


def _changed_code(entries: Iterable[Entry]) -> list[str]:
    """Say how many results were made by code or with libraries that have changed since; empty if none."""
    counts = Counter(change for e in entries if e.state.kind == "done" for change in changes(e.state.manifest or {}))
    if not counts:
        return []
    summary = "; ".join(f"{change}: {count} results" for change, count in counts.most_common(_MOST_LISTED))
    return [f"Changed since results were made (they stay valid until their stage's version is raised): {summary}"]


def _tree(survey: Survey, family: str | None, depth: int) -> Tree:
    roots = [entry.task for entry in survey.entries_of(family)] if family else [survey.report]
    if len(roots) == 1:
        return _branch(survey, roots[0], depth, set())
    tree = Tree(str(family))
    visited: set[str] = set()
    for task in roots:
        tree.add(_branch(survey, task, depth, visited))
    return tree


def _branch(survey: Survey, task: StageTask, depth: int, visited: set[str]) -> Tree:
    """Return a result with what it is built on, ``depth`` levels down; the branch of a visited result is cut."""
    entry = survey.by_fingerprint[task.fingerprint]
    color = _COLORS[entry.state.kind]
    reason = survey.why(entry).splitlines()
    text = f"[{color}]{entry.state.kind}[/] {escape(task.title)}" + (f": {escape(reason[-1])}" if reason else "")
    deps = list({t.fingerprint: t for t in task.deps()}.values())
    if task.fingerprint in visited and deps:
        return Tree(f"{text} (above)")
    visited.add(task.fingerprint)
    tree = Tree(text)
    if depth > 0:
        for dependency in deps:
            tree.add(_branch(survey, dependency, depth - 1, visited))
    return tree


COMMAND = Command("status", "Show what is done, running, failed, missing or damaged, and why.", _add_arguments, _run)
