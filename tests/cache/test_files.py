import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from roar_pipeline.cache import files


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


def test_the_lock_lets_one_in_and_is_freed_by_a_kill(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from roar_pipeline.cache.files import lock\n"
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


def test_a_sealed_file_is_read_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "partial-checkpoint.pt"
    assert files.read_sealed(path, "me") is None
    files.write_sealed(path, io.BytesIO(b"content"), "me")
    content = files.read_sealed(path, "me")
    assert content is not None
    assert content.read() == b"content"
    assert files.read_sealed(path, "somebody else") is None


@pytest.mark.parametrize("place", [0, 30, 70, 130, -1])
def test_a_flipped_byte_of_a_sealed_file_is_seen(tmp_path: Path, place: int) -> None:
    path = tmp_path / "partial-checkpoint.pt"
    files.write_sealed(path, io.BytesIO(b"content" * 100), "f" * 64)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert files.read_sealed(path, "f" * 64) is None
    path.write_bytes(b"")
    assert files.read_sealed(path, "f" * 64) is None


def test_a_lock_tells_who_holds_it(tmp_path: Path) -> None:
    assert files.holder(tmp_path) is None
    with files.try_lock(tmp_path) as free:
        assert free
        who = files.holder(tmp_path)
        assert who is not None
        assert who["pid"] == os.getpid()
        with files.try_lock(tmp_path, timeout=0) as second:
            assert not second
    assert files.holder(tmp_path) is None


def test_a_lock_does_not_hold_a_directory_that_was_moved_away(tmp_path: Path) -> None:
    place, trash = tmp_path / "result", tmp_path / "trash"
    code = (
        "import sys; from pathlib import Path; from roar_pipeline.cache.files import lock\n"
        "with lock(Path(sys.argv[1])):\n    print(sorted(p.name for p in Path(sys.argv[1]).iterdir()), flush=True)"
    )
    with files.try_lock(place) as free:
        assert free
        (place / "old").touch()
        waiter = subprocess.Popen([sys.executable, "-c", code, str(place)], stdout=subprocess.PIPE, text=True)
        time.sleep(1)
        assert waiter.poll() is None
        place.rename(trash)
    output, _ = waiter.communicate()
    assert output == "['.lock']\n"


def test_space_is_asked_for_before_it_is_needed(tmp_path: Path) -> None:
    files.require_space(tmp_path, 1)
    with pytest.raises(OSError, match="bytes are needed and"):
        files.require_space(tmp_path, 1 << 60)
