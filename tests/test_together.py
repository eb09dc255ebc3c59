"""Several runs at once on one cache: everything is made once, and every run ends well."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import test_central
from conftest import Workplace, contents

from roar_pipeline import cache

BIN = Path(sys.executable).parent
TASK_FAILED = 30
CELLS = ("Retrain", "--method", "random", "--percent", "30,60", "--seed", "0")

scheduler_url = test_central.scheduler_url


def command(kind: str, url: str, arguments: Sequence[str]) -> list[str]:
    if kind == "run":
        return [sys.executable, "-m", "tasks", "run", "--workers", "1"]
    scheduler = ["--local-scheduler"] if kind == "local" else ["--scheduler-url", url]
    return [str(BIN / "luigi"), "--module", "tasks", *arguments, *scheduler]


def at_once(place: Workplace, kinds: Sequence[str], url: str, arguments: Sequence[str]) -> list[tuple[int, str]]:
    """Start runs at the same time; return their exit codes and outputs."""
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    processes = [
        subprocess.Popen(command(kind, url, arguments), cwd=place.folder, env=place.environment(), **pipe)  # type: ignore[call-overload]
        for kind in kinds
    ]
    try:
        outputs = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return [(process.returncode, output) for process, output in zip(processes, outputs, strict=True)]


def made_once_and_like(place: Workplace, chain: Workplace) -> None:
    """Check that every result has one attempt, is whole and has the bytes of the undisturbed chain's."""
    stored = cache.scan(place.folder / "data")
    assert cache.verify(stored, full=True, workers=1) == {}
    assert not list((place.folder / "data").rglob("partial-*"))
    for each in stored:
        assert each.manifest is not None
        assert [log.name for log in (each.directory / "log").iterdir()] == ["attempt-1.log"], each.name
        twin = chain.folder / "data/runs" / each.name
        if each.family == "Retrain":
            log = (each.directory / "log" / "attempt-1.log").read_text(encoding="utf-8")
            assert log.count("epoch 1/1, loss") == 1
        if each.family != "Report":
            assert contents(each.directory) == contents(twin), each.name


def test_the_same_grid_four_times_at_once(workplace: Workplace, chain: Workplace) -> None:
    """Four schedulers that know nothing of each other."""
    workplace.configure(grid={"models": "teacher", "percents": "30"})
    ended = at_once(workplace, ("local", "local", "run", "run"), "", ("Report",))
    assert [code for code, _ in ended] == [0] * 4, ended
    assert len(cache.scan(workplace.folder / "data")) == 13
    made_once_and_like(workplace, chain)
    for _, output in ended:
        assert "Traceback" not in output
    for _, output in ended[2:]:
        assert output.splitlines()[-1].startswith("Report: ")


@pytest.mark.parametrize("kinds", [("central", "central"), ("central", "local", "central")])
def test_the_same_command_at_once_on_one_scheduler(
    workplace: Workplace, scheduler_url: str, chain: Workplace, kinds: Sequence[str]
) -> None:
    ended = at_once(workplace, kinds, scheduler_url, CELLS)
    assert [code for code, _ in ended] == [0] * len(kinds), ended
    assert workplace.counts()["Retrain"] == 2
    made_once_and_like(workplace, chain)


def test_a_waiting_run_ends_when_the_other_fails(workplace: Workplace, scheduler_url: str) -> None:
    """What one run fails at, the other needs for something else: neither hangs, and neither claims success."""
    workplace.configure(teacher={"lr": "1e38"}, grid={"models": "teacher", "percents": "30"})
    ended = at_once(workplace, ("central", "central"), scheduler_url, ("Report",))
    codes = [code for code, _ in ended]
    assert TASK_FAILED in codes, ended
    assert 0 not in codes, ended
    for _, output in ended:
        assert "Traceback" not in output
    assert workplace.counts()["Retrain"] == 2, "what does not need the teacher is made"
    (teacher,) = (workplace.folder / "data/runs/FineTuneTeacher").iterdir()
    assert "Lower lr" in json.loads((teacher / "partial-failure.json").read_text(encoding="utf-8"))["message"]
    assert len(list((teacher / "log").iterdir())) == 1
