"""The command ``roar``, also ``python -m tasks``: run a grid, show its state, look after its cache, serve its pages."""

import sys
from collections.abc import Mapping, Sequence

import tasks  # noqa: F401, registers the families
from roar_pipeline.errors import explain
from tasks.commands import forecast, gc, invalidate, logs, pages, restore, run, scheduler, status, verify
from tasks.commands.command_line import Command, parse, program
from tasks.configuration.settings import BAD_INPUT, data_folder
from tasks.runtime.refusals import refusal
from tasks.startup import streams

__all__ = ["COMMANDS", "GROUPS", "main", "start"]

GROUPS: Mapping[str, Sequence[Command]] = {
    "Run a grid": (run.COMMAND, forecast.COMMAND),
    "See where it stands": (status.COMMAND, logs.COMMAND),
    "Look after the cache": (verify.COMMAND, invalidate.COMMAND, restore.COMMAND, gc.COMMAND),
    "Watch in a browser": (scheduler.COMMAND, pages.COMMAND),
}
COMMANDS = {command.name: command for group in GROUPS.values() for command in group}
_HIDDEN = {gc.REACHED.name: gc.REACHED}
_USAGE = 2
"""The exit code of argparse, which reads Luigi's options."""


def main(words: Sequence[str] | None = None) -> int:
    """Run a command line; return its exit code, or Luigi's."""
    name, *rest = [*(sys.argv[1:] if words is None else words), ""]
    try:
        if name in ("-h", "--help"):
            sys.stdout.write(_help())
            return 0
        command = {**COMMANDS, **_HIDDEN}.get(name)
        if command is None:
            sys.stderr.write(_no_command(name))
            return BAD_INPUT
        return command.run(parse(command, rest[:-1]))
    except SystemExit as end:
        return BAD_INPUT if end.code == _USAGE else _code(end)
    except KeyboardInterrupt:
        return run.INTERRUPTED
    except Exception as error:
        refused = refusal(error) or (explain(error, data_folder()) if isinstance(error, OSError) else None)
        if refused is None:
            raise
        sys.stderr.write(f"{refused}\n")
        return BAD_INPUT


def start() -> int:
    """Run the command line of ``sys.argv``; return the exit code when all output is written."""
    streams.protect()
    return streams.finish_output(main(), BAD_INPUT)


def _code(end: SystemExit) -> int:
    return end.code if isinstance(end.code, int) else int(end.code is not None)


def _usage() -> str:
    return f"usage: {program()} <command> [arguments] [options of luigi's Report]\n"


def _no_command(name: str) -> str:
    got = f"there is no command '{name[:60]}'" if name else "no command is given"
    return f"{_usage()}{program()}: {got}. Commands: {', '.join(COMMANDS)}. What they do: {program()} --help\n"


def _help() -> str:
    lines = [_usage()]
    for title, group in GROUPS.items():
        lines += [f"{title}:\n", *(f"  {command.name:12}{command.help}\n" for command in group), "\n"]
    lines[0] += "\n"
    return "".join(lines) + (
        f"Arguments of a command: {program()} <command> --help.\n"
        "Options of luigi's Report choose the grid (--seeds 0,1) and change settings (--retrain-lr 0.02).\n"
        "One stage by itself: luigi --module tasks <Stage> --help.\n"
    )


if __name__ == "__main__":
    sys.exit(start())
