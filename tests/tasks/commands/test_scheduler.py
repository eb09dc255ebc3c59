"""``roar scheduler``: luigid and the page of results, their pages, and a restart during a run."""

import json
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.servers import MOODY, Servers, free_ports, running
from support.waiting import until
from support.workplace import BIN, Workplace

from tasks.commands.scheduler import _options
from tasks.web.luigid import StoredScheduler

TEACHER = ("FineTuneTeacher", "--teacher-epochs", "400")


@pytest.fixture
def servers(workplace: Workplace) -> Iterator[Servers]:
    with running(workplace) as started:
        yield started


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_listen_on_loopback_alone_and_stop_cleanly(servers: Servers, number: signal.Signals) -> None:
    assert servers.process is not None
    port, page = servers.ports
    assert f"http://127.0.0.1:{port} " in servers.lines[0]
    assert f"http://127.0.0.1:{page} " in servers.lines[1]
    assert f"ssh -L {port}:127.0.0.1:{port} -L {page}:127.0.0.1:{page}" in servers.lines[2]
    family = psutil.Process(servers.process.pid).children(recursive=True)
    listening = [c for p in family for c in p.net_connections() if c.status == psutil.CONN_LISTEN]
    assert {(c.laddr.ip, c.laddr.port) for c in listening} == {("127.0.0.1", port), ("127.0.0.1", page)}
    names = {resource["name"]: resource["num_total"] for resource in servers.ask("resource_list")}
    assert names["memory_mb"] > 500
    assert servers.end(number) == 0
    _, alive = psutil.wait_procs(family, timeout=5)
    assert not alive
    assert (servers.workplace.folder / "data/luigid-state.json").is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restarted_luigid_knows_its_tasks(servers: Servers, number: signal.Signals) -> None:
    run = servers.luigi("GenerateScenes")
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 0, output
    ended, state = time.time(), servers.workplace.folder / "data/luigid-state.json"
    if number == signal.SIGKILL:
        until("luigid has stored its state", lambda: state.exists() and state.stat().st_mtime > ended, 20)
    servers.end(number)
    servers.start()
    assert [task["name"] for task in servers.tasks("DONE").values()] == ["roar.GenerateScenes"]


def test_a_server_that_ends_by_itself_is_named(servers: Servers) -> None:
    assert servers.process is not None
    luigid, _ = psutil.Process(servers.process.pid).children()
    luigid.kill()
    servers.process.communicate(timeout=30)
    assert servers.process.returncode == 1
    assert "luigid ended by itself" in servers.log.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("ports", "message"),
    [
        (("{taken}", "1"), "Port {taken} of 127.0.0.1 is not available"),
        (("70000", "{free}"), "give a whole number from 1 to 65,535, not '70000'"),
        (("{free}", "{free}"), "The servers cannot share port {free}"),
    ],
)
def test_a_port_that_is_not_available_is_refused(servers: Servers, ports: tuple[str, str], message: str) -> None:
    numbers = {"taken": servers.ports[0], "free": free_ports()[0]}
    one, other = (port.format(**numbers) for port in ports)
    words = ("scheduler", "--port", one, "--page-port", other)
    code, output = servers.workplace.run(sys.executable, "-m", "tasks", *words)
    assert code == 40
    assert message.format(**numbers) in output
    assert "Traceback" not in output


def test_the_printed_command_names_both_ports_unless_default() -> None:
    assert _options(8082, 8083) == ""
    assert _options(1, 2) == " --scheduler-port 1 --execution-page-port 2"


@pytest.fixture
def dialog(tmp_path: Path) -> Callable[[str | None], tuple[str, object]]:
    """From a failure's message to what follows ``luigi --module`` in the scheduler's dialog."""

    def fetch(message: str | None) -> tuple[str, object]:
        scheduler = StoredScheduler(tmp_path / "state.json")
        task = {"family": "roar.RankPixels", "module": "tasks.chain.explanations", "params": {"model": "teacher"}}
        scheduler.add_task(worker="w", task_id="t", status="FAILED", expl=message, **task)
        answer = scheduler.fetch_error("t")
        return f"{answer['taskModule']} {answer['taskFamily']}", answer["taskParams"]

    return fetch


def test_the_dialog_names_the_command_of_the_message(dialog: Callable[[str | None], tuple[str, object]]) -> None:
    text = "RankPixels failed: so it is\n  again: {}luigi --module tasks RankPixels --model=sswa --maps-batch=3"
    assert dialog(json.dumps(text.format(""))) == ("tasks RankPixels --model=sswa --maps-batch=3", None)
    command, params = dialog(json.dumps(text.format("LUIGI_CONFIG_PATH=a.cfg ")))
    assert command == "tasks ... (whole in the line above that begins with again:)"
    assert params is None


@pytest.mark.parametrize("message", [None, "null", '""', "no JSON", "3"])
def test_a_dialog_without_a_message_names_the_family(
    message: str | None, dialog: Callable[[str | None], tuple[str, object]]
) -> None:
    assert dialog(message) == ("tasks.chain.explanations RankPixels", {"model": "teacher"})


def test_a_missing_scheduler_is_one_message(workplace: Workplace) -> None:
    command = (str(BIN / "luigi"), "--module", "tasks", "GenerateScenes", "--scheduler-port", "9")
    code, output = workplace.run(*command)
    assert code == 40
    assert "No scheduler answers at http://localhost:9" in output
    assert "Traceback" not in output


def test_progress_is_shown_and_a_run_survives_a_killed_scheduler(servers: Servers) -> None:
    run = servers.luigi(*TEACHER)

    def task_with_progress() -> Any:
        running = servers.tasks("RUNNING").values()
        own = (task for task in running if task["name"] == "roar.FineTuneTeacher")
        return next((t for t in own if t["progress_percentage"] and "images/s" in (t["status_message"] or "")), None)

    task = until("the scheduler shows the teacher's progress", task_with_progress)
    assert re.search(r"epoch \d+/400, loss [\d.]+, [\d,]+ images/s, [\d:]+ left", task["status_message"])
    assert task["resources_running"]["memory_mb"] > 0
    first = task["progress_percentage"]
    until("the bar has moved", lambda: (now := task_with_progress()) and now["progress_percentage"] > first)
    servers.end(signal.SIGKILL)
    (servers.workplace.folder / "data/luigid-state.json").unlink(missing_ok=True)
    time.sleep(1)  # the run calls in vain and retries
    servers.start()
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 0, output
    assert servers.workplace.counts()["FineTuneTeacher"] == 1
    assert len(list(servers.workplace.results("FineTuneTeacher")[0].glob("log/*"))) == 1


def test_a_failure_s_dialog_has_the_reason_and_the_command_that_runs_it_again(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(servers.workplace.folder))
    (servers.workplace.folder / "my_maps.py").write_text(MOODY, encoding="utf-8")
    (servers.workplace.folder / "broken").touch()
    run = servers.luigi("DumpMaps", "--model", "teacher", "--method", "my_maps:moody,gradcam")
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 30, output
    assert "Traceback" not in output
    ((task_id, task),) = servers.tasks("FAILED").items()
    assert task["name"] == "roar.DumpMaps"
    message = json.loads(servers.ask("fetch_error", task_id=task_id)["error"])
    assert "the planted failure" in message
    command = message.splitlines()[-1].removeprefix("  again: ")
    (servers.workplace.folder / "broken").unlink()
    before = servers.workplace.counts()
    assert servers.workplace.shell(command)[0] == 0
    assert {k: n - before[k] for k, n in servers.workplace.counts().items() if n != before[k]} == {"DumpMaps": 1}
