"""``python -m tasks run``: the grid's report, beside other runs if need be, and its table at the end."""

import sys

from luigi.cmdline import luigi_run

from tasks.chain.report import Report
from tasks.chain.survey import grid_of

__all__ = ["run"]

_NOT_RUN = 25
"""Luigi's exit code where something that is needed was not made."""


def run(workers: int, options: list[str], *, partial: bool) -> int:
    """Compute the report; return 0 if it is there, else Luigi's exit code.

    Args:
        workers: tasks at a time.
        options: further ones for Luigi.
        partial: where something fails, report on what there is.
    """
    central = any(option.startswith("--scheduler-") for option in options)
    given = [*([] if central else ["--local-scheduler"]), "--workers", str(workers), *options]
    with grid_of(given) as report:
        if report.complete():
            shown = len({task.fingerprint for task in report.requires()})
            sys.stdout.write(f"Nothing to do: the report is done, and so are the {shown} results that it shows.\n")
            _show(report)
            return 0
    code = _luigi(given)
    with grid_of(given) as report:
        if report.complete():
            _show(report)
            return 0
    sys.stderr.write(
        "Not everything could be made, see above and `python -m tasks status`. What is done is kept: mend it and run "
        "again.\n"
    )
    if partial:
        _report_partly(given)
    return code or _NOT_RUN


def _report_partly(given: list[str]) -> None:
    given = [*given, "--partial"]
    if _luigi(given) == 0:
        with grid_of(given) as report:
            _show(report)


def _show(report: Report) -> None:
    sys.stdout.write(f"\n{report.table_path.read_text(encoding='utf-8')}\nReport: {report.path}\n")


def _luigi(options: list[str]) -> int:
    try:
        luigi_run(["--module", "tasks", "Report", *options])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0
