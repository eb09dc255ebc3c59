"""A folder or pipe where a file belongs, manifests that are none: one bad result is one line, and can be repaired."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.workplace import Ask, Results, contents

import tasks
from roar_pipeline.cache import inventory
from roar_pipeline.cache.building import ResultSpec, SomeFailedError, produce, produce_together
from roar_pipeline.cache.files import whole_file
from roar_pipeline.cache.identity import fingerprint
from roar_pipeline.cache.manifests import MANIFEST, read_manifest
from roar_pipeline.errors import InputError
from tasks.chain.survey import Survey

IDENTITY = {"stage": "Retrain", "parameters": {}, "settings": {}, "inputs": []}


def kinds_of(directory: Path) -> list[Path]:
    """Return a file of every kind in a result: of every name at the top, of every extension below."""
    found: dict[str, Path] = {}
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        found.setdefault(path.name if path.parent == directory else f"{path.parent.name}{path.suffix}", path)
    return list(found.values())


@pytest.fixture(autouse=True)
def _nothing_waits_for_ever() -> Iterator[None]:
    """Interrupt who waits for the writer of a pipe."""

    def interrupt(*_: object) -> None:
        raise TimeoutError("waited for somebody to write into a pipe")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside.txt").write_text("somebody's")


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_link_to_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


FOLDER = "is a folder where a file belongs"
SPECIAL = "is a pipe, socket or device, and no file"
REPLACEMENTS = [(replace_by_folder, FOLDER), (replace_by_pipe, SPECIAL), (replace_by_link_to_device, SPECIAL)]


@pytest.mark.parametrize(("replace", "message"), REPLACEMENTS)
def test_what_is_no_file_in_the_place_of_any_is_one_line_and_is_set_aside(
    copied: Results, ask: Ask, replace: Callable[[Path], None], message: str
) -> None:
    """In every round one result of each family has something else in the place of its next file."""
    whole = copied.data.parent / "whole"
    shutil.copytree(copied.data, whole)
    kinds = {d.parent.name: kinds_of(d) for d in sorted((copied.data / "runs").glob("*/*"))}
    assert {path.name for of_family in kinds.values() for path in of_family} >= {MANIFEST, ".lock", "attempt-1.log"}
    for number in range(max(map(len, kinds.values()))):
        files = [of_family[number] for of_family in kinds.values() if number < len(of_family)]
        for path in files:
            replace(path)
        spoiled = {copied.data.joinpath(*path.relative_to(copied.data).parts[:3]) for path in files}
        entries = Survey(tasks.Report()).entries
        assert {entry.task.directory for entry in entries if entry.state.kind == "damaged"} == spoiled, files
        ask("status")
        ask("gc", "--percents", "30")
        lines = ask("verify", code=1).splitlines()
        assert {line.partition(": ")[0] for line in lines[:-2]} == {f"{d.parent.name}/{d.name}" for d in spoiled}
        assert all(": " in line and message in line for line in lines[:-2]), lines
        assert f"Set aside {len(spoiled)} results" in ask("verify", "--repair", "--yes")
        assert not any(map(Path.exists, spoiled))
        for directory in spoiled:
            shutil.copytree(whole / directory.relative_to(copied.data), directory)


@pytest.mark.parametrize(("replace", "message"), REPLACEMENTS)
def test_what_was_repaired_is_made_again(
    copied: Results, ask: Ask, replace: Callable[[Path], None], message: str
) -> None:
    cell = copied.task("Retrain", {"percent": 0})
    before = contents(cell.directory)
    for name in ("scores.npy", MANIFEST):
        replace(cell.directory / name)
        with pytest.raises(InputError, match=rf"{name} {message}[;.].*Set it aside with"):
            cell.run()
        assert f"failed      {cell.title}: " in ask("status", "Retrain")
        ask("verify", "--repair", "--yes")
        cell.run()
        assert contents(cell.directory) == before
        assert cell.complete()


def make(directory: Path) -> None:
    (directory / "folder").mkdir(exist_ok=True)
    (directory / "folder" / "a.txt").write_text("a")
    with whole_file(directory / "out.txt") as scratch:
        scratch.write_text("content")


NAMES = (
    *("out.txt", "folder/a.txt", MANIFEST, ".lock", "log/attempt-1.log", "partial-attempt.json"),
    *("partial-failure.json", "partial-progress.json", "partial-ready.json", "partial-out.txt", "partial-maps.jsonl"),
)


# The note on the failure takes the place of a pipe of its name, and with it the damage has gone.
PLACED = [
    *((name, Path.mkdir, FOLDER) for name in NAMES),
    *((name, os.mkfifo, SPECIAL) for name in NAMES if name != "partial-failure.json"),
]


@pytest.mark.parametrize(("name", "create", "message"), PLACED)
@pytest.mark.parametrize("finished", [True, False])
def test_a_rerun_takes_nothing_away_and_says_what_to_do(
    tmp_path: Path, name: str, create: Callable[[Path], None], message: str, finished: bool
) -> None:
    wanted = ResultSpec(tmp_path / "runs/Retrain" / fingerprint(IDENTITY)[:12], IDENTITY)
    produce(wanted, make, {})
    (wanted.directory / "out.txt").write_text("not as long as it was")
    if not finished:
        (wanted.directory / MANIFEST).rename(wanted.directory / "partial-attempt.json")
    (wanted.directory / name).unlink(missing_ok=True)
    create(wanted.directory / name)
    before = contents(wanted.directory)
    for _ in range(2):
        with pytest.raises(InputError, match=r"`roar verify --repair`"):
            produce(wanted, make, {})
    now = {key: text for key, text in contents(wanted.directory).items() if not key.startswith("partial-failure")}
    assert now == before
    assert (wanted.directory / MANIFEST).exists() is (finished or name == MANIFEST)
    entries = inventory.scan(tmp_path)
    ((directory, told),) = inventory.verify(entries, full=True, workers=1).items()
    assert (directory, told[0]) == (wanted.directory, f"{name} {message}")
    _, busy = inventory.move_to_trash(tmp_path, entries, "verify --repair", damaged=True)
    assert not busy
    produce(wanted, make, {})
    assert (wanted.directory / "out.txt").read_text() == "content"


def test_of_several_results_the_others_are_made(tmp_path: Path) -> None:
    results = {name: ResultSpec(tmp_path / name, {"stage": "test", "name": name}) for name in "ab"}
    (tmp_path / "b" / "out.txt").mkdir(parents=True)

    def make_all(directories: dict[str, Path]) -> None:
        for directory in directories.values():
            make(directory)

    with pytest.raises(SomeFailedError, match=r"b is damaged: out\.txt is a folder where a file belongs"):
        produce_together(results, make_all, {})
    assert read_manifest(tmp_path / "a") is not None
    assert (tmp_path / "b" / "out.txt").is_dir()


def changed(**values: Any) -> Callable[[bytes], bytes]:
    return lambda content: json.dumps({**json.loads(content), **values}).encode()


MANIFESTS: dict[str, Callable[[bytes], bytes]] = {
    "no JSON": lambda content: content[:-40],
    "another encoding": lambda content: content + "ü".encode("latin-1"),
    "a long number": lambda content: b"1" * 10_000,
    "deep": lambda content: b"[" * 200_000,
    "a list": lambda content: b"[]",
    "files that are none": changed(files={"scores.npy": 3}),
    "files without size": changed(files={"scores.npy": {}}),
    "a text for a size": changed(files={"scores.npy": {"bytes": "9", "sha256": ""}}),
    "a number as identity": changed(identity=3),
    "a number for parameters": changed(identity={"parameters": 3}),
    "numbers for inputs": changed(identity={"inputs": [3]}),
    "versions that are none": changed(versions=3),
    "seconds that are none": changed(seconds="long"),
}


def test_a_manifest_that_is_none_is_one_line(copied: Results, ask: Ask) -> None:
    """All sorts of them, each in a result of its own."""
    whole = [each.directory for each in inventory.scan(copied.data)]
    spoiled = {}
    for (kind, spoil), directory in zip(MANIFESTS.items(), whole, strict=False):
        path = directory / MANIFEST
        path.write_bytes(spoil(path.read_bytes()))
        spoiled[f"{directory.parent.name}/{directory.name}"] = kind
    assert len(spoiled) == len(MANIFESTS)
    assert "damaged" in ask("status")
    ask("forecast")
    ask("gc", "--percents", "30")
    lines = ask("verify", code=1).splitlines()
    assert {line.partition(": ")[0] for line in lines[:-2]} == set(spoiled)
    assert {line.partition(": ")[2] for line in lines[:-2]} == {"the manifest cannot be read"}
    ask("verify", "--repair", "--yes")
    ask("verify")


def test_a_manifest_that_may_not_be_read_is_one_line(
    copied: Results, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = copied.task("Retrain", {"percent": 0})
    read = Path.read_text

    def refused(path: Path, **options: Any) -> str:
        if path == cell.directory / MANIFEST:
            raise PermissionError(13, os.strerror(13), str(path))
        return read(path, **options)

    monkeypatch.setattr(Path, "read_text", refused)
    assert f"damaged     {cell.title}: cannot be read: " in ask("status", "Retrain")
    assert "Permission denied" in ask("verify", code=1).splitlines()[0]
    ask("gc")
    ask("forecast")


def test_notes_that_hold_something_else_stop_nothing(copied: Results, ask: Ask) -> None:
    cells = [each.directory for each in inventory.scan(copied.data, "Retrain")]
    values: list[Any] = [{"a": 1}, {"started": "long ago", "message": 3, "share": "half", "text": 1}, [], 3]
    for cell, value in zip(cells, values, strict=False):
        (cell / MANIFEST).unlink()
        for name in ("attempt", "progress", "failure"):
            (cell / f"partial-{name}.json").write_text(json.dumps(value))
    assert ask("status", "Retrain").count("failed ") == 2
    ask("gc")
    for entry in Survey(tasks.Report()).entries_of("Retrain"):
        if entry.task.directory in cells[:2]:
            entry.task.run()
            assert entry.task.complete()


def test_a_log_that_is_a_pipe_is_named(copied: Results, ask: Ask) -> None:
    cell = copied.task("Retrain", {"percent": 0})
    log = cell.directory / "log" / "attempt-1.log"
    replace_by_pipe(log)
    for words in ((), ("-f",)):
        output = ask("logs", str(cell.directory), *words, code=40)
        assert f"{log} cannot be used: a pipe, socket or device lies where a file should be" in output
