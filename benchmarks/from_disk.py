"""What does a stage gain and lose when its images stay on disk?

Stages on random images that take four times what ``[execution] memory_share`` allows them: from disk, with the share
raised in memory, and in memory on few images, which tells what the process and the network take. Every run is a process
of its own; the peak is the kernel's, as psutil samples miss short ones. Images per second are those of the whole stage,
libraries loaded: trained and predicted, or explained. ``--cold`` drops the files from the page cache before every run.

``python -m benchmarks.from_disk [--only NAME ...] [--cold] [--repeats N]``
"""

import argparse
import dataclasses
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.memory import Case, measure, prepare
from roar_pipeline.config import Execution, Maps, Retrain, Teacher

TIMES = 4
"""Size of the arrays in units of what they may take."""
_FEW = 128

CASES = {
    "teacher, 48 pixels": Case("train_teacher", 48, 30_000, 3_000, Teacher(epochs=1)),
    "cell, 48 pixels": Case("retrain", 48, 30_000, 3_000, Retrain(epochs=1)),
    "cell, 224 pixels": Case("retrain", 224, 1_500, 150, Retrain(epochs=1, width=2)),
    "maps, 48 pixels": Case("dump_maps", 48, 20_000, 64, Maps(explain="top1"), Teacher(), methods=("gradcam",)),
}


def array_bytes(case: Case) -> int:
    """Return the bytes of the images, and for a cell of its levels."""
    values = 4 if case.stage == "retrain" else 3
    return (case.train + 2 * case.test) * case.size**2 * values


def run(case: Case, folder: Path, share: float, *, cold: bool) -> dict[str, float]:
    """Run the stage on prepared files in a process of its own; return what ``inside`` does."""
    arguments = pickle.loads((folder / "prepared.pickle").read_bytes())
    arguments["execution"] = Execution(device="cpu", memory_share=share)
    own = Path(tempfile.mkdtemp(dir=folder))
    (own / "arguments.pickle").write_bytes(pickle.dumps(arguments))
    if cold:
        for path in folder.glob("*.h5"):
            drop(path)
    command = [sys.executable, "-m", "benchmarks.from_disk", "--inside", json.dumps(dataclasses.asdict(case)), str(own)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def drop(path: Path) -> None:
    """Drop a file from the kernel's page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def inside(case: Case, folder: Path) -> dict[str, float]:
    """Run the stage in this process, with its libraries loaded.

    Returns:
        ``peak`` in 10^6 bytes, ``seconds``, and the ``cpu`` seconds of all threads.
    """
    from roar_pipeline.attribution import dumping  # noqa: F401
    from roar_pipeline.networks import training  # noqa: F401

    started = time.monotonic()
    measured = measure(case, folder)
    return {"peak": measured["peak"], "cpu": measured["seconds"], "seconds": time.monotonic() - started}


def _few(case: Case) -> Case:
    return dataclasses.replace(case, train=_FEW, test=_FEW)


def main() -> None:
    """Measure the cases in turn and print a row per case."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", default=list(CASES), choices=list(CASES), metavar="NAME")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        text, folder = options.inside
        fields = json.loads(text)
        case = Case(**{**fields, "recipe": None, "teacher": None, "methods": tuple(fields["methods"])})
        print(json.dumps(inside(case, Path(folder))))
        return
    for name in options.only:
        print(row(name, CASES[name], options.repeats, cold=options.cold), flush=True)


def row(name: str, case: Case, repeats: int, *, cold: bool) -> str:
    """Measure a case and return its row of the table."""
    with tempfile.TemporaryDirectory() as few, tempfile.TemporaryDirectory() as folder:
        for path, prepared in ((Path(few), _few(case)), (Path(folder), case)):
            (path / "prepared.pickle").write_bytes(pickle.dumps(prepare(path, prepared)))
        total = array_bytes(case)
        bound = total // TIMES
        share = bound / psutil.virtual_memory().total
        process = run(_few(case), Path(few), 1, cold=False)["peak"]
        pairs = [[run(case, Path(folder), s, cold=cold) for s in (1, share)] for _ in range(repeats)]
    peaks = [max(pair[k]["peak"] for pair in pairs) for k in (0, 1)]
    images = case.train + 2 * case.test
    paces = [images / statistics.median(pair[k]["seconds"] for pair in pairs) for k in (0, 1)]
    ratios = [statistics.median(pair[0][key] / pair[1][key] for pair in pairs) for key in ("seconds", "cpu")]
    return (
        f"| {name} | {total / 1e6:.0f} | {bound / 1e6:.0f} | {process:.0f} | {peaks[0] - process:.0f} | "
        f"{peaks[1] - process:.0f} | {paces[0]:.0f} | {paces[1]:.0f} | {ratios[0]:.2f} | {ratios[1]:.2f} |"
    )


if __name__ == "__main__":
    main()
