"""The chain as its users run it: real Luigi processes on a small generated set."""

import csv
import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score
from support.workplace import Workplace, contents

from roar_pipeline.cache.manifests import read_manifest
from roar_pipeline.datasets import images
from roar_pipeline.removal.level_store import read_levels

CELL = ("Retrain", "--model", "sswa", "--method", "gradcam", "--percent", "60", "--seed", "0")


def cells(workplace: Workplace) -> dict[str, Path]:
    return {p.name.split("__")[0]: p for p in workplace.results("Retrain")}


def test_every_stage_once_and_nothing_twice(chain: Workplace) -> None:
    """The clean cell and the random control exist once, not once per model."""
    assert chain.counts() == {
        "DistillStudent": 1,
        "DumpMaps": 3,
        "EvaluateLocalization": 3,
        "FineTuneTeacher": 1,
        "GenerateScenes": 1,
        "PrepareImages": 1,
        "RankPixels": 3,
        "Report": 1,
        "Retrain": 2 + 3 * 2,
    }


def test_the_run_shows_how_far_it_is_and_ends_with_table_and_path(chain: Workplace) -> None:
    output = (chain.folder / "output.txt").read_text(encoding="utf-8")
    lines = output.splitlines()
    assert any(line.startswith("[1/22] GenerateScenes") and "left)" in line for line in lines)
    assert any(line.startswith("[22/22] Report") for line in lines)
    assert "SSWA" in output
    report = Path(lines[-1].removeprefix("Report: "))
    assert report.is_file()
    assert "Traceback" not in output


def test_a_second_run_runs_nothing_and_says_so(chain: Workplace) -> None:
    before = {p: p.stat().st_mtime_ns for p in (chain.folder / "data" / "runs").rglob("*")}
    code, output = chain.run(sys.executable, "-m", "tasks", "run", "--workers", "2")
    assert code == 0
    assert output.startswith("Nothing to do: the report is done, and so are the 17 results that it shows.\n")
    assert output.splitlines()[-1].startswith("Report: ")
    assert {p: p.stat().st_mtime_ns for p in (chain.folder / "data" / "runs").rglob("*")} == before


def test_a_deleted_cell_is_made_again_by_the_report(chain: Workplace) -> None:
    directory = cells(chain)["percent=0,seed=0"]
    before, report = contents(directory), contents(chain.results("Report")[0])
    shutil.rmtree(directory)
    code, output = chain.run(sys.executable, "-m", "tasks", "run")
    assert code == 0, output
    assert "[22/22] Retrain percent=0 seed=0" in output
    assert contents(directory) == before
    assert contents(chain.results("Report")[0]) == report


def test_results_have_a_row_per_cell_with_settings_and_audits(chain: Workplace) -> None:
    (report,) = chain.results("Report")
    with (report / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    clean = [row for row in rows if row["percent"] == "0"]
    assert len(clean) == 1
    assert clean[0]["method"] == clean[0]["model"] == ""
    for row in rows:
        assert 0 <= float(row["f1_samples"]) <= 1
        assert len(row["fingerprint"]) == 64
        assert row["retrain.lr"] == "0.04"
        assert row["dataset.height"] == "32"
        assert row["distillation.drop"] == ("0.3" if row["model"] == "sswa" else "")
        if row["percent"] not in ("0", "100"):
            pixels = 32 * 32
            exact = 100 * round(int(row["percent"]) * pixels / 100) / pixels
            assert float(row["actual_percent_train"]) == pytest.approx(exact)
            assert float(row["actual_percent_test"]) == pytest.approx(exact)


def test_the_report_is_one_file_that_needs_no_network(chain: Workplace) -> None:
    (report,) = chain.results("Report")
    page = (report / "report.html").read_text(encoding="utf-8")
    for figure in report.glob("*.png"):
        assert figure.stat().st_size > 1000
    assert page.count("data:image/png;base64,") >= 2
    assert 'src="http' not in page
    assert "<link" not in page


def test_metrics_of_a_cell_are_scikit_learns(chain: Workplace) -> None:
    directory = cells(chain)["method=random,percent=30,direction=remove,seed=0"]
    stored = json.loads((directory / "metrics.json").read_text(encoding="utf-8"))["test"]
    scores = np.load(directory / "scores.npy")
    (prepared,) = chain.results("PrepareImages")
    labels = images.read_split(prepared / "images.h5", "test").labels
    seen = labels.any(0)
    assert stored["map_classes"] == pytest.approx(average_precision_score(labels[:, seen], scores[:, seen]))
    assert stored["map_samples"] == pytest.approx(average_precision_score(labels, scores, average="samples"))
    predicted = scores >= 0
    assert stored["f1_samples"] == pytest.approx(f1_score(labels, predicted, average="samples", zero_division=0))


def test_manifest_tells_what_the_result_is(chain: Workplace) -> None:
    directory = cells(chain)["method=gradcam,model=sswa-2,model_seed=0,percent=30,direction=remove,seed=0"]
    manifest = read_manifest(directory)
    assert manifest is not None
    assert directory.name.endswith(manifest["fingerprint"][:12])
    identity = manifest["identity"]
    assert identity["stage"] == "Retrain"
    assert identity["settings"]["retrain"]["epochs"] == 1
    assert "execution" not in identity["settings"]
    inputs = {
        (read_manifest(p) or {})["fingerprint"] for f in ("PrepareImages", "RankPixels") for p in chain.results(f)
    }
    assert set(identity["inputs"]) <= inputs
    assert set(manifest["files"]) == {"metrics.json", "scores.npy"}
    assert {"torch", "numpy"} <= set(manifest["versions"])
    assert manifest["device"] == "cpu"


def test_removal_sets_are_nested_and_exact(chain: Workplace) -> None:
    """On what the chain stored: what is gone at a percentage is gone at every higher one."""
    for directory in chain.results("RankPixels"):
        for split in ("train", "test"):
            levels = read_levels(directory / "levels.h5", split).levels
            assert levels.dtype == np.uint8
            for percent in range(0, 101, 10):
                assert ((levels <= percent).sum((1, 2)) == round(percent * 1024 / 100)).all()


def test_one_more_percentage_runs_its_cells_and_a_new_report(chain: Workplace) -> None:
    before = chain.counts()
    code, output = chain.luigi("Report", "--percents", "30,60,80", "--workers", "2")
    assert code == 0, output
    after = chain.counts()
    assert {k: after[k] - before[k] for k in after if after[k] != before[k]} == {"Report": 1, "Retrain": 3}


def test_controls_probes_and_longer_cells_grow_beside_the_rest(chain: Workplace) -> None:
    before = chain.counts()
    code, output = chain.luigi(
        *("Report", "--methods", "gradcam,center", "--shuffled", "sswa", "--workers", "2"),
        *("--probe-percents", "60", "--longer-percents", "60"),
    )
    assert code == 0, output
    after = chain.counts()
    assert {k: after[k] - before.get(k, 0) for k in after if after[k] != before.get(k, 0)} == {
        "DumpMaps": 1,
        "EvaluateLocalization": 1,
        "ProbeMasks": 2,
        "RankPixels": 2,
        "Report": 1,
        "Retrain": 2 + 2 + 3,
    }
    report = max(chain.results("Report"), key=lambda path: (path / "manifest.json").stat().st_mtime_ns)
    text = (report / "table.txt").read_text(encoding="utf-8")
    assert "Shuffled (SSWA)" in text
    assert "undecided: Grad-CAM removal" in text or "hardly above" in (report / "report.html").read_text()
    for name, count in (("probes.csv", 2), ("longer.csv", 3)):
        with (report / name).open(encoding="utf-8", newline="") as file:
            assert len(list(csv.DictReader(file))) == count


def test_another_learning_rate_makes_a_new_result_beside_the_old(chain: Workplace) -> None:
    before = chain.counts()
    assert chain.luigi(*CELL, "--retrain-lr", "0.02")[0] == 0
    after = chain.counts()
    assert {k: after[k] - before[k] for k in after if after[k] != before[k]} == {"Retrain": 1}
    rates = [
        (read_manifest(p) or {})["identity"]["settings"]["retrain"]["lr"]
        for p in chain.results("Retrain")
        if p.name.startswith("method=gradcam,model=sswa-2,model_seed=0,percent=60")
    ]
    assert sorted(rates) == [0.02, 0.04]


def test_the_same_cell_again_gives_the_same_bytes(chain: Workplace) -> None:
    directory = cells(chain)["method=gradcam,model=sswa-2,model_seed=0,percent=60,direction=remove,seed=0"]
    before = contents(directory)
    (directory / "manifest.json").unlink()
    code, output = chain.luigi(*CELL)
    assert code == 0, output
    assert contents(directory) == before


def test_one_cell_makes_just_what_it_needs(workplace: Workplace) -> None:
    code, output = workplace.luigi(
        "Retrain", "--model", "plain", "--method", "gradcam", "--percent", "50", "--seed", "3", "--workers", "2"
    )
    assert code == 0, output
    assert workplace.counts() == {
        "DistillStudent": 1,
        "DumpMaps": 1,
        "GenerateScenes": 1,
        "PrepareImages": 1,
        "RankPixels": 1,
        "Retrain": 1,
    }
    (cell,) = workplace.results("Retrain")
    assert cell.name.startswith("method=gradcam,model=plain-2,model_seed=3,percent=50,direction=remove,seed=3__")


def test_keep_and_remove_are_complements(chain: Workplace) -> None:
    code, output = chain.luigi("Retrain", "--method", "random", "--percent", "30", "--direction", "keep", "--seed", "0")
    assert code == 0, output
    kept = json.loads((cells(chain)["method=random,percent=30,direction=keep,seed=0"] / "metrics.json").read_text())
    assert kept["removal"]["asked_percent"] == 70
    assert kept["removal"]["actual_percent_test"] == pytest.approx(100 * (1024 - 307) / 1024)


@pytest.mark.parametrize(
    "family",
    [
        "GenerateScenes",
        "PrepareImages",
        "FineTuneTeacher",
        "DistillStudent",
        "DumpMaps",
        "RankPixels",
        "Retrain",
        "ProbeMasks",
        "EvaluateLocalization",
        "Report",
    ],
)
def test_help_is_quick_and_describes_every_parameter(workplace: Workplace, family: str) -> None:
    started = time.monotonic()
    code, output = workplace.run(str(Path(sys.executable).parent / "luigi"), "--module", "tasks", family, "--help")
    assert time.monotonic() - started < 5
    assert code == 0
    import tasks

    for name, parameter in getattr(tasks, family).get_params():
        assert f"--{name.replace('_', '-')}" in output
        assert parameter.description


def test_luigis_process_stays_free_of_torch() -> None:
    import subprocess

    code = "import sys, tasks; print(sorted({'torch', 'torchvision', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
