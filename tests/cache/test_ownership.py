"""What this project has not made is never moved or deleted: other folders among the results, and all behind links."""

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.workplace import Ask, Results

from roar_pipeline.cache import inventory, trash
from roar_pipeline.cache.manifests import MANIFEST

REPORT_OF_OTHERS = ("--percents", "30")
"""A grid that does not reach most of what the small chain has made."""


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, but for lock files."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def newest(family: Path, pattern: str = "*") -> Path:
    return next(path for path in sorted(family.glob(pattern)) if (path / MANIFEST).exists())


def plant(data: Path) -> dict[str, Path]:
    """Put among the results what people put there; return the folders that must stay as they are."""
    runs, outside = data / "runs", data.parent / "P"
    (outside / "thesis").mkdir(parents=True)
    (outside / "thesis" / "chapter.tex").write_text("years of work")
    (runs / "Old").symlink_to(outside)
    (runs / "notes" / "ideas").mkdir(parents=True)
    (runs / "notes" / "ideas" / "one.md").write_text("an idea")
    cell = newest(runs / "Retrain")
    (runs / "Retrain" / "drafts").mkdir()
    (runs / "Retrain" / "drafts" / "manifest.json").write_text(json.dumps({"name": "a web page"}))
    shutil.copytree(cell, runs / "Retrain" / f"{cell.name} backup")
    (runs / "Retrain" / ("mine__" + "a" * 12)).mkdir()
    (runs / "Retrain" / ("mine__" + "a" * 12) / "table.ods").write_text("numbers")
    elsewhere = data.parent / "another disk" / "percent=1__000000000000"
    shutil.copytree(newest(runs / "RankPixels"), elsewhere)
    (runs / "RankPixels" / elsewhere.name).symlink_to(elsewhere)
    return {
        "a family that is a link": outside,
        "no family": runs / "notes",
        "no result's name": runs / "Retrain" / "drafts",
        "a copy": runs / "Retrain" / f"{cell.name} backup",
        "no manifest": runs / "Retrain" / ("mine__" + "a" * 12),
        "a result that is a link": elsewhere,
    }


def test_gc_leaves_what_is_not_of_this_project_and_names_it(copied: Results, ask: Ask) -> None:
    strange = plant(copied.data)
    before = {name: tree(path) for name, path in strange.items()}
    cells = len(list((copied.data / "runs/Retrain").glob(f"*/{MANIFEST}")))
    output = ask("gc", "--remove", "--trash", "--yes", *REPORT_OF_OTHERS)
    assert "Deleted " in output
    assert len(list((copied.data / "runs/Retrain").glob(f"*/{MANIFEST}"))) < cells
    assert {name: tree(path) for name, path in strange.items()} == before
    runs = copied.data / "runs"
    assert (runs / "Old").is_symlink()
    assert (runs / "RankPixels" / "percent=1__000000000000").is_symlink()
    for path, why in [
        ("Old", f"it is a link to {copied.data.parent / 'P'}"),
        ("notes", "it has not the name of a stage"),
        ("Retrain/drafts", "it has not the name of a result"),
        ("Retrain/mine__aaaaaaaaaaaa", "no manifest and no note on an attempt says what it is"),
        ("RankPixels/percent=1__000000000000", f"{runs}/RankPixels/percent=1__000000000000 is a link to "),
    ]:
        assert f"Left alone: runs/{path}: {why}" in output
        assert output.index(f"Left alone: runs/{path}:") < output.index("Deleted ")
    assert " backup: it has not the name of a result" in output


def test_what_goes_of_another_grid_is_named_as_such_before_the_question(copied: Results, ask: Ask) -> None:
    (other,) = (copied.data / "runs/Retrain").glob("*model=sswa*percent=60*")
    for words in (("gc", "--remove"), ("invalidate", "Retrain", "--where", "percent=60")):
        output = ask(*words, *REPORT_OF_OTHERS, code=40)
        assert f"Retrain/{other.name}  (of another grid)" in output
        assert output.index(other.name) < output.index("There is no terminal to ask on")
        assert (other / MANIFEST).exists()
    output = ask("invalidate", "Retrain", "--where", "percent=60", "--dry-run")
    assert f"Retrain/{other.name}\n" in output
    (other / "scores.npy").write_bytes(b"")
    output = ask("verify", "--repair", *REPORT_OF_OTHERS, code=40)
    assert f"Retrain/{other.name}: scores.npy has 0 bytes" in output
    assert "(of another grid)" in output


@pytest.mark.parametrize("linked", ["runs", "family", "result"])
@pytest.mark.parametrize(
    "words", [("gc", "--remove"), ("invalidate", "Retrain", "--no-downstream"), ("verify", "--repair"), ("restore",)]
)
def test_nothing_is_moved_or_deleted_through_a_link(
    copied: Results, ask: Ask, words: tuple[str, ...], linked: str
) -> None:
    runs = copied.data / "runs"
    (cell,) = (runs / "Retrain").glob("*model=sswa*percent=60*")
    (cell / "scores.npy").write_bytes(b"")
    if words[0] == "restore":
        ask("invalidate", "Retrain", "--where", "percent=60", "model=sswa", "--no-downstream", "--yes")
    place = {"runs": runs, "family": cell.parent, "result": cell}[linked]
    away = copied.data.parent / "away"
    if place.exists():
        place.rename(away)
    else:
        shutil.copytree(newest(runs / "RankPixels"), away)
    place.symlink_to(away)
    before = tree(away)
    if words[0] == "gc":
        output = ask(*words, "--yes", *REPORT_OF_OTHERS)
    elif words[0] == "restore":
        output = ask(*words)
        assert "Brought back 0 results" in output
    else:
        output = ask(*words, "--yes", code=1 if linked != "result" or words[0] == "verify" else 0)
    assert f"{place.name} is a link to {away}" in output or f"{place.name}: it is a link to {away}" in output
    assert tree(away) == before
    assert place.is_symlink()


def test_the_trash_keeps_what_was_not_set_aside(copied: Results, ask: Ask) -> None:
    ask("invalidate", "Retrain", "--where", "percent=60", "--yes")
    (place,) = (copied.data / "trash").iterdir()
    mine = [copied.data / "trash/keep/notes/ideas", place / "notes/ideas", place / "Retrain" / "drafts"]
    for folder in mine:
        folder.mkdir(parents=True)
        (folder / "one.md").write_text("an idea")
    (place / "Retrain" / ("l__" + "b" * 12)).symlink_to(mine[0])
    (copied.data / "trash/readme.txt").write_text("mine")
    ask("gc", "--remove", "--trash", "--yes")
    assert [(folder / "one.md").read_text() for folder in mine] == ["an idea"] * 3
    assert not list(place.glob(f"*/*/{MANIFEST}"))
    assert (copied.data / "trash/readme.txt").exists()
    assert [entry.results for entry in trash.list_trash(copied.data)] == [()]


def test_restore_gives_no_foreign_folder_up(copied: Results, ask: Ask) -> None:
    (cell,) = (copied.data / "runs/Retrain").glob("*model=sswa*percent=60*")
    ask("invalidate", "Retrain", "--where", "percent=60", "model=sswa", "--no-downstream", "--yes")
    cell.mkdir()
    (cell / "table.ods").write_text("numbers")
    output = ask("restore")
    assert f"left in the trash: Retrain/{cell.name}: no manifest and no note on an attempt says what it is" in output
    assert (cell / "table.ods").read_text() == "numbers"
    (cell / "table.ods").unlink()
    assert "Brought back 1 results" in ask("restore")
    assert (cell / MANIFEST).exists()


def test_nothing_is_set_aside_into_a_trash_that_is_a_link(copied: Results, ask: Ask) -> None:
    (copied.data.parent / "bin").mkdir()
    (copied.data / "trash").symlink_to(copied.data.parent / "bin")
    output = ask("invalidate", "Retrain", "--where", "percent=60", "--yes", code=40)
    assert "trash is a link: nothing is set aside through it" in output
    assert ask("gc").endswith("does not reach.\n")


def test_a_deletion_that_is_killed_leaves_what_can_be_deleted(
    copied: Results, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever file it was at: the next gc knows the rest for what it is."""
    (cell,) = (copied.data / "runs/Retrain").glob("*model=sswa*percent=60*")
    entries = [entry for entry in inventory.scan(copied.data) if entry.directory == cell]

    unlink, rmtree = Path.unlink, shutil.rmtree
    rounds = 0

    def killed_later(remove: Callable[[Path], None], left: list[int]) -> Callable[[Path], None]:
        def removed(path: Path) -> None:
            remove(path)
            left.pop()
            if not left:
                raise KeyboardInterrupt

        return removed

    while cell.exists():
        rounds += 1
        left = [0] * rounds
        monkeypatch.setattr(Path, "unlink", killed_later(unlink, left))
        monkeypatch.setattr(shutil, "rmtree", killed_later(rmtree, left))
        with contextlib.suppress(KeyboardInterrupt):
            list(inventory.remove(entries))
        monkeypatch.undo()
        if cell.exists():
            assert not (cell / MANIFEST).exists()
            assert f"Retrain/{cell.name}  (of another grid, unfinished)" in ask("gc", *REPORT_OF_OTHERS)
            assert "interrupted Retrain " in ask("status", "Retrain")
    assert rounds > 2
