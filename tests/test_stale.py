"""What is stale or damaged is never read as good: another identity, another result; another byte, no result.

The small chain's own tasks, run in this process on a copy of its results.
"""

import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import SMALL, Workplace, contents
from luigi.configuration import get_config
from luigi.task_register import Register

import tasks
from roar_pipeline.manifests import MANIFEST
from tasks.execution import TaskFailedError
from tasks.settings import data_folder, settings

Configure = Callable[..., None]
MODEL = {"model": "sswa", "method": "gradcam"}


@dataclass(frozen=True)
class Results:
    """A copy of the finished chain's data."""

    data: Path

    def task(self, family: str, **parameters: object) -> "tasks.base.StageTask":
        """Return one of the chain's tasks, done."""
        task = getattr(tasks, family)(**parameters)
        assert task.complete()
        assert task.directory.parent.parent.parent == self.data
        return task


@pytest.fixture
def configure(tmp_path: Path) -> Iterator[Configure]:
    """Set keys as a configuration file would; all is forgotten afterwards."""
    saved = io.StringIO()
    get_config().write(saved)

    def forget() -> None:
        settings.cache_clear()
        data_folder.cache_clear()
        Register.clear_instance_cache()

    def change(section: str, **keys: object) -> None:
        for key, value in keys.items():
            get_config().set(section, key, str(value))
        forget()

    for section, keys in SMALL.items():
        change(section, **keys)
    change("paths", data=tmp_path / "data")
    yield change
    for name in get_config().sections():
        get_config().remove_section(name)
    get_config().read_string(saved.getvalue())
    forget()


@pytest.fixture
def copied(chain: Workplace, configure: Configure, tmp_path: Path) -> Results:
    shutil.copytree(chain.folder / "data", tmp_path / "data")
    return Results(tmp_path / "data")


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

REPORT = ("Report", {})
RANDOM = {"method": "random"}
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
            ("Retrain", {"percent": (0,)}),
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
        [("RankPixels", MODEL), ("EvaluateLocalization", MODEL), REPORT],
    ),
    ("RankPixels", MODEL, "levels.h5", [("Retrain", {**MODEL, "percent": (30,)}), REPORT]),
    ("EvaluateLocalization", MODEL, "localization.json", [REPORT]),
    ("Retrain", {**MODEL, "percent": (30,)}, "metrics.json", [REPORT]),
    ("Retrain", {"percent": (0,)}, "scores.npy", [REPORT]),
)
"""Family and parameters of a result, one of its files, and who reads it."""


@pytest.mark.parametrize(("family", "parameters", "name", "readers"), FILES)
def test_a_damaged_file_is_no_result_or_is_refused(
    copied: Results, family: str, parameters: dict[str, object], name: str, readers: list[tuple[str, dict[str, object]]]
) -> None:
    """A file of another size makes the task incomplete; one of the same size is found out by whoever reads it."""
    task = copied.task(family, **parameters)
    consumers = [copied.task(*reader[:1], **reader[1]) for reader in readers]
    path = task.directory / name
    whole = path.read_bytes()
    for consumer in consumers:
        (consumer.directory / MANIFEST).unlink()
    for damage, spoil in DAMAGES.items():
        path.write_bytes(spoil(whole))
        assert task.complete() is (len(spoil(whole)) == len(whole)), damage
        for consumer in consumers:
            before = outputs(consumer.directory)
            with pytest.raises(TaskFailedError, match="is damaged: .* `python -m tasks verify --full --repair`"):
                consumer.run()
            assert not consumer.complete()
            assert outputs(consumer.directory) == before
    path.unlink()
    assert not task.complete()
    path.write_bytes(whole)
    assert task.complete()
