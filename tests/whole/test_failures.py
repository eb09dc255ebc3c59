"""What fails, fails alone: the rest of its batch and whatever does not need it is made in the same run."""

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from support.workplace import BIN, Workplace, finished

TASK_FAILED = 30

MY_MAPS = """
import os
from pathlib import Path

import torch

def fine(model, images, image_index, class_index):
    return images[image_index].sum(1)

def nan(model, images, image_index, class_index):
    return fine(model, images, image_index, class_index) / 0 * 0

def raises(model, images, image_index, class_index):
    return images[image_index, class_index, 10 ** 6]

def shapeless(model, images, image_index, class_index):
    return images

def deadly(model, images, image_index, class_index):
    os.kill(os.getpid(), 9)

def faint(model, images, image_index, class_index):
    fallen = Path(__file__).with_name("fallen")
    if not fallen.exists() or len(fallen.read_text()) < 2:
        with fallen.open("a") as file:
            file.write("x")
        deadly(model, images, image_index, class_index)
    return fine(model, images, image_index, class_index)
"""


@pytest.fixture
def workplace(workplace: Workplace, chain: Workplace) -> Workplace:
    """A workplace of one's own with a copy of the finished small chain; nothing is tried twice."""
    workplace.configure(execution={"retries": 0})
    shutil.copytree(finished(chain), workplace.folder / "data")
    return workplace


def failure(directory: Path) -> dict[str, Any]:
    """Return the note on a failure, with its log's text."""
    note: dict[str, Any] = json.loads((directory / "partial-failure.json").read_text(encoding="utf-8"))
    assert not (directory / "manifest.json").exists()
    return {**note, "text": (directory / note["log"]).read_text(encoding="utf-8")}


def again(workplace: Workplace, note: dict[str, Any]) -> tuple[int, str]:
    """Type the command of a failure into a shell with the environment activated."""
    return workplace.run("env", "-u", "LUIGI_CONFIG_PATH", "sh", "-c", note["command"])


def stamps(workplace: Workplace) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in (workplace.folder / "data/runs").rglob("manifest.json")}


def test_a_killed_cell_fails_alone_and_its_command_makes_just_it(workplace: Workplace) -> None:
    """As the kernel kills when memory runs out."""
    cells = workplace.folder / "data/runs/Retrain"
    before = stamps(workplace)
    run = workplace.start(
        "Report", "--models", "teacher", "--methods", "random", "--percents", "35,45,55", "--retrain-epochs", "60"
    )
    deadline = time.monotonic() + 60
    found: list[Path] = []
    while not found and time.monotonic() < deadline:
        logs = cells.glob("*percent=45,*/log/attempt-1.log")
        found = [log for log in logs if "epoch 1/60," in log.read_text(encoding="utf-8")]
        time.sleep(0.01)
    (victim,) = (path.parent.parent for path in found)
    os.kill(json.loads((victim / "partial-attempt.json").read_text(encoding="utf-8"))["pid"], signal.SIGKILL)
    output, _ = run.communicate(timeout=120)
    assert run.returncode == TASK_FAILED, output
    assert output.count(" failed: ") == 1
    assert "Traceback" not in output
    made = {path.parent for path in stamps(workplace).keys() - before.keys()}
    assert {path.parent.name for path in made} == {"Retrain"}
    assert sorted(path.name.split("percent=")[1].split(",")[0] for path in made) == ["0", "100", "35", "55"]
    note = failure(victim)
    assert "The worker process was killed (SIGKILL): by hand, or for want of memory" in note["message"]
    assert "epoch 1/60" in note["text"]
    for told in (note["message"], str(victim / note["log"]), note["command"]):
        assert told in output
    before = stamps(workplace)
    code, output = again(workplace, note)
    assert code == 0, output
    after = stamps(workplace)
    assert after.keys() - before.keys() == {victim / "manifest.json"}
    assert {path: after[path] for path in before} == before
    assert not list(victim.glob("partial-*"))


def test_memory_that_runs_out_is_told_in_a_line(workplace: Workplace) -> None:
    """A real limit, of the processes' address space."""
    command = (str(BIN / "luigi"), "--module", "tasks", "Retrain", "--percent", "0", "--retrain-width", "3000")
    code, output = workplace.run("sh", "-c", 'ulimit -v 6000000 && exec "$0" "$@"', *command, "--local-scheduler")
    assert code == TASK_FAILED, output
    assert output.startswith("Retrain needs about 2"), "a warning, before it begins"
    assert "\nRetrain percent=0 seed=0 failed: Out of memory: " in output
    assert "Lower the batch of this stage's section" in output
    assert output.count(" failed: ") == 1
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("method", "code", "attempts"), [("faint", 0, 3), ("deadly", TASK_FAILED, 3), ("raises", TASK_FAILED, 1)]
)
def test_what_may_pass_is_tried_again_and_nothing_loops(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, method: str, code: int, attempts: int
) -> None:
    """A process that is killed twice; always; and one that fails by itself."""
    (workplace.folder / "my_maps.py").write_text(MY_MAPS, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(workplace.folder))
    workplace.configure(execution={"retries": 2})
    ended, output = workplace.luigi("DumpMaps", "--model", "teacher", "--method", f"my_maps:{method}")
    assert ended == code, output
    (directory,) = (workplace.folder / "data/runs/DumpMaps").glob(f"*my_maps-{method},*")
    assert len(list((directory / "log").iterdir())) == attempts
    assert output.count("This may pass: it is tried again") == attempts - 1
    if code:
        assert failure(directory)["message"] in output


def test_methods_of_a_batch_fail_alone_and_the_others_are_followed(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Grad-CAM is refused for its layer before any work; three functions of one's own fail in the midst of it."""
    (workplace.folder / "my_maps.py").write_text(MY_MAPS, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(workplace.folder))
    own = ("fine", "nan", "raises", "shapeless")
    methods = ",".join(["gradcam", "gradient", *(f"my_maps:{name}" for name in own)])
    before = stamps(workplace)
    grid = ("--models", "teacher", "--methods", methods, "--percents", "30", "--maps-layer", "99")
    code, output = workplace.luigi("Report", *grid, "--workers", "2")
    assert code == TASK_FAILED, output
    assert "Traceback" not in output
    made = sorted(path.parent for path in stamps(workplace).keys() - before.keys())
    for family in ("DumpMaps", "RankPixels", "EvaluateLocalization", "Retrain"):
        names = [path.name for path in made if path.parent.name == family]
        assert len(names) == 2, names
        assert sorted("gradient" in name for name in names) == [False, True]
        assert sorted("my_maps-fine" in name for name in names) == [False, True]
    assert {path.parent.name for path in made} == {"DumpMaps", "RankPixels", "EvaluateLocalization", "Retrain"}
    reasons = {
        "gradcam": "99",
        "my_maps-nan": "my_maps:nan returned maps that are not finite",
        "my_maps-raises": "my_maps:raises raised IndexError: ",
        "my_maps-shapeless": "my_maps:shapeless must return a tensor of maps",
    }
    maps = workplace.folder / "data/runs/DumpMaps"
    failed = [path.parent for path in maps.glob("*/partial-failure.json")]
    assert len(failed) == len(reasons)
    assert output.count(" failed: ") == len(reasons), output
    for name, reason in reasons.items():
        (directory,) = (path for path in failed if f"method={name}" in path.name)
        note = failure(directory)
        assert reason in note["message"]
        assert note["command"] in output
        assert f"--method={name.replace('-', ':')}" in note["command"]
        if name == "my_maps-raises":
            assert 'my_maps.py", line 14, in raises' in note["text"]
    manifests = {p.name: json.loads((p / "manifest.json").read_text("utf-8")) for p in made if p.parent == maps}
    together = {"fine" in name: manifest["dumped_together"] for name, manifest in manifests.items()}
    assert together == {False: 2, True: 1}, (
        "built-in methods share a pass, a function of one's own has a process to itself"
    )
    code, output = again(workplace, note)
    assert code == TASK_FAILED
    assert output.count(" failed: ") == 1
    assert len(list((directory / "log").iterdir())) == 2
