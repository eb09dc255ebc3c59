"""The results that ``invalidate --where`` chooses."""

import json
from pathlib import Path

import pytest

from roar_pipeline.errors import InputError
from tasks.chain.report import Report
from tasks.commands import invalidate


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write manifests of cells: two students, three percentages."""
    monkeypatch.setattr(invalidate, "data_folder", lambda: tmp_path)
    monkeypatch.setattr(invalidate, "directory_names", lambda report: set())
    for model in ("sswa/4", "ewa/4"):
        for percent in (30, 50, 70):
            name = f"model={model.replace('/', '-')},percent={percent}__{percent:012}"
            parameters = {"model": model, "percent": str(percent)}
            identity = {"stage": "Retrain", "parameters": parameters, "settings": {"retrain": {"lr": 0.1}}}
            directory = tmp_path / "runs" / "Retrain" / name
            directory.mkdir(parents=True)
            manifest = {"identity": identity, "fingerprint": f"{percent:012}", "files": {}}
            (directory / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def chosen(capsys: pytest.CaptureFixture[str], *where: str) -> list[str]:
    """Return the labels of the results that would be set aside; none is of the grid."""
    assert invalidate.invalidate(Report(), "Retrain", where, downstream=False, dry_run=True, yes=True) == 0
    lines = capsys.readouterr().out.splitlines()
    return sorted(line.strip().removeprefix("Retrain/").partition("__")[0] for line in lines if "Retrain/" in line)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (
            ["percent=30", "percent=70"],
            ["model=ewa-4,percent=30", "model=ewa-4,percent=70", "model=sswa-4,percent=30", "model=sswa-4,percent=70"],
        ),
        (["percent=70", "model=sswa", "percent=30"], ["model=sswa-4,percent=30", "model=sswa-4,percent=70"]),
        (["model=sswa", "model=ewa/4", "percent=50"], ["model=ewa-4,percent=50", "model=sswa-4,percent=50"]),
        (["percent=30", "percent=99", "model=ewa"], ["model=ewa-4,percent=30"]),
        (["percent=50", "model=sswa", "retrain.lr=0.1"], ["model=sswa-4,percent=50"]),
    ],
)
def test_any_value_of_a_key_and_all_keys_must_match(
    where: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert chosen(capsys, *where) == expected


def test_a_value_that_no_result_has(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="No result of Retrain meets these conditions"):
        chosen(capsys, "retrain.lr=0.1", "retrain.lr=0.2", "percent=31")
