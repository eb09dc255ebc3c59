"""luigid's state is data that only its user can have written, and it answers to this machine's own names only."""

import http.client
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from luigi.scheduler import Task
from luigi.task_status import DONE, FAILED, RUNNING
from support.servers import Servers, running
from support.workplace import Workplace

from tasks.web.luigid import STATE_FILE, StoredScheduler
from tasks.web.safety import is_own_host, is_own_page


def busy_scheduler(path: Path) -> StoredScheduler:
    """A scheduler with tasks of many kinds, two workers and a batcher."""
    scheduler = StoredScheduler(path)
    scheduler.add_worker("w", [("workers", 2), ("host", "here")])
    scheduler.add_task_batcher("w", "roar.Retrain", ["percent"], 3)
    scheduler.add_task_batcher("w", "roar.DumpMaps", ["method"])
    common: dict[str, Any] = {
        "family": "roar.Retrain",
        "module": "tasks.chain.retraining",
        "resources": {"memory_mb": 1},
    }
    scheduler.add_task(worker="w", task_id="done", status=DONE, params={"seed": "0"}, **common)
    scheduler.add_task(worker="w", task_id="failed", status=FAILED, expl='"no luck ü"', deps=["done"], **common)
    scheduler.add_task(worker="w", task_id="next", deps=["done"], priority=2.5, accepts_messages=True, **common)
    scheduler.add_task(worker="v", task_id="later", deps=["next", "failed"], tracking_url="http://x", **common)
    assert scheduler.get_work(worker="w")["task_id"] == "next"
    scheduler.set_task_progress_percentage("next", 40)
    scheduler.set_task_status_message("next", "epoch 4/10")
    scheduler.send_scheduler_message("w", "next", "hello")
    return scheduler


def plain(state: Any) -> Any:
    """Return tasks, workers and batchers as comparable data."""
    tasks, workers, batchers = state

    def attributes(item: Any) -> dict[str, Any]:
        values = {key: sorted(v, key=str) if isinstance(v, set) else v for key, v in vars(item).items()}
        return values | ({"tasks": sorted(t.id for t in item.tasks)} if "tasks" in values else {})

    return {k: attributes(task) for k, task in tasks.items()}, {k: attributes(w) for k, w in workers.items()}, batchers


def test_a_restored_state_equals_the_stored_one(tmp_path: Path) -> None:
    """It equals the state after pickling, too, which Luigi uses and which runs code when it is read."""
    before = busy_scheduler(tmp_path / STATE_FILE)
    before.dump()
    after = StoredScheduler(tmp_path / STATE_FILE)
    after.load()
    assert plain(after._state.get_state()) == plain(pickle.loads(pickle.dumps(before._state.get_state())))
    assert (tmp_path / STATE_FILE).stat().st_mode & 0o777 == 0o600
    assert all(isinstance(task, Task) for task in after._state.get_worker("w").tasks)
    assert list(after.task_list(RUNNING, "")) == ["next"]
    assert list(after.task_list(FAILED, "")) == ["failed"]
    after.add_task(worker="w", task_id="next", status=DONE)
    after.add_task(worker="w", task_id="failed", status=DONE)
    assert after.get_work(worker="v")["task_id"] == "later"


class Planted:
    """An object that runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def edited(change: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    def edit(content: bytes) -> bytes:
        state = json.loads(content)
        change(state)
        return json.dumps(state).encode()

    return edit


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "bytes": lambda content: bytes(range(256)),
    "deep": lambda content: b"[" * 200_000,
    "list": lambda content: b"[]",
    "version": edited(lambda state: state.update(version=99)),
    "no tasks": edited(lambda state: state.pop("tasks")),
    "no id": edited(lambda state: state["tasks"][0].pop("id")),
    "status": edited(lambda state: state["tasks"][0].update(status="GREAT")),
    "a list for a status": edited(lambda state: state["tasks"][0].update(status=[])),
    "a text for a set": edited(lambda state: state["tasks"][0].update(workers="w")),
    "a text for a time": edited(lambda state: state["workers"][0].update(last_active="now")),
    "a method": edited(lambda state: state["workers"][0].update(prune="now")),
    "batchers": edited(lambda state: state["batchers"].update(w=3)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_set_aside_with_one_message(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / STATE_FILE
    busy_scheduler(path).dump()
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    check_refusal(path, capsys, "")


def test_a_pickle_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / STATE_FILE
    path.write_bytes(pickle.dumps(Planted(tmp_path / "ran")))
    path.chmod(0o600)
    check_refusal(path, capsys, "")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["group may write", "all may write", "another's", "link", "folder", "pipe"])
def test_a_state_that_others_can_have_written_is_not_read(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / STATE_FILE
    busy_scheduler(path).dump()
    if kind.endswith("may write"):
        path.chmod(0o620 if kind.startswith("group") else 0o602)
    elif kind == "another's":
        owner = os.geteuid()
        answers = iter([owner + 1])
        monkeypatch.setattr(os, "geteuid", lambda: next(answers, owner))
    elif kind == "link":
        path.rename(tmp_path / "elsewhere.json")
        path.symlink_to(tmp_path / "elsewhere.json")
    else:
        path.unlink()
        path.mkdir() if kind == "folder" else os.mkfifo(path)
    words = {"another's": "it belongs to user", "link": "symbolic links", "folder": "directory", "pipe": "no regular"}
    check_refusal(path, capsys, words.get(kind, "others may write it: its mode is 6"))


def check_refusal(path: Path, capsys: pytest.CaptureFixture[str], words: str) -> None:
    """Check that a state's file is renamed, that one line says so, and that a new state can be stored and restored."""
    scheduler = StoredScheduler(path)
    capsys.readouterr()
    scheduler.load()
    _, errors = capsys.readouterr()
    assert errors.startswith(f"{path} cannot be used (")
    assert words in errors
    assert errors.count("\n") == 1
    assert not path.exists()
    assert len(list(path.parent.glob(f"{path.name}.*.aside"))) == 1
    assert scheduler.task_list("", "") == {}
    scheduler.add_task(worker="w", task_id="t")
    scheduler.dump()
    again = StoredScheduler(path)
    again.load()
    assert list(again.task_list("", "")) == ["t"]


@pytest.mark.parametrize("host", ["localhost", "localhost:8082", "127.0.0.1:1", "[::1]:65535", "LOCALHOST", None])
def test_own_names(host: str | None) -> None:
    assert is_own_host(host)


@pytest.mark.parametrize(
    "host", ["", "evil.example", "evil.example:8082", "localhost.evil.example", "127.0.0.1.nip.io", "localhost:1\n"]
)
def test_foreign_names(host: str) -> None:
    assert not is_own_host(host)


OWN = "localhost:8082"
OTHERS = (
    *("https://evil.example", "http://evil.example:8082", "null", "", "http://localhost", "http://localhost:8888"),
    *("http://127.0.0.1:8082", "http://localhost:8082.evil.example", "file://"),
)
VISUALISER = "/static/visualiser/index.html"
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.mark.parametrize("site", ["cross-site", "same-site", "strange"])
def test_a_foreign_page_commands_nothing(site: str) -> None:
    """As images, scripts, forms and frames of it would."""
    foreign = {"Host": OWN, "Sec-Fetch-Site": site}
    for path in ("/api/pause", "/", VISUALISER, "/metrics"):
        assert not is_own_page("GET", path, foreign)
        assert not is_own_page("GET", path, {**foreign, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"})
        assert not is_own_page("GET", path, {**foreign, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"})
        assert not is_own_page("POST", path, {**foreign, **LINK})
    assert not is_own_page("GET", "/api/pause", {"Host": OWN, **LINK})


@pytest.mark.parametrize("origin", OTHERS)
def test_a_foreign_origin_commands_nothing(origin: str) -> None:
    """Also of a browser that does not send how the page relates to the server."""
    for headers in ({}, {"Sec-Fetch-Site": "same-origin"}, LINK):
        assert not is_own_page("POST", "/api/pause", {"Host": OWN, "Origin": origin, **headers})
        assert not is_own_page("GET", "/", {"Host": OWN, "Origin": origin, **headers})


def test_own_pages_links_and_programs_are_served() -> None:
    assert is_own_page("POST", "/api/pause", {"Host": OWN})
    assert is_own_page("GET", "/api/pause", {})
    for host in (OWN, "LOCALHOST:8082", "[::1]:8082"):
        own = {"Host": host, "Origin": f"http://{host}".lower()}
        assert is_own_page("POST", "/api/pause", own)
        assert is_own_page("POST", "/api/pause", {**own, "Sec-Fetch-Site": "same-origin"})
    assert is_own_page("GET", "/api/task_list", {"Host": OWN, "Sec-Fetch-Site": "none"})
    for path in ("/", VISUALISER):
        assert is_own_page("GET", path, {"Host": OWN, **LINK})


def status_of(servers: Servers, method: str, path: str, host: str, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", servers.ports[0], timeout=10)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host)
    connection.putheader("Content-Length", "0")
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def test_the_server_begins_anew_from_a_damaged_state_and_refuses_foreign_hosts_and_pages(workplace: Workplace) -> None:
    (workplace.folder / "data").mkdir()
    state = workplace.folder / "data" / STATE_FILE
    state.write_bytes(b"\x80\x04damaged")
    state.chmod(0o600)
    with running(workplace) as servers:
        log = servers.log.read_text(encoding="utf-8")
        assert f"{state} cannot be used (" in log
        assert "Traceback" not in log
        assert len(list(state.parent.glob("*.aside"))) == 1
        port = servers.ports[0]
        paths = ("/api/task_list", "/api/pause", "/static/visualiser/index.html", "/metrics", "/", "/nowhere")
        for path in paths:
            for method in ("GET", "POST", "HEAD", "OPTIONS"):
                for host in ("evil.example", f"evil.example:{port}", f"127.0.0.1.nip.io:{port}", ""):
                    assert status_of(servers, method, path, host) == 403, (method, path, host)
                own = f"localhost:{port}"
                assert status_of(servers, method, path, own, Origin="http://evil.example") == 403, (method, path)
                assert status_of(servers, method, path, own, Sec_Fetch_Site="cross-site") == 403, (method, path)
        assert not servers.ask("is_paused")["paused"]
        assert status_of(servers, "POST", "/api/is_pause_enabled", own, Origin=f"http://{own}") == 200
        for host in (f"localhost:{port}", f"127.0.0.1:{port}", "[::1]:9"):
            assert status_of(servers, "GET", "/static/visualiser/index.html", host) == 200
            assert status_of(servers, "GET", "/", host) == 302
            assert status_of(servers, "HEAD", "/", host) == 204
            assert status_of(servers, "GET", "/api/is_pause_enabled", host) == 200
