"""The progress of a run in a terminal and in a pipe."""

import os
import pty
import re
import subprocess

from support.workplace import BIN, Workplace

TEACHER = ("FineTuneTeacher", "--teacher-epochs", "300", "--local-scheduler")


def run_in_terminal(workplace: Workplace, *arguments: str) -> tuple[int, str]:
    """Run luigi in a pseudo-terminal; return exit code and output."""
    controller, terminal = pty.openpty()
    run = subprocess.Popen(
        [str(BIN / "luigi"), "--module", "tasks", *arguments],
        cwd=workplace.folder,
        env={**workplace.environment(), "TERM": "xterm", "COLUMNS": "200"},
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    output = bytearray()
    try:
        while block := os.read(controller, 1 << 16):
            output += block
    except OSError:  # the run has closed the terminal
        pass
    os.close(controller)
    return run.wait(timeout=60), output.decode()


def test_a_terminal_gets_bars_for_running_tasks_and_a_line_per_finished_task(workplace: Workplace) -> None:
    code, output = run_in_terminal(workplace, *TEACHER)
    assert code == 0, output
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", output).replace("\r", "\n")
    assert re.search(r"^all [━╸╺ ]+ 2/3 ", plain, re.M)
    shares = re.findall(
        r"FineTuneTeacher seed=0 [━╸╺ ]+ (\d+)/100 .* epoch \d+/300, loss [\d.]+, [\d,]+ images/s", plain
    )
    assert len(set(shares)) > 2, "the bar moves"
    for number, family in enumerate(("GenerateScenes", "PrepareImages", "FineTuneTeacher"), 1):
        assert len(re.findall(rf"^\[{number}/3\] {family}.*: [\d.]+ s \(", plain, re.M)) == 1


def test_a_pipe_gets_plain_lines(workplace: Workplace) -> None:
    code, output = workplace.luigi(*TEACHER[:1])
    assert code == 0, output
    assert [line.partition("] ")[0] for line in output.splitlines()] == ["[1/3", "[2/3", "[3/3"]
    assert "\x1b" not in output
