"""What Luigi and this project cost besides the work itself, on a grid of trivial cells.

``python -m benchmarks.overhead --cells 1500`` makes a grid whose cells train nothing (no epoch, one channel, 16 x 16
pixels), then runs commands on it, ``run`` with nothing to do among them, and prints their seconds. The aim is below two
seconds for ``status`` and for that ``run``.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_SETTINGS = """
[dataset]
height = 16
width = 16
[scenes]
train = 8
validation = 2
test = 4
size = 16
[teacher]
width = 1
epochs = 0
[retrain]
width = 1
epochs = 0
[grid]
models = teacher
percents = {percents}
seeds = {seeds}
model_seeds = 0
[report]
examples = 0
bootstrap = 0
[execution]
device = cpu
"""
_PERCENTS = range(2, 100, 2)
CELLS_PER_SEED = 1 + 2 * len(_PERCENTS)
"""Number of cells per seed: the clean cell, and every percentage of the teacher's maps and of random."""


def main() -> None:
    """Make the grid, time the commands and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1500)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cells = trivial_grid(folder, arguments.cells)
        print(f"{cells} cells, {arguments.workers} workers")
        first = _timed(folder, "run", "--workers", str(arguments.workers))
        print(
            f"the whole grid     {first:8.1f} s, {1000 * first * arguments.workers / cells:.0f} ms of a worker per cell"
        )
        commands = (
            ("run",),
            ("status",),
            ("status", "Retrain"),
            ("forecast",),
            ("gc",),
            ("verify",),
            ("verify", "--full"),
        )
        for command in commands:
            seconds = [_timed(folder, *command) for _ in range(arguments.rounds)]
            print(f"{' '.join(command):18} {statistics.median(seconds):8.2f} s, median of {arguments.rounds}")


def trivial_grid(folder: Path, at_least: int) -> int:
    """Write the settings of a grid of whole seeds to a folder; return its number of cells."""
    seeds = -(-at_least // CELLS_PER_SEED)
    text = _SETTINGS.format(percents=", ".join(map(str, _PERCENTS)), seeds=", ".join(map(str, range(seeds))))
    (folder / "overlay.cfg").write_text(text, encoding="utf-8")
    shutil.copy(_ROOT / "luigi.cfg", folder)
    return seeds * CELLS_PER_SEED


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a command with these settings."""
    return {**os.environ, "LUIGI_CONFIG_PATH": str(folder / "overlay.cfg")}


def _timed(folder: Path, *words: str) -> float:
    command = [sys.executable, "-m", "tasks", *words]
    started = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return time.monotonic() - started


if __name__ == "__main__":
    main()
