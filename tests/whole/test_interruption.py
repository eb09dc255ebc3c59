"""Kill and run again: the same bytes, nothing finished is repeated, no process is left."""

import functools
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from support.fault_injection import inject, table
from support.waiting import until
from support.workplace import Workplace, contents

TEACHER = ("FineTuneTeacher", "--teacher-epochs", "12", "--seed", "1")
MAPS = ("DumpMaps", "--model", "teacher", "--method", "gradcam", "--maps-batch", "1")
CELLS = ("Retrain", "--method", "random", "--percent", "40", "--retrain-epochs", "8")
SEVERAL_MAPS = ("DumpMaps", "--model", "teacher", "--method", "gradcam,smoothgrad,lrp", "--maps-batch", "1")
BEGUN_AGAIN_SECONDS = 20
"""From the start of a rerun to its first stage: a bound for a busy machine, far below any wait for the dead."""


def scratch(workplace: Workplace, family: str, name: str) -> Callable[[], list[Path]]:
    return lambda: list((workplace.folder / "data" / "runs" / family).glob(f"*/{name}"))


def start_and_kill(
    workplace: Workplace, arguments: tuple[str, ...], begun: Callable[[], list[Path]], delay: float
) -> bool:
    """Start a task, SIGKILL its Luigi process ``delay`` seconds after work has begun; tell whether it was still on."""
    process = workplace.start(*arguments)
    until("work has begun or is over", lambda: begun() or process.poll() is not None, interval=0.005)
    time.sleep(delay)  # to a random moment of the work
    alive = process.poll() is None
    family = psutil.Process(process.pid).children(recursive=True) if alive else []
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    _, left = psutil.wait_procs(family, timeout=5)
    assert not left, "worker processes outlive the Luigi process"
    return alive


Undisturbed = Callable[[tuple[str, ...]], Workplace]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Return what runs a task to its end, once, for all tests to copy and compare with."""

    @functools.cache
    def run(arguments: tuple[str, ...]) -> Workplace:
        workplace = Workplace(tmp_path_factory.mktemp("undisturbed"))
        workplace.configure()
        code, output = workplace.luigi(*arguments)
        assert code == 0, output
        return workplace

    return run


def copy_without(family: str, source: Workplace, target: Workplace) -> None:
    """Copy the finished results, but for the family's own (of maps: of a model)."""
    shutil.copytree(source.folder / "data", target.folder / "data")
    for directory in source.results(family):
        if family != "DumpMaps" or "model=" in directory.name:
            shutil.rmtree(target.folder / "data" / "runs" / family / directory.name)


@pytest.mark.parametrize(
    ("family", "arguments", "begun", "compared"),
    [
        ("Retrain", CELLS, "partial-checkpoint.pt", CELLS),
        pytest.param("FineTuneTeacher", TEACHER, "partial-checkpoint.pt", TEACHER, marks=pytest.mark.slow),
        pytest.param("DumpMaps", MAPS, "partial-maps.h5", SEVERAL_MAPS, marks=pytest.mark.slow),
    ],
)
def test_sigkill_and_resume(
    workplace: Workplace,
    undisturbed: Undisturbed,
    family: str,
    arguments: tuple[str, ...],
    begun: str,
    compared: tuple[str, ...],
) -> None:
    copy_without(family, undisturbed(compared), workplace)
    drawn = random.Random(family)
    hit = 0
    for _ in range(3):
        hit += start_and_kill(workplace, arguments, scratch(workplace, family, begun), drawn.uniform(0, 0.15))
    assert hit >= 1, "the task was always over before the kill"
    finished = {p: p.stat().st_mtime_ns for p in (workplace.folder / "data" / "runs").rglob("manifest.json")}
    code, output = workplace.luigi(*arguments)
    assert code == 0, output
    places = (workplace, undisturbed(compared))
    ours, theirs = ({p.name: contents(p) for p in workplace.results(family)} for workplace in places)
    assert ours
    assert ours == {name: theirs[name] for name in ours}
    assert not list((workplace.folder / "data" / "runs").rglob("partial-*"))
    for path, modified in finished.items():
        assert path.stat().st_mtime_ns == modified, f"{path} was made again"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "arguments", "begun"),
    [("Retrain", CELLS, "partial-checkpoint.pt"), ("DumpMaps", SEVERAL_MAPS, "partial-maps.jsonl")],
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_all_processes_and_the_next_run_begins_at_once(
    workplace: Workplace,
    undisturbed: Undisturbed,
    family: str,
    arguments: tuple[str, ...],
    begun: str,
    number: signal.Signals,
) -> None:
    """Of a batch too: several methods at once."""
    copy_without(family, undisturbed(arguments), workplace)
    process = workplace.start(*arguments)
    until("work has begun", scratch(workplace, family, begun), interval=0.005)
    below = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, number)
    process.communicate(timeout=20)
    _, left = psutil.wait_procs(below, timeout=5)
    assert len(below) == 1, "the task's process"
    assert not left
    assert process.returncode != 0
    attempts = scratch(workplace, family, "log/attempt-*.log")
    known = len(attempts())
    rerun = workplace.start(*arguments)
    until("the rerun begins a stage", lambda: len(attempts()) > known, BEGUN_AGAIN_SECONDS)
    output, _ = rerun.communicate(timeout=120)
    assert rerun.returncode == 0, output
    places = (workplace, undisturbed(arguments))
    ours, theirs = ({p.name: contents(p) for p in workplace.results(family)} for workplace in places)
    assert ours == theirs


@pytest.mark.slow
def test_a_chain_killed_at_random_and_exact_moments_ends_in_the_same_bytes(tmp_path: Path) -> None:
    """The short form of fault_injection.py: one chain of all stages, up to four kills."""
    tally = inject(kills=4, seed=3, folder=tmp_path / "faults", chains=1)
    assert not tally.failures, table(tally)
    assert tally.kills >= 1, table(tally)
