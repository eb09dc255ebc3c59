"""A real luigid: who runs again after a kill gets the work that the scheduler holds for the dead."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from conftest import Workplace

BIN = Path(sys.executable).parent
CELL = ("Retrain", "--percent", "0", "--retrain-epochs", "100")
TAKEN_OVER_SECONDS = 30
"""After the kill; ``[scheduler] worker_disconnect_delay`` of luigi.cfg is 20, and Luigi starts in a few."""


def wait_for(condition: Callable[[], object], seconds: float) -> float:
    """Wait until the condition holds; return how long it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"nothing has happened for {seconds} s"
        time.sleep(0.01)
    return time.monotonic() - started


def answers(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def scheduler_url(workplace: Workplace) -> Iterator[str]:
    """A luigid of this test's own, with the settings of luigi.cfg."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    state = workplace.folder / "scheduler-state.pickle"
    command = [str(BIN / "luigid"), "--address", "127.0.0.1", "--port", str(port), "--state-path", str(state)]
    with (workplace.folder / "luigid.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=workplace.folder, env=workplace.environment(), stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for(lambda: answers(port), 60)
        yield f"http://127.0.0.1:{port}"
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _, left = psutil.wait_procs(family, timeout=5)
        assert not left


def start(place: Workplace, url: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [str(BIN / "luigi"), "--module", "tasks", *arguments, "--scheduler-url", url]
    return subprocess.Popen(
        command,
        cwd=place.folder,
        env=place.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_a_rerun_takes_over_from_a_killed_run(workplace: Workplace, scheduler_url: str) -> None:
    code, output = workplace.luigi("PrepareImages")
    assert code == 0, output
    cells = workplace.folder / "data" / "runs" / "Retrain"
    killed = start(workplace, scheduler_url, *CELL)
    wait_for(lambda: list(cells.glob("*/partial-checkpoint.pt")), 120)
    family = psutil.Process(killed.pid).children(recursive=True)
    os.kill(killed.pid, signal.SIGKILL)
    at = time.monotonic()
    killed.communicate()
    _, left = psutil.wait_procs(family, timeout=5)
    assert family
    assert not left
    assert not workplace.results("Retrain"), "the kill came too late"
    rerun = start(workplace, scheduler_url, *CELL)
    try:
        wait_for(lambda: list(cells.glob("*/log/attempt-2.log")), TAKEN_OVER_SECONDS - (time.monotonic() - at))
        output, _ = rerun.communicate(timeout=120)
    finally:
        if rerun.poll() is None:
            os.killpg(rerun.pid, signal.SIGKILL)
            rerun.wait()
    assert rerun.returncode == 0, output
    (cell,) = workplace.results("Retrain")
    first, second = ((cell / "log" / f"attempt-{n}.log").read_text(encoding="utf-8") for n in (1, 2))
    assert "epoch 1/100," in first
    assert "epoch 1/100," not in second
    assert "epoch 100/100," in second
