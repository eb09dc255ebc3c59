"""The result server: right, read-only, and closed to everything but the results and this machine."""

import contextlib
import fcntl
import gzip
import hashlib
import html
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.workplace import Workplace

from tasks.web.curves import HEIGHT, WIDTH, panels
from tasks.web.safety import is_below, open_below, read_end

SECRET = "nobody may read this"
SCRIPT = "<script>alert(1)</script>"
EVIL = "b" * 64


@dataclass(frozen=True)
class Answer:
    code: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(frozen=True)
class Server:
    process: "subprocess.Popen[str]"
    port: int

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def raw(self, request: bytes, *, hang_up: bool = False) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as line:
            line.sendall(request)
            if hang_up:
                line.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: line.recv(65536), b""))


def start(workplace: Workplace, *options: str) -> Server:
    process = subprocess.Popen(
        [sys.executable, "-m", "tasks", "pages", "--port", "0", *options],
        cwd=workplace.folder,
        env=workplace.environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if match := re.fullmatch(r"Pages: http://[\d.]+:(\d+)/\n", line):
            return Server(process, int(match[1]))
    raise AssertionError(line)


def stop(server: Server, number: int = signal.SIGTERM) -> None:
    """Stop the server, which must have logged no request and no error."""
    server.process.send_signal(number)
    _, errors = server.process.communicate(timeout=20)
    assert server.process.returncode == 0, errors
    assert not re.search("Traceback|Error|GET|POST|HEAD", errors), errors


@dataclass(frozen=True)
class Planted:
    """A copy of the chain with some results in other states; their digits and directories by state."""

    workplace: Workplace
    digits: dict[str, str]
    directories: dict[str, Path]


@pytest.fixture(scope="module")
def chain(pristine: Workplace) -> Workplace:
    """The small chain, which tests only read."""
    return pristine


@pytest.fixture(scope="module")
def planted(chain: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    folder = tmp_path_factory.mktemp("pages") / "copy"
    shutil.copytree(chain.folder, folder, ignore=shutil.ignore_patterns("trash"))
    workplace = Workplace(folder)
    workplace.configure()
    outside = folder / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text(SECRET)
    cells = {
        key: next(d for d in workplace.results("Retrain") if d.name.startswith(start))
        for key, start in {
            "failed": "method=gradcam,model=teacher,model_seed=0,percent=30",
            "interrupted": "method=gradcam,model=teacher,model_seed=0,percent=60",
            "running": "method=gradcam,model=sswa-2,model_seed=0,percent=30",
            "missing": "method=gradcam,model=sswa-2,model_seed=0,percent=60",
            "linked": "method=random,percent=30",
            "done": "percent=0,seed=0",
        }.items()
    }
    (cells["damaged"],) = workplace.results("DistillStudent")
    (cells["damaged"] / "model.pt").write_bytes(b"")
    for key in ("failed", "interrupted", "running"):
        manifest = json.loads((cells[key] / "manifest.json").read_text())
        (cells[key] / "manifest.json").rename(cells[key] / "aside")
        note = {"fingerprint": manifest["fingerprint"], "identity": manifest["identity"], "started": 1e9, "spent": 0}
        (cells[key] / "partial-attempt.json").write_text(json.dumps(note))
    (cells["failed"] / "partial-failure.json").write_text(json.dumps({"message": f"Traceback\nValueError: {SCRIPT}"}))
    (cells["failed"] / "log/attempt-2.log").write_text(f"two {SCRIPT}\n")
    history = [{"epoch": epoch, "loss": 1 / epoch, "validation": None} for epoch in (1, 2)]
    progress = {"share": 0.25, "text": "epoch 1/4", "seconds_left": 12, "updated": 1e9, "history": history}
    (cells["running"] / "partial-progress.json").write_text(json.dumps(progress))
    shutil.rmtree(cells["missing"])
    plant_links(cells["linked"], outside, workplace.folder / "data/runs/Retrain")
    with (cells["running"] / ".lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Planted(workplace, {key: d.name[-12:] for key, d in cells.items()}, cells)


def plant_links(cell: Path, outside: Path, family: Path) -> None:
    """Plant links that lead out of the data folder: in a result, as a result, and in a manifest."""
    size = (cell / "scores.npy").stat().st_size
    (outside / "scores.npy").write_bytes(SECRET.encode().ljust(size))
    (cell / "scores.npy").unlink()
    (cell / "scores.npy").symlink_to(outside / "scores.npy")
    (cell / "log/attempt-7.log").symlink_to(outside / "secret.txt")
    (cell / "log/attempt-8.log").symlink_to("/etc/passwd")
    names = [
        "../../../../outside/secret.txt",
        str(outside / "secret.txt"),
        "..",
        f"{SCRIPT}.png",
        "away.txt",
        "ok.txt",
        "large.bin",
    ]
    manifest = {
        "fingerprint": EVIL,
        "identity": {"parameters": {"label": SCRIPT}, "settings": {}, "inputs": ["c" * 64]},
        "files": {name: {"bytes": 2, "sha256": ""} for name in names},
    }
    for directory in (family / f"evil={EVIL[:12]}__{EVIL[:12]}", outside / "result"):
        (directory / "log").mkdir(parents=True)
        (directory / "manifest.json").write_text(json.dumps(manifest))
        (directory / "ok.txt").write_text("ok")
        (directory / "large.bin").write_bytes(b"large " * 2_000_000)
        (directory / "away.txt").symlink_to(outside / "secret.txt")
        os.mkfifo(directory / "log/attempt-9.log")
    (family / f"link__{'d' * 12}").symlink_to(outside / "result")
    unfinished = family / f"x__{'e' * 12}"
    unfinished.mkdir()
    (outside / "attempt-1.log").write_text(SECRET)
    (unfinished / "log").symlink_to(outside)


@pytest.fixture(scope="module")
def server(planted: Planted) -> Iterator[Server]:
    started = start(planted.workplace)
    yield started
    stop(started)


@dataclass(frozen=True)
class Square:
    """A result on the grid's page."""

    state: str
    title: str
    share: str
    """In tenths."""
    why: str
    text: str


def squares(page: str) -> dict[str, Square]:
    """Return the squares of the grid's page, or of a part of it, by their digits."""
    details = r'title="([^"]*)"(?: data-share="(\d+)")?(?: data-why="([^"]*)")?>([^<]*)'
    matches = re.findall(rf'<a href="/task/(\w{{12}})" class="sq (\w+)" {details}</a>', page)
    assert len(matches) == page.count('" class="sq ') == len({digits for digits, *_ in matches})
    return {digits: Square(*map(html.unescape, values)) for digits, *values in matches}


def part(page: str, name: str) -> str:
    """Return the HTML of the part with this id, unescaped."""
    match = re.search(rf'<(\w+) id="{name}"[^>]*data-part.*?</\1>', page, re.DOTALL)
    assert match is not None, name
    return html.unescape(match[0])


def parts(page: str) -> set[str]:
    return set(re.findall(r'<\w+ id="([\w-]+)"[^>]*data-part', page))


def source(page: str) -> str:
    """Return the address at which a page asks for changes."""
    return html.unescape(re.search(r'data-source="([^"]*)"', page)[1])  # type: ignore[index]


def counts(page: str) -> dict[str, dict[str, int]]:
    """Return the numbers of results by family and state, as in the table of stages."""
    rows = re.findall(r'<tr><th scope="row">(\w+)</th><td>(\d+)</td>(.*?)</tr>', part(page, "stages"))
    texts = {family: dict(re.findall(r'<td class="(\w+)">(\d+)</td>', cells)) for family, _, cells in rows}
    numbers = {family: {kind: int(number) for kind, number in kinds.items()} for family, kinds in texts.items()}
    assert {family: int(total) for family, total, _ in rows} == {f: sum(kinds.values()) for f, kinds in numbers.items()}
    return numbers


def test_the_grid_shows_every_result_once_with_its_state(server: Server, planted: Planted) -> None:
    page = server.ask("/").text
    by_digits = squares(page)
    assert {key: by_digits[digits].state for key, digits in planted.digits.items()} == {
        key: key for key in planted.digits
    } | {"linked": "done"}
    assert counts(page)["Retrain"] == {"done": 4, "running": 1, "failed": 1, "interrupted": 1, "missing": 1}
    assert counts(page)["Report"] == {"missing": 1}
    assert sum(count for kinds in counts(page).values() for count in kinds.values()) == len(by_digits) == 22
    done = [square.state for square in by_digits.values()].count("done")
    assert f"{done} of 22 results done" in part(page, "sum")
    assert f">1 failed, {100 * done // 22} % – " in part(page, "title")
    assert f'<rect class="done" x="0" width="{done}" height="1"/>' in part(page, "sum")
    assert part(page, "count-done") == f'<span id="count-done" data-part>{done}</span>'
    map_classes = json.loads((planted.directories["done"] / "metrics.json").read_text())["test"]["map_classes"]
    score = f"{100 * map_classes:.1f}"
    clean = by_digits[planted.digits["done"]]
    assert (clean.title, clean.text, clean.why) == (f"seed 0: done, mAP {score} %", score, "")
    running = by_digits[planted.digits["running"]]
    assert (running.title, running.share, running.text) == ("seed 0: running, 25 %", "2", "")
    assert "epoch 1/4, about 00:12 left" in running.why
    assert by_digits[planted.digits["failed"]].why == f"ValueError: {SCRIPT}"
    assert "model.pt has 0 bytes" in by_digits[planted.digits["damaged"]].why
    assert re.findall(r"<caption>(.*?) <span", page) == ["Clean and controls", "Grad-CAM"]
    assert part(page, "tally-1") == '<span id="tally-1" data-part>0 of 4</span>'
    assert SCRIPT not in page


def test_running_and_failed_results_are_listed(server: Server, planted: Planted) -> None:
    page = server.ask("/").text
    (item,) = re.findall(r"<li.*?</li>", part(page, "running"))
    assert f'href="/task/{planted.digits["running"]}"' in item
    assert '<progress max="1" value="0.25"' in item
    assert "epoch 1/4, about 00:12 left" in item
    items = re.findall(r"<li.*?</li>", part(page, "attention"), re.DOTALL)
    order = ("failed", "damaged", "interrupted")
    assert [re.search(r"attention-(\w+)", item)[1] for item in items] == [planted.digits[key] for key in order]  # type: ignore[index]
    assert "Retrain method=gradcam model=teacher model_seed=0 percent=30 direction=remove seed=0" in items[0]
    assert f"<p>ValueError: {SCRIPT}</p>" in items[0]
    assert re.search(r"<code>.* --module tasks Retrain --model=teacher --method=gradcam --percent=30</code>", items[0])
    assert '<p class="more" hidden>' in part(page, "attention")


def test_only_changed_parts_are_sent(server: Server, planted: Planted) -> None:
    page = server.ask("/").text
    latest = source(page)
    assert parts(server.ask(latest).text) == set()
    directory = planted.directories["running"]
    note = json.loads((directory / "partial-progress.json").read_text())
    (directory / "partial-progress.json").write_text(json.dumps({**note, "share": 0.5}))
    (planted.directories["failed"] / "partial-failure.json").rename(planted.directories["failed"] / "hidden")
    time.sleep(2.1)  # until the snapshot, which is used for two seconds, is made anew
    later = server.ask(latest).text
    (planted.directories["failed"] / "hidden").rename(planted.directories["failed"] / "partial-failure.json")
    rows = {name for name in parts(later) if name.startswith("row-")}
    changed = {planted.digits[key]: "running" if key == "running" else "interrupted" for key in ("running", "failed")}
    assert {digits: square.state for digits, square in squares(later).items() if digits in changed} == changed
    assert squares(later)[planted.digits["running"]].share == "5"
    assert parts(later) == rows | {"title", "stages", "running", "attention", "count-failed", "count-interrupted"} | {
        "sum"
    }
    assert rows == {name for name in parts(page) if name.startswith("row-1-")}, "those of the two results"
    assert parts(later) <= parts(page)
    boot = latest.partition("=")[2].partition("-")[0]
    for since in ("0123abcd-5", "-1", "x", boot, f"{boot}--1", f"{boot}-99999999999999", "%C3%A9", ""):
        assert parts(server.ask(f"/changes?since={since}").text) == parts(page), since
    time.sleep(2.1)  # until the snapshot is made anew
    assert squares(server.ask("/").text)[planted.digits["failed"]].state == "failed"


def test_an_unchanged_page_is_not_sent_again(server: Server, planted: Planted) -> None:
    for address in (source(server.ask("/").text), f"/task/{planted.digits['done']}"):
        first = server.ask(address)
        again = server.ask(address, **{"If-None-Match": first.headers["etag"]})
        assert (first.code, again.code, again.body) == (200, 304, b"")
        assert again.headers["content-security-policy"] == first.headers["content-security-policy"]


@pytest.mark.parametrize("key", ["done", "failed", "interrupted", "running", "missing", "damaged", "linked"])
def test_page_of_a_task(server: Server, planted: Planted, key: str) -> None:
    digits = planted.digits[key]
    page = server.ask(f"/task/{digits}").text
    assert f'data-kind="{"done" if key == "linked" else key}"' in page
    assert SCRIPT not in page
    assert "<td>vgg11_small</td>" in page
    assert re.search(r"<code>.*luigi --module tasks \w+ ", page)
    assert re.search(r'<i class="sq done" aria-hidden="true"></i><a href="/task/\w{12}">PrepareImages', page)
    assert source(page) == f"/task/{digits}"
    assert parts(page) == {"head", "result", "attempts", "log", "facts"}
    attempts = {"failed": [1, 2], "missing": [], "linked": [1, 7, 8]}.get(key, [1])
    assert [int(number) for number in re.findall(r"attempt=(\d+)\"", page)] == attempts
    if key == "failed":
        assert "ValueError: &lt;script&gt;alert(1)&lt;/script&gt;" in page
    if key == "done":
        assert "<figcaption>Training loss</figcaption>" in page
        assert f'<a href="/task/{digits}/files/metrics.json">metrics.json</a>' in page


def test_a_page_by_the_whole_fingerprint(server: Server, planted: Planted) -> None:
    whole = json.loads((planted.directories["done"] / "manifest.json").read_text())["fingerprint"]
    assert server.ask(f"/task/{whole}").code == 200
    assert server.ask(f"/task/{whole[:12]}{'0' * 52}").code == 404
    for wrong in (whole[:11], whole[:13], whole[:12].upper(), "0" * 12, "", "x" * 12):
        assert server.ask(f"/task/{wrong}").code == 404, wrong


def test_a_result_outside_the_grid_has_a_page(server: Server) -> None:
    assert f'<a href="/task/{EVIL[:12]}">' in server.ask("/others").text
    page = server.ask(f"/task/{EVIL}").text
    assert "not part of the grid" in page
    assert SCRIPT not in page
    assert "&lt;script&gt;" in page
    assert server.ask(f"/task/{EVIL[:12]}/files/ok.txt").body == b"ok"
    assert server.ask(f"/task/{EVIL[:12]}/files/large.bin").body == b"large " * 2_000_000


def test_a_client_may_disconnect(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as line:
        line.sendall(f"GET /task/{EVIL[:12]}/files/large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert line.recv(100).startswith(b"HTTP/1.1 200 OK")
    assert server.ask("/").code == 200


def test_files_and_figures(server: Server, planted: Planted) -> None:
    (teacher,) = planted.workplace.results("FineTuneTeacher")
    digits = teacher.name[-12:]
    for name, kind in {"curves.png": "image/png", "model.pt": "application/octet-stream"}.items():
        answer = server.ask(f"/task/{digits}/files/{name}")
        assert answer.body == (teacher / name).read_bytes()
        assert answer.headers["content-type"] == kind
        assert ("content-disposition" in answer.headers) == (name == "model.pt")
    assert "Validation, %" in server.ask(f"/task/{digits}").text
    (report,) = planted.workplace.results("Report")
    page = server.ask(f"/task/{report.name[-12:]}").text
    assert f'src="/task/{report.name[-12:]}/files/roar_f1_samples.png"' in page


def test_report_of_another_state_says_so(server: Server, planted: Planted) -> None:
    (report,) = planted.workplace.results("Report")
    page = server.ask("/report").text
    assert "The report of this grid is not done</b>: 16 of 21 results are done" in page
    address = f"/task/{report.name[-12:]}/files/report.html"
    assert f'<iframe src="{address}"' in page
    answer = server.ask(address)
    assert answer.body == (report / "report.html").read_bytes()
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "script-src" not in answer.headers["content-security-policy"]


def test_the_page_shows_the_end_of_the_newest_log(server: Server, planted: Planted) -> None:
    log = planted.directories["running"] / "log/attempt-1.log"
    address = f"/task/{planted.digits['running']}"
    assert part(server.ask(address).text, "log").endswith(f">{log.read_text()}</pre>")
    with log.open("a") as file:
        file.write("näher <b>\n")
    assert part(server.ask(address).text, "log").endswith("\nnäher <b>\n</pre>")
    assert server.ask(f"{address}/log/1").text == log.read_text()
    for wrong in ("2", "0", "01x", "-1", "99999999999"):
        assert server.ask(f"{address}/log/{wrong}").code == 404
    assert "näher &lt;b&gt;" in server.ask(address).text


def test_the_log_of_an_earlier_attempt(server: Server, planted: Planted) -> None:
    address = f"/task/{planted.digits['failed']}"
    newest, earlier = server.ask(address).text, server.ask(f"{address}?attempt=1").text
    assert part(newest, "log").endswith(f">two {SCRIPT}\n</pre>")
    assert part(earlier, "log").endswith(f">{(planted.directories['failed'] / 'log/attempt-1.log').read_text()}</pre>")
    assert (source(newest), source(earlier)) == (address, f"{address}?attempt=1")
    assert f'<a href="{address}?attempt=1" aria-current="true">' in part(earlier, "attempts")
    for wrong in ("3", "0", "-1", "x", "", "1e3", "9" * 40, "..%2f1"):
        assert server.ask(f"{address}?attempt={wrong}").code == 404, wrong


@pytest.mark.parametrize(("result", "attempt"), [("linked", 7), ("linked", 8), ("evil", 9)])
def test_a_log_that_leads_outside_is_not_shown(server: Server, planted: Planted, result: str, attempt: int) -> None:
    page = server.ask(f"/task/{planted.digits.get(result, EVIL[:12])}?attempt={attempt}").text
    assert part(page, "log").endswith("data-part></pre>")
    assert SECRET not in page
    assert "root:" not in page


def test_script_in_a_log_is_text(server: Server, planted: Planted) -> None:
    answer = server.ask(f"/task/{planted.digits['failed']}/log/2")
    assert answer.text == f"two {SCRIPT}\n"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


ADDRESSES = ["/", "/changes", "/report", "/others", "/static/pages.css", "/static/pages.js", "/nothing"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_headers(server: Server, address: str) -> None:
    answer = server.ask(address)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == ("no-cache" if "static" in address else "no-store")
    assert "server" not in answer.headers
    if not address.startswith("/static"):
        assert not re.search(r"<script>|<style|\son\w+=|\sstyle=|https?://", answer.text)
    head = server.ask(address, "HEAD")
    assert (head.code, head.body) == (answer.code, b"")
    assert head.headers["content-type"] == answer.headers["content-type"]


def test_head_of_files_and_logs(server: Server, planted: Planted) -> None:
    for below in ("", "/log/1", "/files/metrics.json"):
        address = f"/task/{planted.digits['done']}{below}"
        head, answer = server.ask(address, "HEAD"), server.ask(address)
        assert (head.code, head.body) == (200, b""), below
        assert int(head.headers["content-length"]) == len(answer.body), below


def test_answers_are_compressed(server: Server) -> None:
    answer = server.ask("/", **{"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert squares(gzip.decompress(answer.body).decode()).keys() == squares(server.ask("/").text).keys()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_other_methods_are_refused(server: Server, planted: Planted, method: str) -> None:
    for address in (*ADDRESSES, f"/task/{planted.digits['done']}", f"/task/{planted.digits['done']}/log/1"):
        answer = server.ask(address, method, b"x=1")
        assert answer.code == 405, address
        assert answer.headers["allow"] == "GET, HEAD"


def test_other_names_of_this_machine_are_refused(server: Server) -> None:
    for host in ("localhost", "127.0.0.1", "LOCALHOST:99", "[::1]", f"127.0.0.1:{server.port}", "[::1]:80"):
        assert server.ask("/", Host=host).code == 200, host
    wrong = ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil@localhost", "127.0.0.2", "::1")
    for host in (*wrong, "localhost:80:80", "localhost:", "0.0.0.0", "localhost evil", "2130706433"):
        for address in ("/", "/changes", "/static/pages.js", "/nothing"):
            assert server.ask(address, Host=host).code in (400, 403), host
    two = server.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
    assert re.match(rb"HTTP/1.1 40[03] ", two)


OUTSIDE = [
    "/../../etc/passwd",
    "//etc/passwd",
    "/static/../server.py",
    "/static/..%2fserver.py",
    "/static/%2e%2e%2fserver.py",
    "/static//etc/passwd",
    "/task/../../etc/passwd",
    "/task/{task}/files/../manifest.json",
    "/task/{task}/files/manifest.json",
    "/task/{task}/files/partial-attempt.json",
    "/task/{task}/files/.lock",
    "/task/{task}/files/log",
    "/task/{task}/files/..%2f..%2f..%2f..%2foutside%2fsecret.txt",
    "/task/{task}/files/%2e%2e",
    "/task/{task}/files/%252e%252e%252f%252e%252e",
    "/task/{task}/files/..%5c..%5csecret.txt",
    "/task/{task}/files/..\\..\\secret.txt",
    "/task/{task}/files/%2fetc%2fpasswd",
    "/task/{task}/files/metrics.json%00.png",
    "/task/{task}/files/%00",
    "/task/{task}/files/%ff",
    "/task/{task}/files/metrics.json%0a",
    "/task/{task}/files/",
    "/task/{task}/log/..%2f..%2fmanifest.json",
    "/task/{task}/log/1%2f..",
    "/task/{linked}/files/scores.npy",
    "/task/{linked}/log/7",
    "/task/{linked}/log/8",
    "/task/{evil}/log/9",
    "/task/{linked}/log/1.json",
    "/status.json",
    "/task/{task}/status.json",
    "/task/{evil}/files/..",
    "/task/{evil}/files/away.txt",
    "/task/{evil}/files/..%2f..%2f..%2f..%2foutside%2fsecret.txt",
    "/task/{evil}/files/%2fetc%2fpasswd",
    "/task/" + "d" * 12,
    "/task/" + "d" * 12 + "/files/ok.txt",
    "/task/" + "e" * 12 + "/log/1",
    "/task/%2e%2e%2f%2e%2e",
    "/task/" + "%61" * 12,
]


@pytest.mark.parametrize("address", OUTSIDE)
def test_nothing_outside_can_be_read(server: Server, planted: Planted, address: str) -> None:
    path = address.format(task=planted.digits["done"], linked=planted.digits["linked"], evil=EVIL[:12])
    answer = server.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert re.match(rb"HTTP/1.1 (404|400) ", answer), answer[:200]
    assert SECRET.encode() not in answer
    assert b"root:" not in answer
    assert b"Traceback" not in answer


def stamp(folder: Path) -> str:
    """Hash names, times and contents of everything below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        stat = path.lstat()
        digest.update(f"{path} {stat.st_mode} {stat.st_size} {stat.st_mtime_ns}".encode())
        if path.is_file() and not path.is_symlink():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def test_no_request_changes_anything(server: Server, planted: Planted) -> None:
    draw = random.Random(0)
    before = stamp(planted.workplace.folder)
    addresses = [*ADDRESSES, *(f"/task/{digits}" for digits in planted.digits.values())]
    parts = [
        "",
        "/log/1",
        "?attempt=1",
        "/files/metrics.json",
        "/../..",
        "?",
        "?a=1&a=2",
        "?attempt=%ff",
    ]
    queries = ["since=%00", "since[]=1", "cmd=rm", "_method=DELETE", "attempt=1&attempt=2", "=", "&&&", "%", "a" * 3000]
    methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "LINK"]
    for _ in range(300):
        path = f"{draw.choice(addresses)}{draw.choice(parts)}?{draw.choice(queries)}"
        answer = server.ask(path, draw.choice(methods), draw.choice([None, b"", b"{}", b"x" * 5000]))
        assert answer.code in (200, 400, 404, 405), path
    with contextlib.suppress(ConnectionError):
        assert server.ask("/", "POST", b"x" * 100_000).code in (400, 405)
    for garbage in (
        b"\x00\x01\x02\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 9000,
    ):
        server.raw(garbage, hang_up=True)
    assert server.ask("/").code == 200
    assert stamp(planted.workplace.folder) == before


def test_the_server_listens_on_the_loopback_only(server: Server) -> None:
    process = psutil.Process(server.process.pid)
    connections = getattr(process, "net_connections", None) or process.connections
    listening = {socket.laddr for socket in connections(kind="all") if socket.status == psutil.CONN_LISTEN}
    assert listening == {("127.0.0.1", server.port)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_cleanly_with_readers_connected(chain: Workplace, number: int) -> None:
    server = start(chain)
    unfinished = socket.create_connection(("127.0.0.1", server.port))
    unfinished.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
    idle = http.client.HTTPConnection("127.0.0.1", server.port)
    idle.request("GET", "/report")
    page = idle.getresponse().read().decode()
    assert "The report of this grid, made" in page
    began = time.monotonic()
    stop(server, number)
    assert time.monotonic() - began < 5
    idle.close()
    unfinished.close()


def test_pages_take_the_options_of_the_grid_and_refuse_mistakes(workplace: Workplace) -> None:
    server = start(
        workplace, "--percents", "10,20", "--directions", "remove,keep", "--seeds", "0,1", "--methods", "lrp"
    )
    try:
        page = server.ask("/").text
        command = [sys.executable, "-m", "tasks", "pages"]
        code, output = workplace.run(*command, "--port", str(server.port))
        assert (code, output) == (
            40,
            f"The pages cannot be at 127.0.0.1:{server.port}: the port is in use. Give another port, or 0 for any.\n",
        )
        assert "There is no report yet: 0 of" in server.ask("/report").text
        assert re.search("waits for GenerateScenes", server.ask(f"/task/{next(iter(squares(page)))}").text)
    finally:
        stop(server)
    assert counts(page)["Retrain"] == {"missing": 2 * 2 + 2 * 2 * 2 + 2 * 2 * 2 * 2}
    assert re.findall(r"<caption>(.*?) <span", page) == ["Clean and controls", "LRP"] * 2
    assert page.count("seed 1: missing") == 2 + 2 * 2 * 3
    assert not (workplace.folder / "data").exists()
    code, output = workplace.run(*command, "--percents", "200")
    assert code == 40
    assert "percent" in output


def test_files_below(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_text("text")
    (root / "folder").mkdir()
    (tmp_path / "root2").write_text("beside")
    (root / "loop").symlink_to("loop")
    with open_below(root, root / "folder/../file") as file:
        assert file.read() == b"text"
    for name in ("../root2", "folder", "gone", "loop", "file/x", "\0", "/etc/passwd"):
        with pytest.raises(FileNotFoundError, match="is no plain file below"):
            open_below(root, root / name)
    assert not is_below(root, tmp_path / "root2")


def test_the_end_of_a_long_log_begins_with_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    lines = [b"line %d\n" % number for number in range(20_000)]
    path.write_bytes(b"".join(lines))
    with path.open("rb") as file:
        first, *rest = read_end(file).splitlines(keepends=True)
    assert first == "… the beginning is in the whole log\n"
    assert rest == [line.decode() for line in lines[-len(rest) :]]
    assert (1 << 14) - 20 < sum(map(len, rest)) <= 1 << 14
    for text in ("", "whole\n", "n\u00e4her", "x" * 40_000):
        path.write_bytes(text.encode())
        with path.open("rb") as file:
            assert read_end(file).removeprefix(first) == text[-(1 << 14) :]
    path.write_bytes("n\u00e4".encode()[:2])
    with path.open("rb") as file:
        assert read_end(file) == "n\ufffd"


def test_a_running_result_shows_its_curve_so_far(server: Server, planted: Planted) -> None:
    address = f"/task/{planted.digits['running']}"
    page = server.ask(address).text
    assert page.count("<polyline") == 1
    assert "Training loss" in page


def test_curves_reach_from_axis_to_axis() -> None:
    history = [{"epoch": e, "loss": 1 / e, "validation": {"f1_samples": e / 4} if e > 1 else None} for e in (1, 2, 4)]
    loss, scores = panels(history)
    assert loss.lines == [("training loss", [(0, 0), (round(WIDTH / 3, 1), HEIGHT / 2), (WIDTH, 0.75 * HEIGHT)])]
    assert [text for _, text in loss.x_ticks] == ["1", "2", "3", "4"]
    assert scores.lines == [("F1", [(0, HEIGHT / 2), (WIDTH, 0)])]
    assert [text for _, text in scores.y_ticks] == ["0", "20", "40", "60", "80", "100"]


@pytest.mark.parametrize("history", [None, [], {}, [1], [{"loss": 1}], [{"epoch": "x"}], [{"epoch": 1, "loss": None}]])
def test_no_curves_without_history(history: Any) -> None:
    assert panels(history) == []


def test_one_epoch_is_a_point() -> None:
    (loss,) = panels([{"epoch": 1, "loss": 0.5, "validation": None}])
    assert loss.lines == [("training loss", [(0, 0)])]
