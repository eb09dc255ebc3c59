"""``python -m tasks run``: the grid's report, with one worker per core, and its table at the end."""

import argparse
import os
import sys

from luigi.cmdline import luigi_run
from luigi.cmdline_parser import CmdlineParser

import tasks  # noqa: F401, registers the families
from roar_pipeline.errors import InputError
from tasks.settings import BAD_INPUT


def main() -> int:
    """Run the command line and return its exit code, Luigi's own for what Luigi runs."""
    parser = argparse.ArgumentParser(prog="python -m tasks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="compute the report; further options go to luigi (--seeds 0,1, ...)")
    run.add_argument("--workers", type=int, default=os.cpu_count(), help="tasks at a time (default: one per core)")
    known, rest = parser.parse_known_args()
    return _run(known.workers, rest)


def _run(workers: int, rest: list[str]) -> int:
    central = any(option.startswith("--scheduler-") for option in rest)
    scheduler = [] if central else ["--local-scheduler"]
    arguments = ["--module", "tasks", "Report", *scheduler, "--workers", str(workers), *rest]
    try:
        with CmdlineParser.global_instance(arguments) as parser:
            report = parser.get_task_obj()
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return BAD_INPUT
    if report.complete():
        shown = len({task.fingerprint for task in report.requires()})
        sys.stdout.write(f"Nothing to do: the report is done, and so are the {shown} results that it shows.\n")
    elif (code := _luigi(arguments)) and not report.complete():
        sys.stderr.write("Not everything could be made, see above. What is done is kept: mend it and run again.\n")
        return code
    sys.stdout.write(f"\n{report.table_path.read_text(encoding='utf-8')}\nReport: {report.path}\n")
    return 0


def _luigi(arguments: list[str]) -> int:
    try:
        luigi_run(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
