import json
from pathlib import Path
from typing import Any

import pytest

from roar_pipeline.cache.building import ResultSpec, SomeFailedError, produce, produce_together
from roar_pipeline.cache.files import whole_file
from roar_pipeline.cache.identity import fingerprint
from roar_pipeline.cache.manifests import MANIFEST, is_done, read_manifest

IDENTITY = {"stage": "test", "seed": 1}


def make(directory: Path, text: str = "content") -> dict[str, Any]:
    (directory / "partial-work").write_text("scratch")
    with whole_file(directory / "out.txt") as scratch:
        scratch.write_text(text)
    (directory / "folder").mkdir(exist_ok=True)
    (directory / "folder" / "a").write_text("a")
    return {"device": "cpu"}


def test_produce_writes_a_manifest_last_and_leaves_no_scratch(tmp_path: Path) -> None:
    directory = tmp_path / "result"
    produce(ResultSpec(directory, IDENTITY), make, {})
    manifest = read_manifest(directory)
    assert manifest is not None
    assert manifest["fingerprint"] == fingerprint(IDENTITY)
    assert manifest["identity"] == IDENTITY
    assert manifest["device"] == "cpu"
    assert manifest["files"]["out.txt"]["bytes"] == len("content")
    assert manifest["files"]["folder"]["count"] == 1
    assert set(manifest["files"]) == {"out.txt", "folder"}
    assert not list(directory.glob("partial-*"))
    assert is_done(directory, fingerprint(IDENTITY))


def test_produce_repeats_nothing(tmp_path: Path) -> None:
    produce(ResultSpec(tmp_path, IDENTITY), make, {})
    produce(ResultSpec(tmp_path, IDENTITY), make, {"text": "never written"})
    assert (tmp_path / "out.txt").read_text() == "content"


@pytest.mark.parametrize("kept", ["content", "never written"])
def test_a_kill_before_the_rename_loses_no_work(tmp_path: Path, kept: str) -> None:
    produce(ResultSpec(tmp_path, IDENTITY), make, {"text": kept})
    (tmp_path / MANIFEST).rename(tmp_path / "partial-ready.json")
    (tmp_path / "partial-work").write_text("scratch")
    produce(ResultSpec(tmp_path, IDENTITY), make, {"text": "made again"})
    assert (tmp_path / "out.txt").read_text() == kept
    assert not list(tmp_path.glob("partial-*"))


def test_a_manifest_of_something_else_is_not_believed(tmp_path: Path) -> None:
    produce(ResultSpec(tmp_path, {"stage": "other"}), make, {"text": "other"})
    assert not is_done(tmp_path, fingerprint(IDENTITY))
    produce(ResultSpec(tmp_path, IDENTITY), make, {})
    assert (tmp_path / "out.txt").read_text() == "content"


@pytest.mark.parametrize("damage", ["cut", "gone", "half a manifest", "foreign manifest"])
def test_damage_is_seen(tmp_path: Path, damage: str) -> None:
    produce(ResultSpec(tmp_path, IDENTITY), make, {})
    if damage == "cut":
        (tmp_path / "out.txt").write_text("conten")
    elif damage == "gone":
        (tmp_path / "out.txt").unlink()
    elif damage == "half a manifest":
        text = (tmp_path / MANIFEST).read_text()
        (tmp_path / MANIFEST).write_text(text[: len(text) // 2])
    else:
        (tmp_path / MANIFEST).write_text(json.dumps(["not", "ours"]))
    assert not is_done(tmp_path, fingerprint(IDENTITY))
    produce(ResultSpec(tmp_path, IDENTITY), make, {"text": "mended!"})
    assert (tmp_path / "out.txt").read_text() == "mended!"


def test_several_results_of_one_call(tmp_path: Path) -> None:
    results = {name: ResultSpec(tmp_path / name, {"stage": "test", "name": name}) for name in "abc"}
    produce(results["b"], make, {"text": "done before"})
    seen = []

    def make_all(directories: dict[str, Path], text: str) -> dict[str, Any]:
        seen.append(sorted(directories))
        for directory in directories.values():
            make(directory, text)
        return {"device": "cpu"}

    produce_together(results, make_all, {"text": "together"})
    assert seen == [["a", "c"]]
    assert [(tmp_path / n / "out.txt").read_text() for n in "abc"] == ["together", "done before", "together"]
    assert all(is_done(w.directory, w.fingerprint) for w in results.values())
    produce_together(results, make_all, {"text": "never"})
    assert len(seen) == 1


def test_of_several_results_the_good_ones_stay(tmp_path: Path) -> None:
    results = {name: ResultSpec(tmp_path / name, {"stage": "test", "name": name}) for name in "abc"}

    def make_some(directories: dict[str, Path]) -> None:
        for name in set(directories) - {"b"}:
            make(directories[name])
        raise SomeFailedError({"b": ValueError("b is bad")})

    with pytest.raises(SomeFailedError, match="b is bad"):
        produce_together(results, make_some, {})
    assert [is_done(w.directory, w.fingerprint) for w in results.values()] == [True, False, True]
    assert not list((tmp_path / "a").glob("partial-*"))
