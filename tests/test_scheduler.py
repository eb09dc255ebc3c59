"""``python -m tasks scheduler``: luigid and the page of results, what they show, and a restart in mid-run."""

import contextlib
import json
import os
import re
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

import psutil
import pytest
from conftest import Workplace

BIN = Path(sys.executable).parent
TEACHER = ("FineTuneTeacher", "--teacher-epochs", "400")
METHOD = """
from pathlib import Path
import torch

def moody(model, images, image_index, class_index):
    if Path(__file__).with_name("broken").exists():
        raise ValueError("the planted failure")
    return torch.rand(len(image_index), *images.shape[2:], generator=torch.Generator().manual_seed(0))
"""


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"nothing has happened for {seconds} s"
        time.sleep(0.05)
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

    def start(self) -> None:
        words = ("scheduler", "--port", str(self.ports[0]), "--page-port", str(self.ports[1]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tasks", *words],
            cwd=self.place.folder,
            env=self.place.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.said = [self.process.stdout.readline() for _ in range(3)]

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
        command = [str(BIN / "luigi"), "--module", "tasks", *arguments, "--scheduler-port", str(self.ports[0])]
        environment = {**self.place.environment(), "PYTHONPATH": str(self.place.folder)}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.place.folder, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True
        )


@pytest.fixture
def servers(workplace: Workplace) -> Iterator[Servers]:
    found = Servers(workplace)
    workplace.configure(execution={"page_port": found.ports[1]})
    found.start()
    yield found
    if found.process is not None and found.process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(found.process.pid, signal.SIGKILL)
        found.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_listen_on_loopback_alone_and_stop_cleanly(servers: Servers, number: signal.Signals) -> None:
    assert servers.process is not None
    port, page = servers.ports
    assert f"http://127.0.0.1:{port} " in servers.said[0]
    assert f"http://127.0.0.1:{page} " in servers.said[1]
    assert f"ssh -L {port}:127.0.0.1:{port} -L {page}:127.0.0.1:{page}" in servers.said[2]
    family = psutil.Process(servers.process.pid).children(recursive=True)
    listening = [c for p in family for c in p.net_connections() if c.status == psutil.CONN_LISTEN]
    assert {(c.laddr.ip, c.laddr.port) for c in listening} == {("127.0.0.1", port), ("127.0.0.1", page)}
    names = {resource["name"]: resource["num_total"] for resource in servers.ask("resource_list")}
    assert names["memory_mb"] > 500
    assert servers.end(number) == 0
    _, left = psutil.wait_procs(family, timeout=5)
    assert not left
    assert (servers.place.folder / "data/luigid-state.pickle").is_file()


def test_a_taken_port_is_named(servers: Servers) -> None:
    words = ("scheduler", "--port", str(servers.ports[0]), "--page-port", "1")
    code, output = servers.place.run(sys.executable, "-m", "tasks", *words)
    assert code == 40
    assert f"Port {servers.ports[0]} of 127.0.0.1 cannot be had" in output
    assert "Traceback" not in output


def test_no_scheduler_is_one_message(workplace: Workplace) -> None:
    command = (str(BIN / "luigi"), "--module", "tasks", "GenerateScenes", "--scheduler-port", "9")
    code, output = workplace.run(*command)
    assert code == 40
    assert "No scheduler answers at http://localhost:9" in output
    assert "Traceback" not in output


def test_progress_shows_and_a_killed_scheduler_costs_nothing(servers: Servers) -> None:
    run = servers.luigi(*TEACHER)

    def shown() -> Any:
        running = servers.tasks("RUNNING").values()
        own = (task for task in running if task["name"] == "roar.FineTuneTeacher")
        return next((t for t in own if t["progress_percentage"] and "images/s" in (t["status_message"] or "")), None)

    task = until(shown)
    assert re.search(r"epoch \d+/400, loss [\d.]+, [\d,]+ images/s, [\d:]+ left", task["status_message"])
    assert task["resources_running"]["memory_mb"] > 0
    first = task["progress_percentage"]
    until(lambda: (now := shown()) and now["progress_percentage"] > first)
    servers.end(signal.SIGKILL)
    (servers.place.folder / "data/luigid-state.pickle").unlink(missing_ok=True)
    time.sleep(1)
    servers.start()
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 0, output
    assert servers.place.counts()["FineTuneTeacher"] == 1
    assert len(list(servers.place.results("FineTuneTeacher")[0].glob("log/*"))) == 1


def test_a_failure_s_dialog_holds_the_reason_and_the_command_that_mends_it(servers: Servers) -> None:
    (servers.place.folder / "my_maps.py").write_text(METHOD, encoding="utf-8")
    (servers.place.folder / "broken").touch()
    run = servers.luigi("DumpMaps", "--model", "teacher", "--method", "my_maps:moody,gradcam")
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 30, output
    assert "Traceback" not in output
    ((task_id, task),) = servers.tasks("FAILED").items()
    assert task["name"] == "roar.DumpMaps"
    told = json.loads(servers.ask("fetch_error", task_id=task_id)["error"])
    assert "the planted failure" in told
    command = told.splitlines()[-1].removeprefix("  again: ")
    (servers.place.folder / "broken").unlink()
    environment = {**servers.place.environment(), "PYTHONPATH": str(servers.place.folder)}
    environment["PATH"] = f"{BIN}{os.pathsep}{environment['PATH']}"
    before = servers.place.counts()
    done = subprocess.run(command, shell=True, cwd=servers.place.folder, env=environment, check=False)
    assert done.returncode == 0
    assert {k: n - before[k] for k, n in servers.place.counts().items() if n != before[k]} == {"DumpMaps": 1}
