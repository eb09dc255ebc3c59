"""SIGKILL and run again: the same bytes, nothing finished is repeated, no process is left."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from conftest import Workplace, contents

TEACHER = ("FineTuneTeacher", "--teacher-epochs", "12", "--seed", "1")
MAPS = ("DumpMaps", "--model", "teacher", "--method", "gradcam", "--maps-batch", "1")
CELLS = ("Retrain", "--method", "random", "--percent", "20,40", "--retrain-epochs", "8")


def scratch(place: Workplace, family: str, name: str) -> Callable[[], list[Path]]:
    return lambda: list((place.folder / "data" / "runs" / family).glob(f"*/{name}"))


def start_and_kill(place: Workplace, arguments: tuple[str, ...], begun: Callable[[], list[Path]], delay: float) -> bool:
    """Start a task, SIGKILL its Luigi process ``delay`` seconds after work has begun; tell whether it was still on."""
    process = place.start(*arguments)
    deadline = time.monotonic() + 120
    while not begun() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(delay)
    alive = process.poll() is None
    family = psutil.Process(process.pid).children(recursive=True) if alive else []
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    _, left = psutil.wait_procs(family, timeout=5)
    assert not left, "worker processes outlive the Luigi process"
    return alive


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    place = Workplace(tmp_path_factory.mktemp("undisturbed"))
    place.configure()
    for arguments in (TEACHER, MAPS, CELLS):
        code, output = place.luigi(*arguments)
        assert code == 0, output
    return place


@pytest.mark.parametrize(
    ("family", "arguments", "begun"),
    [
        ("FineTuneTeacher", TEACHER, "partial-checkpoint.pt"),
        ("DumpMaps", MAPS, "partial-maps.h5"),
        ("Retrain", CELLS, "partial-checkpoint.pt"),
    ],
)
def test_sigkill_and_resume(
    workplace: Workplace, undisturbed: Workplace, family: str, arguments: tuple[str, ...], begun: str
) -> None:
    drawn = random.Random(family)
    hit = 0
    for _ in range(3):
        hit += start_and_kill(workplace, arguments, scratch(workplace, family, begun), drawn.uniform(0, 0.15))
    assert hit >= 1, "the task was always over before the kill"
    finished = {p: p.stat().st_mtime_ns for p in (workplace.folder / "data" / "runs").rglob("manifest.json")}
    code, output = workplace.luigi(*arguments)
    assert code == 0, output
    ours, theirs = ({p.name: contents(p) for p in place.results(family)} for place in (workplace, undisturbed))
    assert ours
    assert ours == {name: theirs[name] for name in ours}
    assert not list((workplace.folder / "data" / "runs").rglob("partial-*"))
    for path, modified in finished.items():
        assert path.stat().st_mtime_ns == modified, f"{path} was made again"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_other_signals_leave_no_process_either(workplace: Workplace, number: signal.Signals) -> None:
    process = workplace.start(*TEACHER)
    begun = scratch(workplace, "FineTuneTeacher", "partial-checkpoint.pt")
    deadline = time.monotonic() + 120
    while not begun() and time.monotonic() < deadline:
        time.sleep(0.01)
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    os.kill(process.pid, number)
    process.communicate(timeout=20)
    _, left = psutil.wait_procs(family, timeout=5)
    assert not left
    assert process.returncode != 0
