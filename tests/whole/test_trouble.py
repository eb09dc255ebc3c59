"""Disks that are full, closed, read-only or gone: one message, the right exit code, nothing damaged, and on it goes."""

import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.disks import Disk, Elsewhere, mounted, without_privileges
from support.workplace import Workplace, contents, finished

from roar_pipeline.cache import inventory

BAD_INPUT, TASK_FAILED = 40, 30

FILLER = """
import os, re, sys

def _fill(event, args):
    if event == "open" and isinstance(args[0], str) and (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        if re.search(os.environ["FULL_AT"], args[0]):
            free = os.statvfs(os.environ["FULL_DISK"])
            ballast = os.open(os.environ["FULL_DISK"] + "/ballast", os.O_WRONLY | os.O_CREAT)
            if free.f_bavail:
                os.posix_fallocate(ballast, os.fstat(ballast).st_size, free.f_bavail * free.f_frsize)
            os.close(ballast)

if "FULL_AT" in os.environ:
    sys.addaudithook(_fill)
"""
"""A ``sitecustomize`` that fills the disk just before a file is opened for writing."""

MODEL = ("--model", "sswa", "--method", "gradcam")
FULL_AT = (
    ("Report", "*", (), r"partial-report\.html$"),
    ("Retrain", "*model=sswa-2,*percent=60*", (*MODEL, "--percent", "60", "--seed", "0"), r"partial-ready\.json$"),
    ("EvaluateLocalization", "model=sswa-2*", MODEL, r"partial-localization\.json$"),
    ("RankPixels", "model=sswa-2*", MODEL, r"partial-progress\.json"),
    ("DumpMaps", "model=sswa-2*", MODEL, r"partial-maps\.jsonl$"),
    ("FineTuneTeacher", "*", (), r"partial-checkpoint\.pt$"),
    ("PrepareImages", "*", (), r"partial-progress\.json"),
    ("GenerateScenes", "*", (), r"val_000003\.xml$"),
)
"""Stage, its result, its arguments and the file at which the disk is full; the last stage first.

HDF5 raises no audit event: its files are met by the first note on progress, which comes when their room is set aside.
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with mounted(tmp_path / "data") as disk:
        yield disk


@pytest.fixture
def on_disk(disk: Disk, chain: Workplace) -> Elsewhere:
    """A workplace with the finished small chain, its data on a disk of its own."""
    workplace = Elsewhere(disk.folder.parent, disk.prefix, disk.seen)
    workplace.configure()
    shutil.copytree(finished(chain), disk.seen, dirs_exist_ok=True)
    return workplace


def told_once(output: str, what: str) -> None:
    """Check that the terminal shows one failure and nothing of Python's."""
    assert output.count(what) == output.count(" failed: ") == 1, output
    quiet(output)


def quiet(output: str) -> None:
    for noise in ("Traceback", '  File "', "Segmentation", "Fatal", "Error:"):
        assert noise not in output, output


def faults(data: Path) -> dict[Path, list[str]]:
    return inventory.verify(inventory.scan(data), full=True, workers=1)


@pytest.mark.slow
def test_a_disk_that_fills_up_at_any_stage(
    on_disk: Elsewhere, disk: Disk, chain: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each result is made anew until the disk is full in the midst of it; then there is room, and one run mends all."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(FILLER, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hook"))
    monkeypatch.setenv("FULL_DISK", str(disk.folder))
    removed = []
    for family, pattern, arguments, at in FULL_AT:
        (directory,) = (d for d in on_disk.results(family) if d.match(pattern))
        shutil.rmtree(directory)
        removed.append(directory.relative_to(disk.seen))
        monkeypatch.setenv("FULL_AT", at)
        code, output = on_disk.luigi(family, *arguments)
        assert code == TASK_FAILED, output
        told_once(output, "no space is left on the disk. Free some space")
        assert output.splitlines()[0].startswith(f"{family} ")
        assert (disk.seen / "ballast").stat().st_size > 0
        disk.clear()
        assert faults(disk.seen) == {}
    monkeypatch.delenv("FULL_AT")
    code, output = on_disk.run(sys.executable, "-m", "tasks", "run", "--workers", "2")
    assert code == 0, output
    assert faults(disk.seen) == {}
    for name in removed:
        assert contents(disk.seen / name) == contents(finished(chain) / name)
    assert not list(disk.seen.rglob("partial-*"))


@pytest.mark.parametrize("kept", [0, pytest.param(3 << 19, marks=pytest.mark.slow)])
def test_a_disk_that_is_full_from_the_start(disk: Disk, kept: int) -> None:
    workplace = Elsewhere(disk.folder.parent, disk.prefix, disk.seen)
    workplace.configure(dataset={"height": 128, "width": 128})
    if kept:
        assert workplace.luigi("GenerateScenes")[0] == 0
    disk.fill(leave=kept)
    code, output = workplace.luigi("PrepareImages")
    assert code == TASK_FAILED, output
    told_once(output, "no space is left on the disk")
    disk.clear()
    assert workplace.luigi("PrepareImages")[0] == 0
    assert faults(disk.seen) == {}


def test_a_read_only_cache_can_be_read(on_disk: Elsewhere, disk: Disk) -> None:
    disk.do("mount", "-o", "remount,ro", str(disk.folder))
    tasks = (sys.executable, "-m", "tasks")
    code, output = on_disk.run(*tasks, "run")
    assert code == 0, output
    assert output.startswith("Nothing to do")
    for command in (("status",), ("verify", "--full")):
        code, output = on_disk.run(*tasks, *command)
        assert code == 0, output
    code, output = on_disk.luigi("Retrain", "--method", "random", "--percent", "33")
    assert code == TASK_FAILED
    told_once(output, "the file system is read-only. Name another folder in [paths] data")
    code, output = on_disk.luigi("DumpMaps", "--method", "center,sobel")
    assert code == TASK_FAILED
    assert output.count("read-only") == output.count(" failed: ") == 2, output
    quiet(output)


@pytest.mark.slow
def test_a_disk_that_is_pulled_out(on_disk: Elsewhere, disk: Disk) -> None:
    """Two trainings are under way and more is to come: nothing is made in the bare mount point."""
    report = ("Report", "--seeds", "5", "--percents", "40", "--models", "teacher", "--workers", "2")
    process = on_disk.start(*report, "--teacher-epochs", "2000", "--retrain-epochs", "2000")
    deadline = time.monotonic() + 60
    while len(list(disk.seen.glob("runs/*/*seed=5*/partial-checkpoint.pt"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    disk.do("umount", "--lazy", str(disk.folder))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == TASK_FAILED, output
    told = output.count("has vanished: was it removed, or its disk unmounted?")
    assert told == output.count(" failed: ") > 0, output
    quiet(output)
    assert list(disk.folder.iterdir()) == []


def test_a_folder_in_which_nothing_may_be_written(tmp_path: Path) -> None:
    workplace = closed(tmp_path)
    workplace.data.mkdir(mode=0o500)
    code, output = workplace.luigi("GenerateScenes")
    assert code == TASK_FAILED, output
    told_once(output, f"{workplace.data / 'runs'} cannot be used: permission is denied. Give yourself the right")


@pytest.mark.parametrize("name", ["manifest.json", ".", "VOC2012/JPEGImages", "VOC2012/Annotations/val_000000.xml"])
def test_a_result_that_may_not_be_read(tmp_path: Path, chain: Workplace, name: str) -> None:
    workplace = closed(tmp_path)
    shutil.copytree(finished(chain) / "runs/GenerateScenes", workplace.data / "runs/GenerateScenes")
    (scenes,) = workplace.results("GenerateScenes")
    mode = (scenes / name).stat().st_mode
    (scenes / name).chmod(0)
    try:
        code, output = workplace.luigi("PrepareImages")
        assert code == TASK_FAILED, output
        told_once(output, "permission is denied")
        assert str(scenes / name) in output
    finally:
        (scenes / name).chmod(mode)
    assert workplace.luigi("PrepareImages")[0] == 0
    assert faults(workplace.data) == {}


def closed(folder: Path) -> Elsewhere:
    """Return a workplace whose commands heed the rights of files."""
    workplace = Elsewhere(folder, without_privileges(), folder / "data")
    workplace.configure()
    return workplace


@pytest.mark.parametrize("data", ["link", "link/below", "file", "file/below", "nowhere/data"])
def test_a_data_folder_that_cannot_be_one(workplace: Workplace, data: str) -> None:
    (workplace.folder / "link").symlink_to(workplace.folder / "unmounted" / "data")
    (workplace.folder / "file").touch()
    workplace.configure(paths={"data": data})
    for command in (
        ("luigi", "--module", "tasks", "GenerateScenes", "--local-scheduler"),
        ("python", "-m", "tasks", "run"),
    ):
        code, output = workplace.run(str(Path(sys.executable).parent / command[0]), *command[1:])
        assert code == BAD_INPUT, output
        assert f"[paths] data = {data}" in output
        quiet(output)
    assert not (workplace.folder / "unmounted").exists()
    assert not (workplace.folder / "nowhere").exists()
