"""What a run shows in the terminal, and what it leaves in a file."""

import os
import pty
import re
import subprocess

from support.workplace import BIN, Workplace

TEACHER = ("FineTuneTeacher", "--teacher-epochs", "300", "--local-scheduler")


def in_a_terminal(place: Workplace, *arguments: str) -> tuple[int, str]:
    """Run luigi with a terminal for its output; return exit code and what came to it."""
    ours, theirs = pty.openpty()
    run = subprocess.Popen(
        [str(BIN / "luigi"), "--module", "tasks", *arguments],
        cwd=place.folder,
        env={**place.environment(), "TERM": "xterm", "COLUMNS": "200"},
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = bytearray()
    try:
        while piece := os.read(ours, 1 << 16):
            seen += piece
    except OSError:  # nobody holds the other end any more
        pass
    os.close(ours)
    return run.wait(timeout=60), seen.decode()


def test_a_terminal_gets_bars_for_the_run_and_what_runs_and_a_line_for_what_is_done(workplace: Workplace) -> None:
    code, seen = in_a_terminal(workplace, *TEACHER)
    assert code == 0, seen
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", seen).replace("\r", "\n")
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
