"""Standard output and error that are closed, full, ASCII only, or a pipe whose reader ends: real processes."""

import dataclasses
import errno
import io
import os
import sys
from pathlib import Path

import pytest
from support.workplace import Workplace

from roar_pipeline.config import Settings
from tasks.configuration.settings import BAD_INPUT
from tasks.startup import streams

STATUS = f"'{sys.executable}' -m tasks status --depth 2"


@pytest.fixture
def unicode_workplace(tmp_path: Path) -> Workplace:
    (tmp_path / "für uns").mkdir()
    workplace = Workplace(tmp_path / "für uns")
    workplace.configure()
    return workplace


def test_a_pipe_whose_reader_ends_is_no_failure(unicode_workplace: Workplace) -> None:
    script = f"{STATUS} | head -1; echo ${{PIPESTATUS[0]}}"
    assert unicode_workplace.run("bash", "-c", script)[1] == "missing Report: waits for GenerateScenes (missing)\n0\n"


HELP = [
    f"'{sys.executable}' -m tasks --help",
    f"'{sys.executable}' -m tasks run --help",
    f"'{sys.executable}' -m tasks status --help-all",
    "luigi --module tasks Report --help",
    "luigi --module tasks Report --help-all",
]


@pytest.mark.parametrize("command", HELP)
@pytest.mark.parametrize("reader", ["true", "head -1 > /dev/null"])
def test_help_into_a_pipe_whose_reader_ends_is_no_failure(
    unicode_workplace: Workplace, command: str, reader: str
) -> None:
    script = f"(sleep .1; unset PYTHONUNBUFFERED; exec {command}) | {reader}; echo ${{PIPESTATUS[0]}}"
    assert unicode_workplace.run("bash", "-c", script)[1] == "0\n"


def test_the_help_of_all_options_names_every_setting(unicode_workplace: Workplace) -> None:
    code, output = unicode_workplace.shell("luigi --module tasks Report --help-all")
    assert code == 0
    for name, keys in dataclasses.asdict(Settings()).items():
        for key in keys:
            assert f"--{name}-{key.replace('_', '-')} " in output
    assert "another noise_seed changes 29 % of" in " ".join(output.split())


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&- <&-"])
def test_closed_streams(unicode_workplace: Workplace, closed: str) -> None:
    code, output = unicode_workplace.shell(f"{STATUS} {closed}")
    assert code == 0
    assert "Traceback" not in output


def test_a_stage_writes_to_its_own_files_where_streams_are_closed(unicode_workplace: Workplace) -> None:
    code, _ = unicode_workplace.shell("luigi --module tasks GenerateScenes --local-scheduler >&- 2>&- <&-")
    assert code == 0
    (made,) = unicode_workplace.results("GenerateScenes")
    assert list((made / "log").iterdir())


def test_a_full_device_is_named_and_not_the_data_folder(unicode_workplace: Workplace) -> None:
    code, output = unicode_workplace.shell(f"{STATUS} > /dev/full")
    assert code == BAD_INPUT
    assert output.startswith("Standard output cannot be written: No space left on device. ")
    assert output.count("\n") == 1


@pytest.mark.parametrize("option", ["--help", "--help-all"])
def test_a_full_device_does_not_swallow_the_help(unicode_workplace: Workplace, option: str) -> None:
    code, output = unicode_workplace.shell(f"unset PYTHONUNBUFFERED; luigi --module tasks Report {option} > /dev/full")
    assert code == BAD_INPUT
    assert output.startswith("Standard output cannot be written: No space left on device. ")
    assert output.count("\n") == 1


def test_letters_that_a_stream_lacks_are_escaped(unicode_workplace: Workplace) -> None:
    code, output = unicode_workplace.shell(f"PYTHONIOENCODING=ascii {STATUS.replace(' --depth 2', '')}")
    assert code == 0
    assert "f\\xfcr uns/data" in output


def test_a_locale_that_cannot_spell_the_folder_is_named(unicode_workplace: Workplace) -> None:
    code, output = unicode_workplace.shell(f"LC_ALL=POSIX PYTHONCOERCECLOCALE=0 PYTHONUTF8=0 {STATUS}")
    assert code == BAD_INPUT
    assert "a name that Python cannot read in this locale (ascii). Set PYTHONUTF8=1" in output
    assert "Traceback" not in output
    assert unicode_workplace.shell(f"LC_ALL=POSIX {STATUS}")[0] == 0


def write_into_pipe(monkeypatch: pytest.MonkeyPatch, text: str, *, is_read: bool = True) -> int:
    """Write to standard output, which is a pipe, and return the end to read from."""
    reader, writer = os.pipe()
    output = streams._Output(writer)
    monkeypatch.setitem(streams._protected, "stdout", output)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(output), "ascii", "backslashreplace"))
    if not is_read:
        os.close(reader)
    sys.stdout.write(text)
    return reader


def test_finishing_flushes_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = write_into_pipe(monkeypatch, "für\n")
    assert streams.finish_output(7, 40) == 7
    assert os.read(reader, 99) == b"f\\xfcr\n"


@pytest.mark.parametrize("code", [0, 30])
def test_a_closed_pipe_keeps_the_exit_code(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    write_into_pipe(monkeypatch, "x" * 100_000, is_read=False)
    assert streams.finish_output(code, 40) == code
    assert isinstance(streams._protected["stdout"].error, BrokenPipeError)


@pytest.mark.parametrize(("code", "expected"), [(0, 40), (30, 30)])
def test_another_error_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int, expected: int
) -> None:
    write_into_pipe(monkeypatch, "x")
    streams._protected["stdout"].error = OSError(errno.ENOSPC, "No space left on device")
    assert streams.finish_output(code, 40) == expected
    assert "cannot be written: No space left on device" in capsys.readouterr().err


WHILE_A_THREAD_WRITES = """
import fcntl, logging, os, sys, termios, threading, time
import tasks

reader, writer = os.pipe()
os.dup2(writer, 2)
full = fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ)
threading.Thread(target=sys.stderr.write, args=("x" * 2 * full,), daemon=True).start()
while int.from_bytes(fcntl.ioctl(reader, termios.FIONREAD, bytes(4)), sys.byteorder) < full:
    time.sleep(.01)  # until the thread waits for a reader, and holds the stream's lock

child = os.fork()
if not child:
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    logging.getLogger("roar").warning("a line")
    os._exit(7)
deadline = time.monotonic() + 20
while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < deadline:
    time.sleep(.01)  # until the child has ended
os.write(1, b"%d" % os.waitstatus_to_exitcode(ended[1]))
os.kill(child, 9) if not ended[0] else None
os._exit(0)
"""


def test_a_process_forked_while_a_thread_writes_can_write(unicode_workplace: Workplace) -> None:
    command = "env", "-u", "PYTHONUNBUFFERED", sys.executable, "-c", WHILE_A_THREAD_WRITES
    assert unicode_workplace.run(*command)[1] == "7"
