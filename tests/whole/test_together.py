"""Several runs at once on one cache: everything is made once, and every run ends well."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence

import pytest
import test_central
from support.workplace import BIN, Workplace, contents, finished

from roar_pipeline.cache import inventory

TASK_FAILED = 30
CELL = ("Retrain", "--method", "random", "--percent", "30", "--seed", "0")

scheduler_url = test_central.scheduler_url


@pytest.fixture
def copied(workplace: Workplace, chain: Workplace) -> Workplace:
    """A workplace with a copy of the finished small chain."""
    shutil.copytree(finished(chain), workplace.folder / "data")
    return workplace


def command(kind: str, url: str, arguments: Sequence[str]) -> list[str]:
    if kind == "run":
        return [sys.executable, "-m", "tasks", "run", "--workers", "1"]
    scheduler = ["--local-scheduler"] if kind == "local" else ["--scheduler-url", url]
    return [str(BIN / "luigi"), "--module", "tasks", *arguments, *scheduler]


def at_once(workplace: Workplace, kinds: Sequence[str], url: str, arguments: Sequence[str]) -> list[tuple[int, str]]:
    """Start runs at the same time; return their exit codes and outputs."""
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    processes = [
        subprocess.Popen(command(kind, url, arguments), cwd=workplace.folder, env=workplace.environment(), **pipe)  # type: ignore[call-overload]
        for kind in kinds
    ]
    try:
        outputs = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return [(process.returncode, output) for process, output in zip(processes, outputs, strict=True)]


def made_once_and_like(workplace: Workplace, chain: Workplace) -> None:
    """Check that every result has one attempt, is whole and has the bytes of the undisturbed chain's."""
    stored = inventory.scan(workplace.folder / "data")
    assert inventory.verify(stored, full=True, workers=1) == {}
    assert not list((workplace.folder / "data").rglob("partial-*"))
    for each in stored:
        assert each.manifest is not None
        assert [log.name for log in (each.directory / "log").iterdir()] == ["attempt-1.log"], each.name
        twin = finished(chain) / "runs" / each.name
        if each.family == "Retrain":
            log = (each.directory / "log" / "attempt-1.log").read_text(encoding="utf-8")
            assert log.count("epoch 1/1, loss") == 1
        if each.family != "Report":
            assert contents(each.directory) == contents(twin), each.name


@pytest.mark.parametrize(
    "kinds", [("central", "central"), pytest.param(("central", "local", "central", "local"), marks=pytest.mark.slow)]
)
def test_the_same_command_at_once(
    workplace: Workplace, scheduler_url: str, chain: Workplace, kinds: Sequence[str]
) -> None:
    """On one scheduler, and on several that know nothing of each other."""
    ended = at_once(workplace, kinds, scheduler_url, CELL)
    assert [code for code, _ in ended] == [0] * len(kinds), ended
    assert workplace.counts()["Retrain"] == 1
    made_once_and_like(workplace, chain)


@pytest.mark.slow
def test_the_same_grid_twice_at_once(copied: Workplace, chain: Workplace) -> None:
    runs = copied.folder / "data/runs"
    for directory in (*runs.glob("Retrain/percent=0*"), *runs.glob("RankPixels/model=sswa*"), *runs.glob("Report/*")):
        shutil.rmtree(directory)
    ended = at_once(copied, ("run", "run"), "", ())
    assert [code for code, _ in ended] == [0, 0], ended
    made_once_and_like(copied, chain)
    for _, output in ended:
        assert "Traceback" not in output
        assert output.splitlines()[-1].startswith("Report: ")


@pytest.mark.slow
def test_a_waiting_run_ends_when_the_other_fails(copied: Workplace, scheduler_url: str) -> None:
    """What one run fails at, the other needs for something else: neither hangs, and neither claims success."""
    copied.configure(teacher={"lr": "1e38"})
    ended = at_once(
        copied, ("central", "central"), scheduler_url, ("Report", "--models", "teacher", "--percents", "35")
    )
    codes = [code for code, _ in ended]
    assert TASK_FAILED in codes, ended
    assert 0 not in codes, ended
    for _, output in ended:
        assert "Traceback" not in output
    assert any("method=random,percent=35," in path.name for path in copied.results("Retrain")), "it needs no teacher"
    (failed,) = (copied.folder / "data/runs/FineTuneTeacher").glob("*/partial-failure.json")
    assert "Lower lr" in json.loads(failed.read_text(encoding="utf-8"))["message"]
    assert len(list((failed.parent / "log").iterdir())) <= 2, "at most one attempt of each run"
