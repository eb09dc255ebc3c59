"""Where data lie does not matter: spaces, other letters, relative, behind a link, moved away."""

import shutil
import sys
from pathlib import Path

import pytest
from support.workplace import Workplace, contents, finished

from roar_pipeline.cache import inventory

TASKS = (sys.executable, "-m", "tasks")
BAD_INPUT = 40


def made(workplace: Workplace, data: Path) -> set[str]:
    assert inventory.verify(inventory.scan(data), full=True, workers=1) == {}
    return {f"{path.parent.parent.name}/{path.parent.name}" for path in data.glob("runs/*/*/manifest.json")}


def test_moved_elsewhere_nothing_is_to_do_and_a_percentage_can_be_added(chain: Workplace, workplace: Workplace) -> None:
    """To a folder with spaces, a quote and other letters, behind a relative link, on another disk maybe."""
    folder = workplace.folder / "Größe & 図 'quoted'"
    folder.mkdir()
    shutil.copytree(finished(chain), folder / "old data")
    (folder / "old data").rename(folder / "new data")
    (workplace.folder / "link").symlink_to(Path(folder.name, "new data"))
    data = folder / "new data"
    workplace.configure(paths={"data": "link"})
    before = made(workplace, data)
    code, output = workplace.run(*TASKS, "run")
    assert code == 0, output
    assert output.startswith("Nothing to do: the report is done")
    assert output.splitlines()[-1].startswith(f"Report: {data}/runs/Report/")
    code, output = workplace.run(*TASKS, "run", "--percents", "30,45,60", "--models", "teacher")
    assert code == 0, output
    new = sorted(name.split("__")[0] for name in made(workplace, data) - before)
    cells = ("method=gradcam,model=teacher,model_seed=0", "method=random")
    assert new[1:] == [f"Retrain/{cell},percent=45,direction=remove,seed=0" for cell in cells]
    assert new[0].startswith("Report/")
    assert not (workplace.folder / "data").exists()


@pytest.mark.parametrize("data", ["my data/ü 図", "../{name}/data", "{folder}/a b/100 %%", "~/data"])
def test_data_folders_of_all_sorts(
    workplace: Workplace, chain: Workplace, monkeypatch: pytest.MonkeyPatch, data: str
) -> None:
    monkeypatch.setenv("HOME", str(workplace.folder))
    given = data.format(name=workplace.folder.name, folder=workplace.folder)
    data = workplace.folder / Path(given.replace("%%", "%")).expanduser()
    data.parent.mkdir(exist_ok=True)
    workplace.configure(paths={"data": given})
    code, output = workplace.luigi("PrepareImages")
    assert code == 0, output
    names = made(workplace, data)
    for name in names:
        assert contents(data / "runs" / name) == contents(finished(chain) / "runs" / name)
    assert len(names) == 2


def test_a_percent_sign_in_a_configuration_file(workplace: Workplace) -> None:
    workplace.configure(paths={"data": "100 %"})
    code, output = workplace.luigi("PrepareImages")
    assert code == BAD_INPUT
    assert "Mistakes in the settings:\n  - '%' must be followed by" in output
    assert "Write %% for a percent sign." in output
    assert "Traceback" not in output
