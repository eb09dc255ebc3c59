"""One scheduler for several runs: what a killed run had is taken over, what another makes is waited for."""

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
from luigi.configuration import get_config
from luigi.scheduler import Scheduler
from luigi.task_register import Register
from luigi.task_status import FAILED, PENDING

import tasks
from roar_pipeline.attempts import note_failure
from tasks.grouping import GroupedScheduler
from tasks.settings import data_folder, settings
from tasks.worker import Worker

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
    wait_for(lambda: any("epoch 1/100," in log.read_text() for log in cells.glob("*/log/attempt-1.log")), 120)
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
    log = (cell / "log" / "attempt-2.log").read_text(encoding="utf-8")
    assert "epoch 1/100," not in log
    assert "epoch 100/100," in log


def test_of_two_runs_at_once_one_works_and_both_succeed(workplace: Workplace, scheduler_url: str) -> None:
    """Commands that differ: of the same command Luigi itself starts no second one."""
    runs = [start(workplace, scheduler_url, "PrepareImages", "--workers", n) for n in ("1", "2")]
    ended = [(run.communicate(timeout=120)[0], run.returncode) for run in runs]
    assert [code for _, code in ended] == [0, 0], ended
    (images,) = workplace.results("PrepareImages")
    assert [log.name for log in (images / "log").iterdir()] == ["attempt-1.log"]


@pytest.fixture
def scenes(tmp_path: Path) -> Iterator[tasks.GenerateScenes]:
    """A task that needs nothing, with its empty directory."""

    def forget() -> None:
        for cached in (settings, data_folder):
            cached.cache_clear()
        Register.clear_instance_cache()

    known = dict(get_config()["paths"]) if get_config().has_section("paths") else {}
    get_config().set("paths", "data", str(tmp_path / "data"))
    forget()
    task = tasks.GenerateScenes()
    task.directory.mkdir(parents=True)
    yield task
    get_config().remove_section("paths")
    get_config().read_dict({"paths": known})
    forget()


@pytest.mark.parametrize("ending", ["killed", "failed", "failed once, then killed"])
def test_what_has_failed_elsewhere_is_not_taken_over(scenes: tasks.GenerateScenes, ending: str) -> None:
    scheduler = Scheduler(retry_delay=-1.0, worker_disconnect_delay=0.5)
    if ending == "failed once, then killed":
        note_failure(scenes.directory, "no luck")
    scheduler.add_task(worker="other", task_id=scenes.task_id)
    assert scheduler.get_work(worker="other")["task_id"] == scenes.task_id
    ours = Worker(scheduler=GroupedScheduler(scheduler))
    assert ours.add(scenes)
    assert ours._keep_alive(None), "the other is at work"
    if ending == "failed":
        note_failure(scenes.directory, "no luck")
        scheduler.add_task(worker="other", task_id=scenes.task_id, status=FAILED, expl="no luck")
    time.sleep(1.1)
    scheduler.ping(worker=ours._id)
    scheduler.prune()
    assert list(scheduler.task_list(FAILED, "")) == [scenes.task_id]
    assert ours._keep_alive(None) == (ending != "failed")
    assert list(scheduler.task_list(FAILED if ending == "failed" else PENDING, "")) == [scenes.task_id]
