"""A folder to run Luigi in, the small chain's settings, and what tests ask of its results."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luigi.configuration import get_config
from luigi.task_register import Register

import tasks
from tasks.configuration.settings import data_folder, settings

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SMALL = {
    "dataset": {"height": 32, "width": 32},
    "scenes": {"train": 48, "validation": 12, "test": 24, "size": 32},
    "teacher": {"width": 4, "epochs": 2},
    "student": {"width": 4, "reduction": 2, "epochs": 1, "batch": 16},
    "retrain": {"width": 2, "epochs": 1, "batch": 16},
    "grid": {
        "models": "teacher, sswa",
        "methods": "gradcam",
        "shuffled": "none",
        "percents": "30, 60",
        "probe_percents": "none",
        "longer_percents": "none",
    },
    "report": {"examples": 1, "bootstrap": 50},
    "execution": {"device": "cpu"},
}


@dataclass(frozen=True)
class Workplace:
    """A folder to run Luigi in, with the shipped ``luigi.cfg`` and an overlay of one's own."""

    folder: Path
    prefix: tuple[str, ...] = ()
    """What its commands run behind."""

    def configure(self, **sections: dict[str, object]) -> None:
        """Write the overlay: the small chain's settings, with these changes."""
        merged = {name: {**SMALL.get(name, {}), **sections.get(name, {})} for name in {*SMALL, *sections}}
        text = "".join(f"[{n}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items()) for n, keys in merged.items())
        (self.folder / "overlay.cfg").write_text(text, encoding="utf-8")
        shipped = (ROOT / "luigi.cfg").read_text(encoding="utf-8")
        (self.folder / "luigi.cfg").write_text(shipped, encoding="utf-8")

    def environment(self) -> dict[str, str]:
        """Return the environment of a command run here."""
        own = {"LUIGI_CONFIG_PATH": str(self.folder / "overlay.cfg"), "OMP_NUM_THREADS": "1"}
        return {**os.environ, **own, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}

    def start(self, *arguments: str, scheduler: Sequence[str] = ("--local-scheduler",)) -> "subprocess.Popen[str]":
        """Start ``luigi --module tasks ...`` in a process group of its own."""
        return self.popen(str(BIN / "luigi"), "--module", "tasks", *arguments, *scheduler)

    def popen(self, *command: str) -> "subprocess.Popen[str]":
        """Start any command here in a process group of its own; its output is one stream."""
        return subprocess.Popen(
            [*self.prefix, *command],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def luigi(self, *arguments: str) -> tuple[int, str]:
        """Run a task to its end; return exit code and output."""
        process = self.start(*arguments)
        output, _ = process.communicate()
        return process.returncode, output

    def run(self, *command: str) -> tuple[int, str]:
        """Run any command here; return exit code and output."""
        done = subprocess.run(
            [*self.prefix, *command],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def shell(self, command: str) -> tuple[int, str]:
        """Run a command as people paste it into a shell, the environment active; return exit code and output."""
        return self.run("sh", "-c", command)

    def results(self, family: str) -> list[Path]:
        """Return the finished results of a family, oldest first."""
        manifests = (self.folder / "data" / "runs" / family).glob("*/manifest.json")
        return [m.parent for m in sorted(manifests, key=lambda m: m.stat().st_mtime)]

    def counts(self) -> dict[str, int]:
        """Return the number of finished results per family."""
        families = sorted(p.name for p in (self.folder / "data" / "runs").iterdir())
        return {family: len(self.results(family)) for family in families}


def contents(directory: Path, names: Sequence[str] | None = None) -> dict[str, bytes]:
    """Return the bytes of a result's files, but for the manifest, which tells times and places."""
    files = {p.name: p for p in directory.iterdir() if p.is_file() and p.name not in ("manifest.json", ".lock")}
    return {name: files[name].read_bytes() for name in (names or sorted(files))}


def finished(chain: Workplace) -> Path:
    """Return the small chain's data as they were when it had finished, for tests to copy and compare with."""
    return chain.folder / "as finished"


Configure = Callable[..., None]
Ask = Callable[..., str]


@dataclass(frozen=True)
class Results:
    """A copy of the finished chain's data."""

    data: Path

    def task(self, family: str, parameters: dict[str, object]) -> Any:
        """Return one of the chain's tasks, done."""
        task = getattr(tasks, family)(**parameters)
        assert task.complete()
        assert task.directory.parent.parent.parent == self.data
        return task


@contextlib.contextmanager
def changed_settings() -> Iterator[Configure]:
    """Yield what sets keys as a file would, such as ``("retrain", lr=0.5)``; all is forgotten afterwards."""
    saved = io.StringIO()
    get_config().write(saved)

    def forget() -> None:
        settings.cache_clear()
        data_folder.cache_clear()
        Register.clear_instance_cache()

    def change(section: str, **keys: object) -> None:
        for key, value in keys.items():
            get_config().set(section, key, str(value))
        forget()

    yield change
    for name in get_config().sections():
        get_config().remove_section(name)
    get_config().read_string(saved.getvalue())
    forget()
