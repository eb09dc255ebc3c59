"""The one sha256 of a data set."""

import json
import os
import shutil
from pathlib import Path

import pytest
from support.voc_folder import dataset, write_annotation, write_voc_folder

from roar_pipeline.datasets import digests
from roar_pipeline.errors import InputError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_voc_folder(tmp_path / "set")


def test_digest_knows_contents_and_not_places(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache.json"
    digest = digests.content_digest(root, dataset(), cache)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(root, elsewhere)
    (elsewhere / "README").write_text("not read, not hashed")
    (elsewhere / "JPEGImages/.DS_Store").write_text("nor this")
    assert digests.content_digest(elsewhere, dataset(), cache) == digest
    assert set(json.loads(cache.read_text())) == {str(root), str(elsewhere)}
    (elsewhere / "JPEGImages/train_0.jpg").rename(elsewhere / "JPEGImages/other.jpg")
    assert digests.content_digest(elsewhere, dataset(), cache) != digest
    write_annotation(root, "train_0", ["big star"])
    assert digests.content_digest(root, dataset(), cache) != digest


def test_digest_does_not_read_contents_twice(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache.json"
    digest = digests.content_digest(root, dataset(), cache)
    os.utime(root / "JPEGImages/train_1.jpg", ns=(1, 1))
    assert digests.content_digest(root, dataset(), cache) == digest
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was read again"))
    assert digests.content_digest(root, dataset(), cache) == digest


@pytest.mark.parametrize("text", ["", "{", "[]", '{"ROOT": 3}', '{"ROOT": {"listing": "?"}}', None])
def test_lost_or_broken_cache_costs_only_time(root: Path, tmp_path: Path, text: str | None) -> None:
    cache = tmp_path / "folder" / "cache.json"
    digest = digests.content_digest(root, dataset(), cache)
    if text is None:
        cache.unlink()
    else:
        cache.write_text(text.replace("ROOT", str(root)))
    assert digests.content_digest(root, dataset(), cache) == digest
    assert json.loads(cache.read_text())[str(root)]["digest"] == digest
    assert sorted(path.name for path in cache.parent.iterdir()) == [".lock", "cache.json"]


def test_a_change_that_hides_its_time_is_seen(root: Path, tmp_path: Path) -> None:
    """The same size and a time of change set back, as rsync -t and restored backups leave them."""
    cache, image = tmp_path / "cache.json", root / "JPEGImages/train_1.jpg"
    digest, stat, content = digests.content_digest(root, dataset(), cache), image.stat(), bytearray(image.read_bytes())
    content[-3] ^= 1
    image.write_bytes(content)
    os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert image.stat().st_mtime_ns == stat.st_mtime_ns
    assert digests.content_digest(root, dataset(), cache) != digest


def test_digest_of_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not in VOC layout: no JPEGImages"):
        digests.content_digest(tmp_path, dataset(), tmp_path / "cache.json")
