"""What Luigi and its central scheduler cost for each cell of a grid.

``python -m benchmarks.scheduler --cells 500`` starts both servers of ``roar scheduler`` and makes a grid whose cells
train nothing. It prints the CPU milliseconds per cell of luigid, of the run's own process (which schedules, requests
work and starts processes) and of the run with all its processes, and the seconds of the whole grid.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.overhead import CELLS_PER_SEED, environment, trivial_grid


def main() -> None:
    """Make the grid and print its costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=500)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    seeds = -(-arguments.cells // CELLS_PER_SEED)
    print(f"{seeds * CELLS_PER_SEED} cells, {arguments.workers} workers; CPU ms per cell, seconds of the whole grid")
    print(f"{'luigid':>8} {'run':>8} {'all':>8} {'grid':>8}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cells = trivial_grid(folder, arguments.cells)
        *cpu, seconds = _timed(folder, arguments.workers)
    print("".join(f"{1000 * used / cells:8.1f} " for used in cpu) + f"{seconds:8.1f}")


def _timed(folder: Path, workers: int) -> tuple[float, float, float, float]:
    """Make the grid; return CPU seconds of luigid, of the run's own process and of all its processes, and seconds."""
    port, page_port = _free_ports()
    words = ("scheduler", "--port", str(port), "--page-port", str(page_port))
    with subprocess.Popen(
        [sys.executable, "-m", "tasks", *words],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as servers:
        if servers.stdout is None or not servers.stdout.readline().startswith("Scheduler: "):
            raise SystemExit("the scheduler did not start")
        (luigid,) = (
            process
            for process in psutil.Process(servers.pid).children()
            if any(c.laddr.port == port for c in process.net_connections())
        )
        before, started = sum(luigid.cpu_times()[:2]), time.monotonic()
        command = [sys.executable, "-m", "tasks", "run", "--workers", str(workers), "--scheduler-port", str(port)]
        with (folder / "output.txt").open("wb") as log:
            run = psutil.Popen(command, cwd=folder, env=environment(folder), stdout=log, stderr=log)
        own = 0.0
        while run.poll() is None:
            with run.oneshot():
                own = sum(run.cpu_times()[:2])
            time.sleep(0.1)
        seconds = time.monotonic() - started
        ended = os.times()
        all_processes = ended.children_user + ended.children_system
        after = sum(luigid.cpu_times()[:2])
        servers.send_signal(signal.SIGTERM)
    if run.returncode:
        raise SystemExit(f"the run failed:\n{(folder / 'output.txt').read_text(encoding='utf-8')[-2000:]}")
    return after - before, own, all_processes, seconds


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


if __name__ == "__main__":
    main()
