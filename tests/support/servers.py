"""Both servers of ``roar scheduler``, for tests."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.workplace import SMALL, Workplace

__all__ = ["MOODY", "Servers", "free_ports", "running"]

MOODY = """
from pathlib import Path
import torch

def moody(model, images, image_index, class_index):
    if Path(__file__).with_name("broken").exists():
        raise ValueError("the planted failure")
    return torch.rand(len(image_index), *images.shape[2:], generator=torch.Generator().manual_seed(0))
"""
"""A user's method that fails while a file ``broken`` lies beside it."""


def free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


@dataclass
class Servers:
    """Both servers of a workplace, which can be killed and started again on the same ports."""

    workplace: Workplace
    ports: tuple[int, int] = field(default_factory=free_ports)
    process: "subprocess.Popen[str] | None" = None
    lines: list[str] = field(default_factory=list)
    """The lines printed at the start."""
    runs: list["subprocess.Popen[str]"] = field(default_factory=list)

    @property
    def log(self) -> Path:
        """File of the servers' standard error."""
        return self.workplace.folder / "servers.log"

    def start(self) -> None:
        words = ("scheduler", "--port", str(self.ports[0]), "--page-port", str(self.ports[1]))
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tasks", *words],
                cwd=self.workplace.folder,
                env=self.workplace.environment(),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        self.lines = [self.process.stdout.readline() for _ in range(3)]
        assert all(self.lines), self.log.read_text()

    def end(self, number: signal.Signals) -> int:
        """Send SIGKILL to all processes, or another signal to the parent; return the exit code."""
        assert self.process is not None
        if number == signal.SIGKILL:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        self.process.communicate(timeout=30)
        return self.process.returncode

    def ask(self, method: str, **data: object) -> Any:
        query = urllib.parse.urlencode({"data": json.dumps(data)})
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[0]}/api/{method}?{query}", timeout=10) as answer:
            return json.loads(answer.read())["response"]

    def tasks(self, status: str) -> dict[str, Any]:
        return dict(self.ask("task_list", status=status, upstream_status=""))

    def luigi(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a run on this scheduler; it ends with the servers at the latest."""
        return self.run_in(self.workplace, *arguments)

    def run_in(self, workplace: Workplace, *arguments: str) -> "subprocess.Popen[str]":
        """Start a run of another workplace on this scheduler."""
        self.runs.append(workplace.start(*arguments, scheduler=("--scheduler-port", str(self.ports[0]))))
        return self.runs[-1]


@contextlib.contextmanager
def running(workplace: Workplace, **sections: dict[str, object]) -> Iterator[Servers]:
    """Start both servers in a workplace with these settings; end them and their runs afterwards."""
    servers = Servers(workplace)
    execution = {"page_port": servers.ports[1], **SMALL["execution"]}
    workplace.configure(**sections, execution=execution)
    servers.start()
    try:
        yield servers
    finally:
        for process in filter(None, (*servers.runs, servers.process)):
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            if process.stdout is not None and not process.stdout.closed:
                process.communicate()
