"""Commands of ``roar`` that show, forecast, repair and clean a cache, on the finished small chain.

Commands run in the test's process, but for those that make a result or are interrupted.
"""

import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.in_process import ask
from support.waiting import until
from support.workplace import Workplace, contents

from roar_pipeline.cache.files import holder

BAD_INPUT = 40
CLEAN = ("Retrain", "--percent", "0", "--seed", "7", "--retrain-epochs", "2000")
"""A cell that no grid has and that takes long."""


def counts(output: str) -> dict[str, str]:
    """Return the counts of the overview's rows, by stage."""
    rows = [line.split() for line in output.splitlines() if re.match(r"[A-Z]\w+ +\d", line)]
    return {row[0]: " ".join(row[1:]) for row in rows}


@pytest.fixture
def chain(pristine: Workplace, tmp_path: Path) -> Workplace:
    """A copy of the small chain for the test alone."""
    copy = Workplace(tmp_path / "commands ü")
    shutil.copytree(pristine.folder, copy.folder)
    return copy


@dataclass(frozen=True)
class Running:
    """A cell that a process is making."""

    workplace: Workplace
    process: "subprocess.Popen[str]"
    directory: Path

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()


@pytest.fixture
def running(chain: Workplace) -> Iterator[Running]:
    process = chain.start(*CLEAN)

    def progress_notes() -> list[Path]:
        notes = (chain.folder / "data/runs/Retrain").glob("percent=0,seed=7__*/partial-progress.json")
        return [note for note in notes if json.loads(note.read_text(encoding="utf-8"))["seconds_left"]]

    cell = Running(chain, process, until("the cell trains", progress_notes)[0].parent)
    yield cell
    cell.kill()


@pytest.mark.parametrize(
    "command", ["run", "status", "forecast", "logs", "invalidate", "restore", "gc", "verify", "pages"]
)
def test_every_command_has_help(workplace: Workplace, command: str) -> None:
    output = ask(workplace, command, "--help")
    assert output.startswith(f"usage: python -m tasks {command}")
    assert not (workplace.folder / "data").exists()


def test_status_of_an_empty_cache_says_what_results_wait_for(workplace: Workplace) -> None:
    output = ask(workplace, "status")
    assert counts(output)["Retrain"] == "8 8"
    assert "missing     21 x: waits for GenerateScenes (missing)" in output
    assert "missing     1 x: not made yet" in output
    assert not (workplace.folder / "data").exists()


def test_status_of_a_finished_grid(pristine: Workplace) -> None:
    output = ask(pristine, "status")
    assert counts(output) == {
        **dict.fromkeys(("GenerateScenes", "PrepareImages", "FineTuneTeacher", "DistillStudent", "Report"), "1 1"),
        **dict.fromkeys(("DumpMaps", "RankPixels", "EvaluateLocalization"), "3 3"),
        "Retrain": "8 8",
    }
    assert ask(pristine, "status", "Retrain").count("done        Retrain ") == 8


def test_status_tree(pristine: Workplace) -> None:
    lines = ask(pristine, "status", "--depth", "1").splitlines()
    assert lines[0] == "done Report"
    assert "├── done DistillStudent loss=sswa reduction=2 seed=0" in lines
    assert len(lines) == 1 + 17
    assert "│   ├── done PrepareImages" in ask(pristine, "status", "Retrain", "--depth", "2")


def test_status_names_the_settings_that_differ_from_an_existing_result(pristine: Workplace) -> None:
    output = ask(pristine, "status", "Retrain", "--retrain-lr", "0.05")
    assert "there is one with other settings: retrain.lr 0.04 -> 0.05" in output
    assert "done " not in output


def test_status_says_when_code_or_libraries_have_changed(chain: Workplace) -> None:
    manifest = chain.results("FineTuneTeacher")[0] / "manifest.json"
    before = manifest.read_text(encoding="utf-8")
    assert "Changed since" not in ask(chain, "status", "FineTuneTeacher")
    changed = json.loads(before)
    changed["versions"]["torch"], changed["code"] = "2.0", "0123456789ab"
    manifest.write_text(json.dumps(changed), encoding="utf-8")
    try:
        output = ask(chain, "status", "FineTuneTeacher")
    finally:
        manifest.write_text(before, encoding="utf-8")
    assert output.startswith("done        FineTuneTeacher seed=0")
    assert re.search(r"torch 2\.0 -> \d", output)
    assert "code 0123456789ab" in output


def test_commands_on_a_running_cell_and_after_its_kill(running: Running) -> None:
    workplace, name = running.workplace, running.directory.name
    options = ("--percents", "30", "--seeds", "7", "--models", "teacher", "--retrain-epochs", "2000")
    output = ask(workplace, "status", "Retrain", *options)
    line = next(line for line in output.splitlines() if line.startswith("running"))
    assert re.search(
        r"percent=0 seed=7: pid \d+ on \S+ since \d\d:\d\d:\d\d: epoch \d+/2000.*, about [\d:]+ left", line
    )
    log = ask(workplace, "logs", name)
    assert "again, alone: " in log
    assert re.search(r"epoch 1/2000, loss [\d.]+, [\d,]+ images/s", log)
    refusal = ask(workplace, "invalidate", "Retrain", "--where", "seed=7", "--yes", code=1)
    assert f"left, as another process is making it or has made it anew: Retrain/{name}" in refusal
    check_followed_log(running)
    running.kill()
    until("no process holds the cell's lock", lambda: holder(running.directory) is None)
    output = ask(workplace, "status", "Retrain", *options)
    assert re.search(r"interrupted +Retrain percent=0 seed=7: began .*, reached epoch \d+/2000", output)
    garbage = ask(workplace, "gc")
    assert re.search(r"MB  Retrain/percent=0,seed=7__\w+  \(of another grid, unfinished\)", garbage)


def check_followed_log(running: Running) -> None:
    """Follow the cell's log for five epochs, then end the command by Ctrl-C."""
    follower = subprocess.Popen(
        [sys.executable, "-m", "tasks", "logs", running.directory.name, "-f"],
        cwd=running.workplace.folder,
        env=running.workplace.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert follower.stdout is not None
    epochs = 0
    while epochs < 5 and (line := follower.stdout.readline()):
        epochs += "epoch " in line
    follower.send_signal(signal.SIGINT)
    _, errors = follower.communicate(timeout=10)
    assert epochs == 5
    assert errors == ""
    assert follower.returncode == 0


def test_logs_of_a_stage_and_of_an_unknown_name(pristine: Workplace) -> None:
    assert ask(pristine, "logs", "DumpMaps").count("==> ") == 3
    assert "is neither a stage" in ask(pristine, "logs", "nonsense", code=BAD_INPUT)


def test_forecast_from_similar_results_and_without_any(pristine: Workplace, workplace: Workplace) -> None:
    output = ask(pristine, "forecast", "--seeds", "0,1", "--workers", "2")
    row = next(line for line in output.splitlines() if line.startswith("Retrain"))
    assert re.match(r"Retrain +8 +8 +\d\d:\d\d +\d\d:\d\d +\d+ .?B +7 similar results", row)
    assert re.search(r"About [\d:]+ with --workers 2 \([\d:]+ of work\), \d+ .?B of disk \(\d+ .B free\)", output)
    assert re.search(r"DumpMaps +3 +3 .*2 similar results", output)
    assert re.search(r"Retrain .* similar results, scaled", ask(pristine, "forecast", "--retrain-epochs", "3"))
    assert "Nothing to do" in ask(pristine, "forecast")
    guessed = ask(workplace, "forecast")
    assert "Guessed, as no similar results exist yet: GenerateScenes" in guessed
    assert not (workplace.folder / "data").exists()


def test_forecast_adds_the_seconds_of_similar_cells(pristine: Workplace) -> None:
    """A clean cell is similar to the clean one; the others take the median of the others."""
    output = ask(pristine, "forecast", "--seeds", "0,1")
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for directory in pristine.results("Retrain"):
        manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
        seconds[directory.name.startswith("percent=0,")].append(manifest["seconds"])
    expected = seconds[True][0] + 7 * statistics.median(seconds[False])
    match = re.search(r"Retrain +8 +8 +\S+ +(\d\d):(\d\d)", output)
    assert match is not None
    assert int(match[1]) * 60 + int(match[2]) == pytest.approx(expected, abs=1)


def test_invalidate_and_restore(chain: Workplace) -> None:
    (teacher,) = chain.results("FineTuneTeacher")
    before, all_counts = contents(teacher), chain.counts()
    preview = ask(chain, "invalidate", "FineTuneTeacher", "--dry-run")
    assert "Sets aside: 1 FineTuneTeacher" in preview
    assert "and what was built on it: 1 DistillStudent, 2 DumpMaps, 2 RankPixels, 2 EvaluateLocalization" in preview
    assert chain.counts() == all_counts
    assert "add --yes" in ask(chain, "invalidate", "FineTuneTeacher", code=BAD_INPUT)
    assert chain.counts() == all_counts
    output = ask(chain, "invalidate", "FineTuneTeacher", "--yes")
    name = output.split("roar restore ")[1].strip()
    try:
        assert chain.counts()["FineTuneTeacher"] == 0
        assert chain.counts()["PrepareImages"] == 1
        status = ask(chain, "status", "FineTuneTeacher")
        assert f"set aside: invalidate FineTuneTeacher (roar restore {name})" in status
        assert f"{name} " in ask(chain, "restore", "list")
    finally:
        assert "Brought back" in ask(chain, "restore")
    assert chain.counts() == all_counts
    assert contents(teacher) == before
    assert "Nothing to do" in ask(chain, "run")
    assert not list((chain.folder / "data/trash").iterdir())


def test_invalidate_by_condition_and_without_downstream(pristine: Workplace) -> None:
    words = ("invalidate", "RankPixels", "--where", "model=sswa", "--no-downstream")
    assert "Sets aside: 1 RankPixels\n" in ask(pristine, *words, "--dry-run")
    assert "built on it" not in ask(pristine, *words, "--dry-run")
    assert "2 Retrain" in ask(pristine, *words[:-1], "--dry-run")
    setting = ask(pristine, "invalidate", "Retrain", "--where", "retrain.lr=0.04", "percent=30", "--dry-run")
    assert "percent=30" in setting
    assert "percent=60" not in setting
    wrong = ask(pristine, "invalidate", "Retrain", "--where", "color=red", code=BAD_INPUT)
    assert "--where color: no such parameter or setting. Known: direction," in wrong
    assert "give key=value" in ask(pristine, "invalidate", "Retrain", "--where", "percent", code=BAD_INPUT)
    assert "unknown stage 'Retrian'" in ask(pristine, "invalidate", "Retrian", code=BAD_INPUT)
    assert "No result of Retrain meets these conditions" in ask(
        pristine, "invalidate", "Retrain", "--where", "percent=99", code=BAD_INPUT
    )


def test_restore_does_not_overwrite_a_result_that_was_made_anew(chain: Workplace, pristine: Workplace) -> None:
    (directory,) = [d for d in chain.results("Retrain") if d.name.startswith("percent=0,seed=0__")]
    ask(chain, "invalidate", "Retrain", "--where", "percent=0", "seed=0", "--no-downstream", "--yes")
    assert not directory.exists()
    shutil.copytree(pristine.folder / directory.relative_to(chain.folder), directory)
    newer = (directory / "manifest.json").read_bytes().replace(b'"host": "', b'"host": "another ')
    (directory / "manifest.json").write_bytes(newer)
    output = ask(chain, "restore")
    assert "Brought back 0 results" in output
    assert f"left in the trash: Retrain/{directory.name}: it has been made anew" in output
    assert (directory / "manifest.json").read_bytes() == newer
    ask(chain, "gc", "--remove", "--trash", "--yes", "--config", str(chain.folder / "overlay.cfg"))
    assert ask(chain, "restore", "list") == ""


def test_gc_deletes_results_that_no_settings_reach(chain: Workplace) -> None:
    overlay = (chain.folder / "overlay.cfg").read_text(encoding="utf-8")
    other = chain.folder / "other ü.cfg"
    for path, percents in ((chain.folder / "overlay.cfg", "30"), (other, "60")):
        path.write_text(overlay.replace("percents = 30, 60", f"percents = {percents}"), encoding="utf-8")
    output = ask(chain, "gc")
    assert "Retrain/method=random,percent=60" in output
    assert "percent=30" not in output
    assert "percent=60" not in ask(chain, "gc", "--config", str(other))
    assert "there is no such file" in ask(chain, "gc", "--config", "nowhere.cfg", code=BAD_INPUT)
    before = chain.counts()
    assert "Deleted" in ask(chain, "gc", "--remove", "--yes")
    assert chain.counts() == {**before, "Retrain": 5, "Report": 0}
    assert "percent=60" not in ask(chain, "gc")
    assert counts(ask(chain, "status"))["Retrain"] == "5 5"


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone", "manifest", "rows"])
def test_verify_names_the_damaged_result_and_repairs_only_that(chain: Workplace, damage: str) -> None:
    (directory,) = [d for d in chain.results("RankPixels") if d.name.startswith("method=random")]
    path = directory / "levels.h5"
    content, manifest = path.read_bytes(), (directory / "manifest.json").read_bytes()
    middle = len(content) // 2
    stamps = {p: p.stat().st_mtime_ns for p in (chain.folder / "data/runs").rglob("manifest.json")}
    assert "are whole (sizes and shapes)" in ask(chain, "verify")
    assert "are whole (contents and sizes)" in ask(chain, "verify", "--full")
    spoil = {
        "cut": lambda: path.write_bytes(content[:-1]),
        "flip": lambda: path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]),
        "empty": lambda: path.write_bytes(b""),
        "gone": path.unlink,
        "manifest": lambda: (directory / "manifest.json").write_bytes(manifest[:100]),
        "rows": lambda: (directory / "manifest.json").write_bytes(manifest.replace(b'"tie_seed": 0', b'"tie_seed": 1')),
    }[damage]
    spoil()
    if damage == "flip":
        ask(chain, "verify")
    output = ask(chain, "verify", "--full", code=1)
    assert output.startswith(f"RankPixels/{directory.name}: ")
    assert "1 of " in output
    ask(chain, "verify", "--full", "--repair", "--yes")
    assert not directory.exists()
    ask(chain, "verify", "--full")
    if damage == "flip":
        code, output = chain.run(sys.executable, "-m", "tasks", "run")
        assert code == 0, output
        assert path.read_bytes() == content
        assert "Nothing to do" in ask(chain, "run")
    changed = {p for p, stamp in stamps.items() if not p.exists() or p.stat().st_mtime_ns != stamp}
    assert changed == {directory / "manifest.json"}


def test_status_of_a_damaged_result(chain: Workplace) -> None:
    (directory,) = chain.results("DistillStudent")
    content = (directory / "model.pt").read_bytes()
    (directory / "model.pt").write_bytes(content[:-1])
    try:
        output = ask(chain, "status")
    finally:
        (directory / "model.pt").write_bytes(content)
    assert re.search(r"damaged +DistillStudent .*model\.pt has [\d,]+ bytes, not [\d,]+", output)
    assert "verify --repair" in output


def test_unknown_options_and_stages_are_named(workplace: Workplace) -> None:
    assert "unknown stage 'retrain'. Known: GenerateScenes" in ask(workplace, "status", "retrain", code=BAD_INPUT)
    assert "nothing set aside" in ask(workplace, "restore", code=BAD_INPUT)
    assert ask(workplace, "verify") == "0 results are whole (sizes and shapes). 0 are unfinished.\n"


def test_the_commands_import_no_torch() -> None:
    code = "import sys, tasks.__main__; print(sorted({'torch', 'h5py', 'sklearn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
