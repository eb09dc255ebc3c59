"""The command ``roar``: help, refused command lines, Ctrl-C, and Luigi's options among a command's own arguments."""

import itertools
import multiprocessing
import os
import re
import signal
import sys
import time
from pathlib import Path
from unittest import mock

import pytest
from support.in_process import python_m_tasks
from support.waiting import until
from support.workplace import Workplace

from tasks.__main__ import COMMANDS, GROUPS
from tasks.commands import run
from tasks.commands.command_line import parse
from tasks.commands.run import interruptible

BAD_INPUT = 40
ROAR = str(Path(sys.executable).parent / "roar")

OWN = {
    "run": ["--workers=2", "--partial"],
    "forecast": ["--workers", "2"],
    "status": ["Retrain", "--depth", "2"],
    "logs": ["Retrain", "-f"],
    "verify": ["--full", "--yes"],
    "invalidate": ["Retrain", "--dry-run", "--no-downstream"],
    "restore": ["20240101"],
    "gc": ["--remove", "--config", "other.cfg"],
    "scheduler": ["--port", "9000"],
    "pages": ["--port", "0"],
}
LUIGIS = [["--seeds", "0,1"], ["--retrain-lr=0.02"], ["--local-scheduler"]]
OPTIONS = ["--seeds=0,1", "--retrain-lr=0.02", "--local-scheduler"]


def test_these_tests_cover_every_command() -> None:
    assert OWN.keys() == COMMANDS.keys()


@pytest.mark.parametrize("name", list(COMMANDS))
def test_luigi_s_options_stand_before_between_and_after_a_command_s_own(name: str) -> None:
    command, own = COMMANDS[name], OWN[name]
    alone = parse(command, own)
    assert alone.options == []
    for first, *others in itertools.permutations(LUIGIS):
        rest = [*itertools.chain(*others)]
        for words in ([*first, *rest, *own], [*own, *first, *rest], [*first, *own, *rest]):
            arguments = parse(command, words)
            assert sorted(arguments.options) == sorted(OPTIONS), words
            assert {**vars(arguments), "options": []} == vars(alone), words


@pytest.mark.parametrize("name", ["status", "restore"])
def test_an_option_s_value_is_not_taken_for_the_argument(name: str) -> None:
    for words in (["--seeds", "0,1"], ["--seeds=0,1"]):
        arguments = parse(COMMANDS[name], words)
        assert arguments.options == ["--seeds=0,1"]
        assert getattr(arguments, "family", None) is getattr(arguments, "name", None) is None


def test_unknown_options_go_to_luigi_which_refuses_them(tmp_path: Path) -> None:
    assert parse(COMMANDS["status"], ["--bogus=1", "--seeds", "0"]).options == ["--seeds=0", "--bogus=1"]
    answer = python_m_tasks(tmp_path, "status", "--bogus=1")
    assert answer.code == BAD_INPUT
    assert "unrecognized arguments: --bogus=1" in answer.output


def test_an_option_without_its_value_is_refused(tmp_path: Path) -> None:
    answer = python_m_tasks(tmp_path, "status", "--seeds")
    assert answer.code == BAD_INPUT
    assert answer.output == (
        "usage: python -m tasks status [-h] [--depth DEPTH] [family]\n"
        "python -m tasks status: argument --seeds: expected one argument\n"
    )


def test_help_lists_the_commands_by_what_people_want_to_do(workplace: Workplace) -> None:
    code, output = workplace.run(ROAR, "--help")
    assert code == 0
    assert output.startswith("usage: roar <command>")
    for title, group in GROUPS.items():
        lines = output.split(f"{title}:\n")[1].split("\n\n")[0].splitlines()
        assert [line.split()[0] for line in lines] == [command.name for command in group]
        assert all(re.fullmatch(r"  \w+ +[A-Z].*\.", line) for line in lines)
    assert "reached" not in output
    assert workplace.run(sys.executable, "-m", "tasks", "-h") == (
        0,
        output.replace("roar <", "python -m tasks <").replace("roar --help", "python -m tasks --help"),
    )


@pytest.mark.parametrize("words", [(), ("mend",), ("Report",), ("--seeds", "0")])
def test_an_unknown_command_is_refused_with_the_list_of_commands(tmp_path: Path, words: tuple[str, ...]) -> None:
    answer = python_m_tasks(tmp_path, *words)
    assert answer.code == BAD_INPUT
    assert answer.output.startswith("usage: python -m tasks <command>")
    assert f"Commands: {', '.join(COMMANDS)}." in answer.output
    assert "reached" not in answer.output


def test_both_spellings_of_the_command_do_the_same(workplace: Workplace) -> None:
    answers = [workplace.run(*command, "status") for command in ([ROAR], [sys.executable, "-m", "tasks"])]
    assert answers[0] == answers[1]
    assert answers[0][0] == 0
    assert workplace.run(ROAR, "status", "--help")[1].startswith("usage: roar status [-h]")


def test_ctrl_c_ends_a_process_that_was_just_forked_silently(capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with interruptible():
        context = multiprocessing.get_context("fork")
        started = context.Event()
        process = context.Process(target=lambda: (started.set(), time.sleep(60)))  # until it is killed
        process.start()
        assert started.wait(20)
        os.kill(process.pid or 0, signal.SIGINT)
        process.join(20)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert process.exitcode == -signal.SIGINT
    assert capfd.readouterr() == ("", "")
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_during_a_fork_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dropping:
        def __del__(self) -> None:  # Python drops exceptions of __del__, as of functions that a fork calls
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)  # until the signal's handler has raised here

    class Failing:
        def __del__(self) -> None:
            raise ValueError

    monkeypatch.setattr(run, "_AGAIN_SECONDS", 0.5)
    monkeypatch.setattr(sys, "unraisablehook", dropped := mock.Mock())
    with pytest.raises(KeyboardInterrupt), interruptible():
        Failing()
        assert dropped.call_count == 1
        Dropping()
        assert dropped.call_count == 1  # and nothing is printed
        time.sleep(20)  # until the exception is raised again
        pytest.fail("the interruption was lost")
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_ctrl_c_prints_how_many_results_are_done_and_how_to_go_on(workplace: Workplace) -> None:
    process = workplace.popen(ROAR, "run", "--workers", "2", "--teacher-epochs", "20000")
    runs = workplace.folder / "data/runs"
    until("the teacher trains", lambda: list(runs.glob("FineTuneTeacher/*/partial-progress.json")))
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    done = len(list(runs.glob("*/*/manifest.json")))
    assert process.returncode == 130, output
    assert output.endswith(
        f"\nStopped. {done} of 22 results are done. What is done is kept: run the same command again to go on.\n"
    )
    assert "Traceback" not in output
    assert "KeyboardInterrupt" not in output
