"""Both servers of ``roar scheduler``, for tests, and waiting for what they are to show."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.workplace import SMALL, Workplace

__all__ = ["MOODY", "Servers", "free_ports", "running", "until"]

MOODY = """
from pathlib import Path
import torch

def moody(model, images, image_index, class_index):
    if Path(__file__).with_name("broken").exists():
        raise ValueError("the planted failure")
    return torch.rand(len(image_index), *images.shape[2:], generator=torch.Generator().manual_seed(0))
"""
"""A method of one's own that fails while there is a file ``broken`` beside it."""


def until(what: str, condition: Callable[[], Any], seconds: float = 120, *, every: float = 0.05) -> Any:
    """Wait until a condition holds, asking ``every`` so many seconds; return what it came to."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain until {what}"
        time.sleep(every)
    return found


def free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


@dataclass
class Servers:
    """Both servers of a workplace, which can be killed and started again on the same ports."""

    place: Workplace
    ports: tuple[int, int] = field(default_factory=free_ports)
    process: "subprocess.Popen[str] | None" = None
    said: list[str] = field(default_factory=list)
    runs: list["subprocess.Popen[str]"] = field(default_factory=list)

    @property
    def log(self) -> Path:
        """What the servers have complained of."""
        return self.place.folder / "servers.log"

    def start(self) -> None:
        words = ("scheduler", "--port", str(self.ports[0]), "--page-port", str(self.ports[1]))
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tasks", *words],
                cwd=self.place.folder,
                env=self.place.environment(),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        self.said = [self.process.stdout.readline() for _ in range(3)]
        assert all(self.said), self.log.read_text()

    def end(self, number: signal.Signals) -> int:
        """Send a signal to all (SIGKILL) or the parent; return the exit code."""
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
        """Start a run on this scheduler; it is ended with the servers at the latest."""
        return self.run_in(self.place, *arguments)

    def run_in(self, place: Workplace, *arguments: str) -> "subprocess.Popen[str]":
        """Start one of another workplace."""
        self.runs.append(place.start(*arguments, scheduler=("--scheduler-port", str(self.ports[0]))))
        return self.runs[-1]


@contextlib.contextmanager
def running(place: Workplace, **sections: dict[str, object]) -> Iterator[Servers]:
    """Start both servers in a workplace with these settings, and end them in any case."""
    found = Servers(place)
    execution = {"page_port": found.ports[1], **SMALL["execution"]}
    place.configure(**sections, execution=execution)
    found.start()
    try:
        yield found
    finally:
        for process in filter(None, (*found.runs, found.process)):
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            if process.stdout is not None and not process.stdout.closed:
                process.communicate()
