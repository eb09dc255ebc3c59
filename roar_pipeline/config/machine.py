"""Where and how stages run: [paths] and [execution]."""

from dataclasses import dataclass
from typing import Literal

from roar_pipeline.config.fields import setting

__all__ = ["Execution", "Paths"]


@dataclass(frozen=True)
class Paths:
    """Where data sets and results are stored."""

    data: str = setting("data", "The folder of the data sets and of runs/, the cache of results.")


@dataclass(frozen=True)
class Execution:
    """How stages run; never part of an identity."""

    engine: Literal["local"] = setting("local", "Where stages run: local, in worker processes of this machine.")
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "The device: auto (the GPU if there is one), cpu or cuda.")
    threads: int = setting(1, "The CPU threads of a worker process.", low=1, high=4096)
    retries: int = setting(2, "The retries of a stage after a transient error, such as a killed process.", low=0)
    page_port: int = setting(8083, "The port of the results' page on 127.0.0.1; luigid has its own.", low=1, high=65535)
    memory_share: float = setting(
        0.5,
        "The share of main memory (and of a GPU's) that the images of a stage may take; it reads more from disk.",
        low=0,
        high=1,
    )
    methods_per_process: int = setting(20, "The most methods of one model that share a pass over the images.", low=1)
