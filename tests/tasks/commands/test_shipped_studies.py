"""The files of configs/ are accepted and planned, on tiny folders where they expect their data sets."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.class_folder import write_class_folder
from support.in_process import python_m_tasks
from support.voc_folder import write_voc_folder
from support.workplace import ROOT

STUDIES = sorted((ROOT / "configs").glob("*.cfg"))


def write_folders_with_val(root: Path) -> None:
    write_class_folder(root, {"train": 10, "val": 4})


def write_folders_without_validation(root: Path) -> None:
    write_class_folder(root, {"train": 10, "test": 4})


DATA: dict[str, Callable[[Path], object]] = {
    "camvid": write_voc_folder,
    "cifar10": write_folders_without_validation,
    "cifar10_resnet": write_folders_without_validation,
    "imagenet": write_folders_with_val,
    "voc2012": write_voc_folder,
}
MODELS = {"camvid": 5, "cifar10": 3, "cifar10_resnet": 3, "imagenet": 1, "voc2012": 25}
"""Teachers and students of all seeds."""


def numbers(output: str) -> dict[str, list[int]]:
    """Return by stage the whole numbers that its row of a table begins with."""
    rows = re.findall(r"^([A-Z]\w+)((?: +\d+(?= |$))+)", output, re.MULTILINE)
    return {stage: [int(number) for number in row.split()] for stage, row in rows}


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_shipped_study_is_planned(path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    matched = re.search(r"^root = (.+)$", text, re.MULTILINE)
    assert matched is not None
    DATA[path.stem](tmp_path / matched[1])
    files = {"luigi.cfg": (ROOT / "luigi.cfg").read_text(encoding="utf-8"), "study.cfg": text}
    answers = [python_m_tasks(tmp_path, command, files=files) for command in ("status", "forecast")]
    assert [answer.code for answer in answers] == [0, 0], answers
    status, forecast = (numbers(answer.output) for answer in answers)
    missing = {stage: row[-1] for stage, row in status.items()}
    assert missing == {stage: to_make for stage, (done, to_make) in forecast.items()}
    assert missing["FineTuneTeacher"] + missing.get("DistillStudent", 0) == MODELS[path.stem]
    assert missing["Report"] == 1
    assert re.search(r"About .* with --workers", answers[1].output)
