"""What is stale or damaged is never read as good: another identity, another result; another byte, no result.

The small chain's own tasks, run in this process on a copy of its results.
"""

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.voc_folder import CLASSES, write_voc_folder
from support.workplace import Ask, Configure, Results, Workplace, contents

import tasks
from roar_pipeline import stages
from roar_pipeline.cache import manifests
from roar_pipeline.cache.manifests import MANIFEST
from tasks.runtime.execution import TaskFailedError
from tasks.runtime.terminal import closure

MODEL = {"model": "sswa", "method": "gradcam"}


def outputs(directory: Path) -> dict[str, bytes]:
    """Return the bytes of what a stage has written, but for notes and other scratch."""
    return {name: content for name, content in contents(directory).items() if not name.startswith("partial-")}


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[:-1],
    "longer": lambda content: content + b"\0",
    "empty": lambda content: b"",
    "flipped first": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "flipped middle": lambda content: (
        content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 128]) + content[len(content) // 2 + 1 :]
    ),
    "flipped last": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
}

Task = tuple[str, dict[str, object]]
REPORT: Task = ("Report", {})
FILES = (
    ("GenerateScenes", {}, "VOC2012/JPEGImages/train_000003.jpg", [("PrepareImages", {})]),
    ("GenerateScenes", {}, "VOC2012/ImageSets/Main/test.txt", [("PrepareImages", {})]),
    (
        "PrepareImages",
        {},
        "images.h5",
        [
            ("FineTuneTeacher", {}),
            ("DistillStudent", {"loss": "sswa"}),
            ("DumpMaps", {"method": ("random",)}),
            ("RankPixels", MODEL),
            ("EvaluateLocalization", MODEL),
            ("Retrain", {"percent": 0}),
            REPORT,
        ],
    ),
    (
        "FineTuneTeacher",
        {},
        "model.pt",
        [("DistillStudent", {"loss": "sswa"}), ("DumpMaps", {"model": "teacher", "method": ("gradcam",)}), REPORT],
    ),
    ("FineTuneTeacher", {}, "metrics.json", [REPORT]),
    ("DistillStudent", {"loss": "sswa"}, "model.pt", [("DumpMaps", {"model": "sswa", "method": ("gradcam",)})]),
    ("DistillStudent", {"loss": "sswa"}, "scores.npy", [REPORT]),
    (
        "DumpMaps",
        {"model": "sswa", "method": ("gradcam",)},
        "maps.h5",
        [("RankPixels", MODEL), ("EvaluateLocalization", MODEL)],
    ),
    ("DumpMaps", {"model": "teacher", "method": ("gradcam",)}, "maps.h5", [REPORT]),
    ("RankPixels", MODEL, "levels.h5", [("Retrain", {**MODEL, "percent": 30}), REPORT]),
    ("EvaluateLocalization", MODEL, "localization.json", [REPORT]),
    ("Retrain", {**MODEL, "percent": 30}, "metrics.json", [REPORT]),
    ("Retrain", {"percent": 0}, "scores.npy", [REPORT]),
)
"""Family and parameters of a result, one of its files, and who reads it."""


@pytest.mark.parametrize(("family", "parameters", "name", "readers"), FILES)
def test_a_damaged_file_is_no_result_or_is_refused(
    copied: Results, family: str, parameters: dict[str, object], name: str, readers: list[Task]
) -> None:
    """A file of another size makes the task incomplete; one of the same size is found out by whoever reads it."""
    task = copied.task(family, parameters)
    consumers = [copied.task(*reader) for reader in readers]
    path = task.directory / name
    whole = path.read_bytes()
    for consumer in consumers:
        (consumer.directory / MANIFEST).unlink()
    for damage, spoil in DAMAGES.items():
        path.write_bytes(spoil(whole))
        assert task.complete() is (len(spoil(whole)) == len(whole)), damage
        for consumer in consumers:
            before = outputs(consumer.directory)
            with pytest.raises(TaskFailedError, match=r"is damaged: .* `roar verify --full --repair`"):
                consumer.run()
            assert not consumer.complete()
            assert outputs(consumer.directory) == before
    path.unlink()
    assert not task.complete()
    path.write_bytes(whole)
    assert task.complete()


@pytest.mark.parametrize("name", ["report.html", "table.txt", "results.csv", "roar_f1_samples.png"])
def test_a_report_that_was_changed_is_damaged_and_made_anew(copied: Results, ask: Ask, name: str) -> None:
    """No stage reads it and would find out: its contents are compared, at equal size and time too."""
    report = copied.task(*REPORT)
    path = report.directory / name
    whole, stat = path.read_bytes(), path.stat()
    path.write_bytes(DAMAGES["flipped middle"](whole))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert not report.complete()
    assert f"damaged     Report: the content of {name} has changed" in ask("status")
    assert "1" in next(line for line in ask("forecast").splitlines() if line.startswith("Report")).split()
    path.write_bytes(whole)
    assert report.complete()
    path.write_bytes(DAMAGES["flipped middle"](whole))
    if name == "table.txt":
        report.run()
        assert path.read_bytes() == whole
        assert report.complete()


def test_a_report_is_hashed_once_while_it_stays_as_it_is(copied: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    report = copied.task(*REPORT)
    hashed: list[Path] = []
    monkeypatch.setattr(manifests, "sha256_of", lambda path: hashed.append(path) or "")
    assert report.complete()
    assert not hashed
    os.utime(report.path)
    assert not report.complete()
    assert hashed == [report.path]


def test_a_forecast_reads_every_manifest_once(copied: Results, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(copied.task("Report", {}).directory)
    read, manifests_read = Path.read_text, []

    def counted(path: Path, **options: Any) -> str:
        if path.name == MANIFEST:
            manifests_read.append(path)
        return read(path, **options)

    monkeypatch.setattr(Path, "read_text", counted)
    assert "Report" in ask("forecast")
    assert len(manifests_read) == len(set(manifests_read)) == len(list(copied.data.glob(f"runs/*/*/{MANIFEST}")))


@pytest.mark.parametrize(
    ("family", "one", "other", "name", "reader"),
    [
        ("Retrain", {"percent": 0}, {**MODEL, "percent": 30}, "scores.npy", REPORT),
        ("Retrain", {"percent": 0}, {**MODEL, "percent": 30}, "metrics.json", REPORT),
        ("RankPixels", MODEL, {**MODEL, "model": "teacher"}, "levels.h5", ("Retrain", {**MODEL, "percent": 30})),
        (
            "DumpMaps",
            {"model": "sswa", "method": ("gradcam",)},
            {"model": "teacher", "method": ("gradcam",)},
            "maps.h5",
            ("RankPixels", MODEL),
        ),
    ],
)
def test_another_results_file_is_not_taken_for_ones_own(
    copied: Results, family: str, one: dict[str, object], other: dict[str, object], name: str, reader: Task
) -> None:
    task, foreign, consumer = copied.task(family, one), copied.task(family, other), copied.task(*reader)
    (consumer.directory / MANIFEST).unlink()
    own = task.directory / name
    whole = own.read_bytes()
    shutil.copy(foreign.directory / name, own)
    if task.complete():
        with pytest.raises(TaskFailedError, match=f"is damaged: the content of {name} has changed"):
            consumer.run()
    else:
        task.run()
        assert own.read_bytes() == whole
    shutil.copytree(foreign.directory, task.directory, dirs_exist_ok=True)
    assert not task.complete(), "the manifest is another result's"
    task.run()
    assert own.read_bytes() == whole


@pytest.mark.parametrize(
    ("section", "key", "value", "changed"),
    [
        ("retrain", "lr", "0.02", "Retrain Report"),
        ("removal", "tie_seed", "1", "DumpMaps- RankPixels EvaluateLocalization- Retrain- Report"),
        ("maps", "layer", "5", "DumpMaps- RankPixels- EvaluateLocalization- Retrain- Report"),
        ("maps", "steps", "7", ""),
        ("student", "lr", "0.03", "DistillStudent DumpMaps- RankPixels- EvaluateLocalization- Retrain- Report"),
        ("metrics", "void", "background", "EvaluateLocalization Report"),
        ("scenes", "seed", "1", "*"),
        ("dataset", "height", "40", "*"),
        ("execution", "threads", "2", ""),
    ],
)
def test_a_changed_setting_makes_what_it_decides_another_result(
    copied: Results, configure: Configure, section: str, key: str, value: str, changed: str
) -> None:
    """``-`` marks a stage of which some results, the controls' and the clean cell, stay."""
    configure(section, **{key: value})
    todo: dict[str, list[bool]] = {}
    for task in closure(tasks.Report()).values():
        todo.setdefault(task.task_family, []).append(not task.complete())
    if changed == "*":
        kept = {"GenerateScenes"} if section == "dataset" else set()
        assert {family for family, each in todo.items() if not all(each)} == kept
    else:
        marked = {family + ("" if all(each) else "-") for family, each in todo.items() if any(each)}
        assert marked == set(changed.split())


def test_a_raised_version_of_a_stage_makes_it_and_what_follows_anew(
    copied: Results, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.RankPixels, "version", 99)
    configure("retrain")
    todo = {task.task_family for task in closure(tasks.Report()).values() if not task.complete()}
    assert todo == {"RankPixels", "Retrain", "Report"}
    assert tasks.Retrain(percent=0).complete()


@pytest.mark.parametrize("name", ["JPEGImages/train_1.jpg", "Annotations/test_2.xml", "SegmentationClass/test_0.png"])
def test_a_changed_file_of_a_data_set_is_another_data_set(tmp_path: Path, configure: Configure, name: str) -> None:
    """Even of the same size and time."""
    root = write_voc_folder(tmp_path / "voc")
    changes = {"root": root, "classes": ", ".join(CLASSES), "height": 32, "width": 32}
    configure("dataset", **changes)
    before = tasks.PrepareImages()
    before.run()
    path = root / name
    content, stamp = bytearray(path.read_bytes()), path.stat()
    content[-9] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    configure("dataset", **changes)
    after = tasks.PrepareImages()
    assert before.complete()
    assert not after.complete()
    assert after.directory != before.directory
    assert tasks.FineTuneTeacher().deps() == [after]


CHECKPOINT = "partial-checkpoint.pt"


@pytest.fixture
def teacher(copied: Results) -> "tasks.FineTuneTeacher":
    """The chain's teacher, of which nothing is left but its log."""
    task = copied.task("FineTuneTeacher", {})
    for path in task.directory.glob("*.*"):
        path.unlink()
    return task


def checkpoint_of(task: "tasks.FineTuneTeacher", folder: Path, **changes: object) -> bytes:
    """Train beside the cache, as another result perhaps, and return the last checkpoint."""
    folder.mkdir()
    stages.train_teacher(folder, **{**task.arguments(), **changes})
    return (folder / CHECKPOINT).read_bytes()


def trained(task: "tasks.FineTuneTeacher", checkpoint: bytes) -> int:
    """Make the teacher from where this checkpoint stands; return how many epochs it took."""
    task.directory.mkdir(exist_ok=True)
    (task.directory / CHECKPOINT).write_bytes(checkpoint)
    task.run()
    assert task.complete()
    log = task.directory / "log" / "attempt-2.log"
    return log.read_text(encoding="utf-8").count(", loss ")


def test_only_ones_own_whole_checkpoint_is_gone_on_from(
    teacher: "tasks.FineTuneTeacher", chain: Workplace, tmp_path: Path
) -> None:
    undisturbed = contents(chain.results("FineTuneTeacher")[0])
    own = checkpoint_of(teacher, tmp_path / "own")
    recipe = teacher.arguments()["teacher"]
    foreign = {
        "seed": checkpoint_of(
            teacher, tmp_path / "seed", seed=1, fingerprint=tasks.FineTuneTeacher(seed=1).fingerprint
        ),
        "lr": checkpoint_of(
            teacher, tmp_path / "lr", teacher=dataclasses.replace(recipe, lr=0.02), fingerprint="f" * 64
        ),
        "text": b"not a checkpoint",
        "huge head": b"roar-pipeline sealed 1\n" + b"x" * 100_000,
    }
    damaged = {damage: DAMAGES[damage](own) for damage in ("cut", "empty", "flipped first", "flipped middle")}
    for name, checkpoint in {"own": own, **foreign, **damaged}.items():
        epochs = trained(teacher, checkpoint)
        assert epochs == (0 if name == "own" else 2), name
        assert contents(teacher.directory) == undisturbed, name
        shutil.rmtree(teacher.directory / "log")
        (teacher.directory / "log").mkdir()
        (teacher.directory / "log" / "attempt-1.log").touch()
        for path in teacher.directory.glob("*.*"):
            path.unlink()
