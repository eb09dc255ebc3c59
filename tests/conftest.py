"""A small chain, run once for all tests that look at what real Luigi processes leave behind."""

import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.workplace import SMALL, Ask, Configure, Results, Workplace, changed_settings, finished

from tasks.__main__ import main

# Idle threads of small nets only get into each other's way; read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell that runs the tests in the background has them, and the processes they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    workplace = Workplace(tmp_path)
    workplace.configure()
    return workplace


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The small chain, finished, to be read or copied; tests add nothing. Processes of pytest-xdist share it."""
    own = tmp_path_factory.getbasetemp()
    workplace = Workplace((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "pristine chain ü")
    workplace.folder.mkdir(exist_ok=True)
    with (workplace.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (workplace.folder / "output.txt").exists():
            workplace.configure()
            code, output = workplace.run(sys.executable, "-m", "tasks", "run", "--workers", "2")
            assert code == 0, output
            assert not list((workplace.folder / "data").rglob("partial-*"))
            (workplace.folder / "output.txt").write_text(output, encoding="utf-8")
    return workplace


@pytest.fixture(scope="session")
def chain(pristine: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The small chain, finished. Tests may add results, and leave those that are there."""
    workplace = Workplace(tmp_path_factory.mktemp("chain with spaces ü"))
    shutil.copytree(pristine.folder, workplace.folder, dirs_exist_ok=True)
    shutil.copytree(workplace.folder / "data", finished(workplace))
    return workplace


@pytest.fixture
def configure(tmp_path: Path) -> Iterator[Configure]:
    """Change the small chain's settings."""
    with changed_settings() as change:
        for section, keys in SMALL.items():
            change(section, **keys)
        change("paths", data=tmp_path / "data")
        yield change


@pytest.fixture
def copied(chain: Workplace, configure: Configure, tmp_path: Path) -> Results:
    shutil.copytree(finished(chain), tmp_path / "data")
    return Results(tmp_path / "data")


@pytest.fixture
def ask(copied: Results, capsys: pytest.CaptureFixture[str]) -> Iterator[Ask]:
    """Run a command in this process and return what it prints."""

    def run(*words: str, code: int = 0) -> str:
        capsys.readouterr()
        got = main(words)
        output, errors = capsys.readouterr()
        assert got == code, output + errors
        return output + errors

    return run
