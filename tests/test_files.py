import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from roar_pipeline import files
from roar_pipeline.config import fingerprint

IDENTITY = {"stage": "test", "seed": 1}


def make(directory: Path, text: str = "content") -> dict[str, Any]:
    (directory / "partial-work").write_text("scratch")
    with files.whole_file(directory / "out.txt") as scratch:
        scratch.write_text(text)
    (directory / "folder").mkdir(exist_ok=True)
    (directory / "folder" / "a").write_text("a")
    return {"device": "cpu"}


def test_whole_file_appears_only_when_complete(tmp_path: Path) -> None:
    with files.whole_file(tmp_path / "a.txt") as scratch:
        scratch.write_text("1")
        assert not (tmp_path / "a.txt").exists()
        assert scratch.suffix == ".txt"
    assert (tmp_path / "a.txt").read_text() == "1"
    with pytest.raises(RuntimeError, match="planned"), files.whole_file(tmp_path / "a.txt") as scratch:
        scratch.write_text("half")
        raise RuntimeError("planned")
    assert (tmp_path / "a.txt").read_text() == "1"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_json_refuses_what_json_has_no_word_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_produce_writes_a_manifest_last_and_leaves_no_scratch(tmp_path: Path) -> None:
    directory = tmp_path / "result"
    files.produce(directory, IDENTITY, make, {})
    manifest = files.read_manifest(directory)
    assert manifest is not None
    assert manifest["fingerprint"] == fingerprint(IDENTITY)
    assert manifest["identity"] == IDENTITY
    assert manifest["device"] == "cpu"
    assert manifest["files"]["out.txt"]["bytes"] == len("content")
    assert manifest["files"]["folder"]["count"] == 1
    assert set(manifest["files"]) == {"out.txt", "folder"}
    assert not list(directory.glob("partial-*"))
    assert files.is_done(directory, fingerprint(IDENTITY))


def test_produce_repeats_nothing(tmp_path: Path) -> None:
    files.produce(tmp_path, IDENTITY, make, {})
    files.produce(tmp_path, IDENTITY, make, {"text": "never written"})
    assert (tmp_path / "out.txt").read_text() == "content"


@pytest.mark.parametrize("kept", ["content", "never written"])
def test_a_kill_before_the_rename_loses_no_work(tmp_path: Path, kept: str) -> None:
    files.produce(tmp_path, IDENTITY, make, {"text": kept})
    (tmp_path / files.MANIFEST).rename(tmp_path / "partial-ready.json")
    (tmp_path / "partial-work").write_text("scratch")
    files.produce(tmp_path, IDENTITY, make, {"text": "made again"})
    assert (tmp_path / "out.txt").read_text() == kept
    assert not list(tmp_path.glob("partial-*"))


def test_a_manifest_of_something_else_is_not_believed(tmp_path: Path) -> None:
    files.produce(tmp_path, {"stage": "other"}, make, {"text": "other"})
    assert not files.is_done(tmp_path, fingerprint(IDENTITY))
    files.produce(tmp_path, IDENTITY, make, {})
    assert (tmp_path / "out.txt").read_text() == "content"


@pytest.mark.parametrize("damage", ["cut", "gone", "half a manifest", "foreign manifest"])
def test_damage_is_seen(tmp_path: Path, damage: str) -> None:
    files.produce(tmp_path, IDENTITY, make, {})
    if damage == "cut":
        (tmp_path / "out.txt").write_text("conten")
    elif damage == "gone":
        (tmp_path / "out.txt").unlink()
    elif damage == "half a manifest":
        text = (tmp_path / files.MANIFEST).read_text()
        (tmp_path / files.MANIFEST).write_text(text[: len(text) // 2])
    else:
        (tmp_path / files.MANIFEST).write_text(json.dumps(["not", "ours"]))
    assert not files.is_done(tmp_path, fingerprint(IDENTITY))
    files.produce(tmp_path, IDENTITY, make, {"text": "mended!"})
    assert (tmp_path / "out.txt").read_text() == "mended!"


def test_the_lock_lets_one_in_and_is_freed_by_a_kill(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from roar_pipeline.files import lock\n"
        "with lock(Path(sys.argv[1])):\n    print('in', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "in\n"
    waiter = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert waiter.stdout is not None
    os.set_blocking(waiter.stdout.fileno(), False)
    time.sleep(0.5)
    assert not waiter.stdout.readline()
    holder.kill()
    os.set_blocking(waiter.stdout.fileno(), True)
    assert waiter.stdout.readline() == "in\n"
    waiter.kill()
    for process in (holder, waiter):
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_several_results_of_one_call(tmp_path: Path) -> None:
    results = {name: (tmp_path / name, {"stage": "test", "name": name}) for name in "abc"}
    files.produce(*results["b"], make, {"text": "done before"})
    seen = []

    def make_all(directories: dict[str, Path], text: str) -> dict[str, Any]:
        seen.append(sorted(directories))
        for directory in directories.values():
            make(directory, text)
        return {"device": "cpu"}

    files.produce_together(results, make_all, {"text": "together"})
    assert seen == [["a", "c"]]
    assert [(tmp_path / n / "out.txt").read_text() for n in "abc"] == ["together", "done before", "together"]
    assert all(files.is_done(d, fingerprint(i)) for d, i in results.values())
    files.produce_together(results, make_all, {"text": "never"})
    assert len(seen) == 1


def test_of_several_results_the_good_ones_stay(tmp_path: Path) -> None:
    results = {name: (tmp_path / name, {"stage": "test", "name": name}) for name in "abc"}

    def make_some(directories: dict[str, Path]) -> None:
        for name in set(directories) - {"b"}:
            make(directories[name])
        raise files.SomeFailedError({"b": ValueError("b is bad")})

    with pytest.raises(files.SomeFailedError, match="b is bad"):
        files.produce_together(results, make_some, {})
    assert [files.is_done(d, fingerprint(i)) for d, i in results.values()] == [True, False, True]
    assert not list((tmp_path / "a").glob("partial-*"))
