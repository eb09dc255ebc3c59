"""GPUs without importing torch: list them, and claim one for a process."""

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from luigi.configuration import get_config

__all__ = ["claim_gpu", "visible_gpus"]


def visible_gpus() -> list[str]:
    """Return the CUDA devices this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
    devices = Path("/proc/driver/nvidia/gpus")
    return [str(i) for i, _ in enumerate(devices.iterdir())] if devices.is_dir() else []


@contextlib.contextmanager
def claim_gpu() -> Iterator[None]:
    """Make one GPU visible within the body: the first with a free slot.

    A slot is a file lock, which the kernel releases when its holder dies. Luigi's resources limit the processes per
    scheduler; the locks separate those of several schedulers.
    """
    gpus = visible_gpus()
    slots = max(1, -(-get_config().getint("resources", "gpu", len(gpus)) // len(gpus)))
    with _lock_slot([(gpu, slot) for slot in range(slots) for gpu in gpus]) as gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        try:
            yield
        finally:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)


@contextlib.contextmanager
def _lock_slot(slots: list[tuple[str, int]]) -> Iterator[str]:
    while True:
        for gpu, slot in slots:
            path = Path(tempfile.gettempdir()) / f"roar-pipeline-{os.getuid()}-gpu-{gpu}-{slot}.lock"
            with path.open("a") as handle:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield gpu
                return
        time.sleep(0.5)
