"""One scheduler for several runs: what a killed run had is taken over, what another makes is waited for."""

import contextlib
import errno
import functools
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import types
from collections.abc import Iterator
from pathlib import Path

import luigi
import psutil
import pytest
from luigi.configuration import get_config
from luigi.scheduler import Scheduler
from luigi.task_register import Register
from luigi.task_status import DONE, FAILED, PENDING
from support.servers import running
from support.waiting import until
from support.workplace import BIN, Workplace

import tasks
from roar_pipeline.cache.attempts import PROGRESS, record_failure
from tasks.configuration.luigi_sections import DEFAULTS
from tasks.configuration.settings import data_folder, settings
from tasks.runtime import execution
from tasks.runtime.grouping import GroupedScheduler
from tasks.runtime.worker import Worker

CELL = ("Retrain", "--percent", "0", "--retrain-epochs", "100")
STARTING_SECONDS = 30
"""What Luigi and its first stage need to start: a bound for a busy machine."""


def answers(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(params=[4, pytest.param(20, marks=pytest.mark.slow)])
def disconnect_delay(request: pytest.FixtureRequest, workplace: Workplace) -> int:
    """Return after how many silent seconds luigid counts a run as dead: 20 by default, or sooner."""
    if request.param != 20:
        delay = {"worker_disconnect_delay": request.param}
        workplace.configure(scheduler=delay, worker={"ping_interval": 1})
    return int(request.param)


@pytest.fixture
def scheduler_url(workplace: Workplace) -> Iterator[str]:
    """A luigid of this test's own, with the settings of ``python -m tasks scheduler``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    state = workplace.folder / "scheduler-state.pickle"
    own = "".join(f"{key} = {value}\n" for key, value in DEFAULTS["scheduler"].items())
    (workplace.folder / "luigid.cfg").write_text(f"[scheduler]\n{own}", encoding="utf-8")
    environment = {**workplace.environment(), "LUIGI_CONFIG_PATH": str(workplace.folder / "luigid.cfg")}
    command = [str(BIN / "luigid"), "--address", "127.0.0.1", "--port", str(port), "--state-path", str(state)]
    with (workplace.folder / "luigid.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=workplace.folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        until("luigid answers", lambda: answers(port), 60)
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


def test_a_rerun_takes_over_from_a_killed_run(workplace: Workplace, disconnect_delay: int, scheduler_url: str) -> None:
    code, output = workplace.luigi("PrepareImages")
    assert code == 0, output
    cells = workplace.folder / "data" / "runs" / "Retrain"
    killed = workplace.start(*CELL, scheduler=("--scheduler-url", scheduler_url))
    logs = functools.partial(cells.glob, "*/log/attempt-1.log")
    until("the cell trains", lambda: any("epoch 1/100," in log.read_text() for log in logs()))
    family = psutil.Process(killed.pid).children(recursive=True)
    os.kill(killed.pid, signal.SIGKILL)
    at = time.monotonic()
    killed.communicate()
    _, left = psutil.wait_procs(family, timeout=5)
    assert family
    assert not left
    assert not workplace.results("Retrain"), "the kill came too late"
    rerun = workplace.start(*CELL, scheduler=("--scheduler-url", scheduler_url))
    try:
        left_to_it = disconnect_delay + STARTING_SECONDS - (time.monotonic() - at)
        until("the cell is taken over", lambda: list(cells.glob("*/log/attempt-2.log")), left_to_it)
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


@pytest.mark.slow
def test_a_run_in_another_directory_finishes_what_a_killed_one_began(workplace: Workplace, tmp_path: Path) -> None:
    """First a process that trains is killed, then its whole run; another, on the same cache, makes the rest."""
    settings: dict[str, dict[str, object]] = {
        "paths": {"data": tmp_path / "data"},
        "scheduler": {"worker_disconnect_delay": 12},
        "teacher": {"epochs": 200},
        "retrain": {"epochs": 200},
        "grid": {"models": "teacher", "percents": "10, 30, 50"},
    }
    elsewhere = Workplace(tmp_path / "elsewhere")
    elsewhere.folder.mkdir()
    with running(workplace, **settings) as servers:
        shutil.copy(workplace.folder / "overlay.cfg", elsewhere.folder)
        shutil.copy(workplace.folder / "luigi.cfg", elsewhere.folder)
        first = servers.luigi("Report")
        until("the teacher trains", lambda: at_work(workplace, "FineTuneTeacher", first.pid, trains=True)).kill()
        until("a cell trains", lambda: at_work(workplace, "Retrain", first.pid))
        other = servers.run_in(elsewhere, "Report")
        until(
            "both runs train cells",
            lambda: at_work(workplace, "Retrain", other.pid) and at_work(workplace, "Retrain", first.pid, trains=True),
        )
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
        output, _ = other.communicate(timeout=120)
    assert other.returncode == 0, output
    again = []
    for result in (each for family in workplace.counts() for each in workplace.results(family)):
        logs = [log.read_text(encoding="utf-8") for log in sorted(result.glob("log/attempt-*.log"))]
        epochs = re.findall(r"epoch (\d+)/", "".join(logs))
        assert len(epochs) - len(set(epochs)) <= len(logs) - 1, f"{result} was trained twice"
        again += [result.parent.name] * (len(logs) - 1)
    assert sorted(again) == ["FineTuneTeacher", "Retrain"], "what the two kills hit, and nothing else"
    assert workplace.counts()["Report"] == 1


def at_work(workplace: Workplace, family: str, run: int, *, trains: bool = False) -> psutil.Process | None:
    """Return a process in which a run makes a result of a family, and has trained it for an epoch if need be."""
    for note in (workplace.folder / "data" / "runs" / family).glob("*/partial-attempt.json"):
        with contextlib.suppress(psutil.Error, FileNotFoundError, ValueError):
            process = psutil.Process(json.loads(note.read_text(encoding="utf-8"))["pid"])
            trained = (note.parent / "partial-checkpoint.pt").exists()
            if trained >= trains and run in {parent.pid for parent in process.parents()}:
                return process
    return None


def test_of_two_runs_at_once_one_works_and_both_succeed(workplace: Workplace, scheduler_url: str) -> None:
    """Commands that differ: of the same command Luigi itself starts no second one."""
    runs = [
        workplace.start("PrepareImages", "--workers", n, scheduler=("--scheduler-url", scheduler_url))
        for n in ("1", "2")
    ]
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
        record_failure(scenes.directory, "no luck")
    scheduler.add_task(worker="other", task_id=scenes.task_id)
    assert scheduler.get_work(worker="other")["task_id"] == scenes.task_id
    ours = Worker(scheduler=GroupedScheduler(scheduler))
    assert ours.add(scenes)
    assert ours._keep_alive(None), "the other is at work"
    if ending == "failed":
        record_failure(scenes.directory, "no luck")
        scheduler.add_task(worker="other", task_id=scenes.task_id, status=FAILED, expl="no luck")
    time.sleep(1.1)  # until the scheduler takes the silent worker for dead
    scheduler.ping(worker=ours._id)
    scheduler.prune()
    assert list(scheduler.task_list(FAILED, "")) == [scenes.task_id]
    assert ours._keep_alive(None) == (ending != "failed")
    assert list(scheduler.task_list(FAILED if ending == "failed" else PENDING, "")) == [scenes.task_id]


def test_a_scheduler_that_has_forgotten_a_run_is_told_of_it_again_and_of_its_failures(
    scenes: tasks.GenerateScenes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GroupedScheduler, "is_central", True)
    worker = Worker(scheduler=GroupedScheduler(Scheduler()))
    assert worker.add(scenes)
    record_failure(scenes.directory, "no luck")
    worker._settle(scenes)
    restarted = Scheduler()
    worker._scheduler = GroupedScheduler(restarted)
    nothing = types.SimpleNamespace(n_pending_tasks=0)
    assert worker._reschedules(nothing)
    ((_, told),) = restarted.task_list(FAILED, "").items()
    assert told["name"] == "roar.GenerateScenes"
    assert not worker._reschedules(nothing), "it knows"


@pytest.mark.parametrize(("code", "begun"), [(-signal.SIGKILL, 2), (-signal.SIGSEGV, 2), (1, 0)])
def test_a_task_whose_process_was_killed_is_begun_again_as_a_stage_is(
    scenes: tasks.GenerateScenes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: int,
    begun: int,
) -> None:
    """As often as ``[execution] retries`` allows, 2 by default; a process that ends by itself is no matter of luck."""
    worker = Worker(scheduler=GroupedScheduler(Scheduler()))
    assert worker.add(scenes)
    process = types.SimpleNamespace(task=scenes, exitcode=code, is_alive=lambda: False, timeout_time=None)
    again: list[str] = []

    def begin(task_id: str) -> None:
        again.append(task_id)
        worker._running_tasks[task_id] = process

    monkeypatch.setattr(worker, "_run_task", begin)
    worker._running_tasks[scenes.task_id] = process
    with caplog.at_level("WARNING", logger="roar"):
        for number in range(begun):
            worker._purge_children()
            assert worker._task_result_queue.empty()
            assert len(again) == number + 1
        worker._purge_children()
    assert worker._task_result_queue.get(timeout=10)[:2] == (scenes.task_id, FAILED)
    assert again == [scenes.task_id] * begun
    assert caplog.text.count("This may pass: it is tried again") == begun
    assert (f"was killed ({signal.Signals(-code).name})" in caplog.text) if begun else True


def test_a_process_that_ends_without_a_word_has_failed(
    scenes: tasks.GenerateScenes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if all was well: a library that calls C's exit(0), say."""
    worker = Worker(scheduler=GroupedScheduler(Scheduler()))
    worker._running_tasks[scenes.task_id] = types.SimpleNamespace(
        task=scenes, exitcode=0, is_alive=lambda: False, timeout_time=None
    )
    worker._purge_children()
    time.sleep(0.1)  # until a result would have come through the queue
    assert worker._task_result_queue.empty(), "its result may still arrive"
    monkeypatch.setattr(tasks.runtime.worker, "_SILENT_SECONDS", 0.0)
    worker._purge_children()
    assert worker._task_result_queue.get(timeout=10)[:2] == (scenes.task_id, FAILED)


def test_a_transient_error_ends_the_process_and_another_is_begun(
    scenes: tasks.GenerateScenes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[int] = []

    def produce(*args: object) -> None:
        raise OSError(errno.ESTALE, "gone for a moment")

    def end(code: int) -> None:
        ended.append(code)
        raise SystemExit

    monkeypatch.setattr(execution, "produce", produce)
    monkeypatch.setattr(execution.os, "_exit", end)
    monkeypatch.setattr(execution, "_RETRY_SECONDS", 0.0)
    with pytest.raises(SystemExit), caplog.at_level("WARNING", logger="roar"):
        execution.run(scenes.call(), tries_left=1)
    assert "This may pass: it is tried again, 1 times at most." in caplog.text
    worker = Worker(scheduler=GroupedScheduler(Scheduler()))
    process = types.SimpleNamespace(task=scenes, exitcode=ended[0], is_alive=lambda: False, timeout_time=None)
    worker._running_tasks[scenes.task_id] = process
    again: list[str] = []
    monkeypatch.setattr(worker, "_run_task", again.append)
    worker._purge_children()
    assert again == [scenes.task_id]
    with pytest.raises(execution.TaskFailedError, match=r"GenerateScenes failed: .* gone for a moment"):
        execution.run(scenes.call(), tries_left=0)


def test_a_running_task_shows_how_far_it_is(scenes: tasks.GenerateScenes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GroupedScheduler, "is_central", True)
    monkeypatch.setattr(tasks.runtime.worker, "_REPORT_SECONDS", 0.0)
    scheduler = Scheduler()
    worker = Worker(scheduler=GroupedScheduler(scheduler))
    assert worker.add(scenes)
    worker._running_tasks[scenes.task_id] = types.SimpleNamespace(
        task=scenes, exitcode=None, is_alive=lambda: True, timeout_time=None
    )
    worker._purge_children()
    assert scheduler.get_task_progress_percentage(scenes.task_id)["progressPercentage"] is None
    note = {"share": 0.254, "text": "image 12", "seconds_left": 61, "updated": time.time(), "history": []}
    (scenes.directory / PROGRESS).write_text(json.dumps(note), encoding="utf-8")
    worker._purge_children()
    assert scheduler.get_task_progress_percentage(scenes.task_id)["progressPercentage"] == 25
    assert scheduler.get_task_status_message(scenes.task_id)["statusMessage"] == "image 12, 01:01 left"


@pytest.mark.parametrize(
    ("waiting", "order"), [("light, heavy, heavy", "light, import, heavy, heavy"), ("heavy, light", "heavy, light")]
)
@pytest.mark.parametrize("first", ["", "heavy"])
def test_libraries_are_imported_once_before_the_first_of_several_stages_that_need_them(
    monkeypatch: pytest.MonkeyPatch, waiting: str, order: str, first: str
) -> None:
    """While a light one is at work, or right before; a single stage imports by itself."""
    events: list[str] = []
    monkeypatch.setattr(tasks.runtime.worker, "import_libraries", lambda: events.append("import"))
    monkeypatch.setattr(luigi.worker.Worker, "_run_task", lambda self, kind: events.append(kind))
    worker = Worker(scheduler=GroupedScheduler(Scheduler()))
    kinds = [*([first] if first else []), *waiting.split(", ")]
    worker._is_to_import = kinds.count("heavy") > 1
    for kind in kinds:
        worker._scheduled_tasks[kind] = types.SimpleNamespace(is_light=kind == "light")
        worker._run_task(kind)
    expected = order.split(", ")
    if first:
        expected = ["import", first, *waiting.split(", ")]
    assert events == expected


def test_the_grid_is_worked_off_curve_by_curve(scenes: tasks.GenerateScenes) -> None:
    """Of a seed, of a model, of a method: so the first curves are there early."""
    scheduler = Scheduler()
    worker = Worker(scheduler=GroupedScheduler(scheduler))
    assert worker.add(
        tasks.Report(
            models="teacher,sswa",
            methods="gradcam,lrp",
            shuffled="none",
            percents="10,50",
            longer_percents="none",
            seeds="0,1",
            model_seeds="",
        )
    )
    worker._offer_resources()
    order = []
    while (work := scheduler.get_work(worker=worker._id))["task_id"] or "batch_task_ids" in work:
        for task_id in work.get("batch_task_ids", [work["task_id"]]):
            order.append(worker._scheduled_tasks[task_id])
            scheduler.add_task(worker=worker._id, task_id=task_id, status=DONE)
    assert order[-1].task_family == "Report"
    cells = [task for task in order if isinstance(task, tasks.Retrain) and not task.is_shared]
    curves = [(cell.seed, cell.model, cell.method) for cell in cells]
    expected = [
        (seed, *curve)
        for seed in (0, 1)
        for curve in [(None, "random"), *((m, k) for m in ("teacher", "sswa") for k in ("gradcam", "lrp"))]
    ]
    assert [curve for curve, _ in itertools.groupby(curves)] == expected
    student = next(number for number, task in enumerate(order) if isinstance(task, tasks.DistillStudent))
    (last,) = (cell for cell in cells if (cell.seed, cell.model, cell.method) == expected[2] and cell.percent == 50)
    assert order.index(last) < student, "no model before the curves of the one before it"
