"""Atomic writes, sealed files and locks."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.waiting import until, waits_for_lock

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


def test_json_refuses_not_a_number(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_one_process_has_the_lock_until_it_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from roar_pipeline.cache.files import lock\n"
        "with lock(Path(sys.argv[1])):\n    print('in', flush=True); time.sleep(60)  # until it is killed"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "in\n"
    waiter = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert waiter.stdout is not None
    until("the second process waits for the lock", lambda: waits_for_lock(waiter.pid))
    os.set_blocking(waiter.stdout.fileno(), False)
    assert not waiter.stdout.readline()
    holder.kill()
    os.set_blocking(waiter.stdout.fileno(), True)
    assert waiter.stdout.readline() == "in\n"
    waiter.kill()
    for process in (holder, waiter):
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_sealed_file_is_read_under_its_fingerprint_alone(tmp_path: Path) -> None:
    path = tmp_path / "partial-checkpoint.pt"
    assert files.read_sealed(path, "f" * 64) is None
    files.write_sealed(path, io.BytesIO(b"content"), "f" * 64)
    content = files.read_sealed(path, "f" * 64)
    assert content is not None
    assert content.read() == b"content"
    assert files.read_sealed(path, "0" * 64) is None


@pytest.mark.parametrize("index", [0, 30, 70, 130, -1])
def test_a_sealed_file_with_a_flipped_byte_is_not_read(tmp_path: Path, index: int) -> None:
    path = tmp_path / "partial-checkpoint.pt"
    files.write_sealed(path, io.BytesIO(b"content" * 100), "f" * 64)
    content = bytearray(path.read_bytes())
    content[index] ^= 1
    path.write_bytes(content)
    assert files.read_sealed(path, "f" * 64) is None
    path.write_bytes(b"")
    assert files.read_sealed(path, "f" * 64) is None


def test_the_holder_of_a_lock_is_known(tmp_path: Path) -> None:
    assert files.holder(tmp_path) is None
    with files.try_lock(tmp_path) as is_acquired:
        assert is_acquired
        process = files.holder(tmp_path)
        assert process is not None
        assert process["pid"] == os.getpid()
        with files.try_lock(tmp_path, timeout=0) as is_second_acquired:
            assert not is_second_acquired
    assert files.holder(tmp_path) is None


def test_a_waiting_process_locks_the_new_directory_when_the_old_one_is_moved_away(tmp_path: Path) -> None:
    directory, trash = tmp_path / "result", tmp_path / "trash"
    code = (
        "import sys; from pathlib import Path; from roar_pipeline.cache.files import lock\n"
        "with lock(Path(sys.argv[1])):\n    print(sorted(p.name for p in Path(sys.argv[1]).iterdir()), flush=True)"
    )
    with files.try_lock(directory) as is_acquired:
        assert is_acquired
        (directory / "old").touch()
        waiter = subprocess.Popen([sys.executable, "-c", code, str(directory)], stdout=subprocess.PIPE, text=True)
        until("the second process waits for the lock", lambda: waits_for_lock(waiter.pid))
        directory.rename(trash)
    output, _ = waiter.communicate()
    assert output == "['.lock']\n"


def test_missing_disk_space_is_an_error(tmp_path: Path) -> None:
    files.require_space(tmp_path, 1)
    with pytest.raises(OSError, match="bytes are needed and"):
        files.require_space(tmp_path, 1 << 60)
