"""Processes for stages: what they tell, what is told of their end, and that nothing outlives who asked for it."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import psutil
import pytest

HEAD = """
import json, multiprocessing, os, signal, sys, time
from tasks.runtime.processes import keep_warm, run_apart, warm_process

def work(order):
    if order == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if order == "leave":
        os._exit(7)
    if order == "a while":
        time.sleep(1)
    if order == "busy":
        time.sleep(6)
    if order == "stay":
        print(os.getpid(), flush=True)
        time.sleep(600)
    return [order, os.getppid(), "torch" in sys.modules]

def apart(order, is_light=False):
    return run_apart(work, order, lambda: None, is_light=is_light)

def warm_up():
    import torch

def warm_one():
    (found,) = multiprocessing.active_children()
    return found.pid
"""


def script(body: str) -> Any:
    """Run a script in a process of its own; return what it prints last, read as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + textwrap.dedent(body)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_without_a_warm_process_it_is_forked_on_the_spot() -> None:
    me, told, dead, left = script("print(json.dumps([os.getpid(), *map(apart, ('a', 'die', 'leave'))]))")
    assert told == [["a", me, False], 0]
    assert dead == [None, -9]
    assert left == [None, 7]


def test_a_warm_process_has_imported_for_all_and_tells_their_ends() -> None:
    me, warm, light, *ends = script(
        """
        with warm_process(work, warm_up):
            light = apart("light", is_light=True)
            ends = [apart(order) for order in ("a", {"b": (1,)}, "die", "leave")]
            ends.append(apart("light", is_light=True))
            print(json.dumps([os.getpid(), warm_one(), light, *ends]))
        """
    )
    assert light == [["light", me, False], 0], "what needs no imports does not wait for them"
    assert ends == [
        [["a", warm, True], 0],
        [[{"b": [1]}, warm, True], 0],
        [None, -9],
        [None, 7],
        [["light", warm, True], 0],
    ]


def test_several_at_once_do_not_mix() -> None:
    answers = script(
        """
        from concurrent.futures import ThreadPoolExecutor
        with warm_process(work, warm_up), ThreadPoolExecutor(8) as pool:
            print(json.dumps([answer for answer, code in pool.map(apart, range(40)) if code == 0]))
        """
    )
    assert [answer[0] for answer in answers] == list(range(40))
    assert all(imported for *_, imported in answers)


def test_an_end_is_told_while_others_are_at_work() -> None:
    seconds = script(
        """
        import threading
        with warm_process(work, warm_up):
            apart("a")
            busy = threading.Thread(target=apart, args=("busy",))
            started = time.monotonic()
            first = threading.Thread(target=apart, args=("a while",))
            first.start()
            time.sleep(0.3)
            busy.start()
            first.join()
            print(json.dumps(time.monotonic() - started))
            busy.join()
        """
    )
    assert seconds < 4, "it does not wait for the one that was forked later, which has a copy of its connection"


@pytest.mark.parametrize("free", [0, 1])
def test_where_the_warm_process_cannot_fork_it_is_done_on_the_spot(free: int) -> None:
    """It has no file descriptor left for the request, or none for the new process."""
    me, told = script(
        f"""
        import resource
        def narrow():
            warm_up()
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
            held = []
            try:
                while True:
                    held.append(os.dup(0))
            except OSError:
                for descriptor in held[:{free}]:
                    os.close(descriptor)
        with warm_process(work, narrow):
            print(json.dumps([os.getpid(), apart("a")]))
        """
    )
    assert told == [["a", me, False], 0]


def test_a_warm_process_that_is_gone_is_done_without() -> None:
    me, struck, after = script(
        """
        import threading
        with warm_process(work, warm_up):
            apart("a")
            timer = threading.Timer(1.0, os.kill, (warm_one(), signal.SIGKILL))
            timer.start()
            struck = apart("stay")
            print(json.dumps([os.getpid(), struck, apart("b")]))
        """
    )
    assert struck == [None, None]
    assert after == [["b", me, False], 0]


def test_a_warm_process_that_dies_is_replaced_once_and_mentioned() -> None:
    me, first, second, served, after, lines = script(
        """
        import logging
        def end():
            (process,) = multiprocessing.active_children()
            process.kill()
            process.join()
            keep_warm()
            keep_warm()
            return process.pid
        lines = []
        handler = logging.Handler()
        handler.emit = lambda record: lines.append(record.getMessage())
        logging.getLogger("roar").handlers[:] = [handler]
        keep_warm()
        with warm_process(work, lambda: None):
            apart("a")
            keep_warm()
            first = end()
            served = apart("b")
            second = end()
            print(json.dumps([os.getpid(), first, second, served, apart("c"), lines]))
        """
    )
    assert first != second
    assert served == [["b", second, False], 0]
    assert after == [["c", me, False], 0], "on the spot"
    assert ["another takes its place" in line for line in lines] == [True, False]
    assert all("has ended" in line and "exit code -9" in line for line in lines)


@pytest.mark.parametrize("is_warm", [True, False])
def test_what_is_made_dies_with_who_asked(is_warm: bool, tmp_path: Path) -> None:
    """The task's process is killed: what works for it ends, too, and the warm process serves the next."""
    body = """
        import contextlib
        with warm_process(work, warm_up) if {warm} else contextlib.nullcontext():
            apart("a")
            asker = multiprocessing.get_context("fork").Process(target=apart, args=("stay",))
            asker.start()
            pid = int(sys.stdin.readline())
            asker.kill()
            deadline = time.monotonic() + 20
            while os.path.exists(f"/proc/{{pid}}") and time.monotonic() < deadline:
                time.sleep(0.05)
            print(json.dumps([os.path.exists(f"/proc/{{pid}}"), apart("b")[0][0]]))
    """
    with subprocess.Popen(
        [sys.executable, "-c", HEAD + textwrap.dedent(body.format(warm=is_warm))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        run.stdin.write(run.stdout.readline())
        run.stdin.flush()
        assert json.loads(run.stdout.readline()) == [False, "b"]


def test_nothing_is_left_when_the_run_is_killed() -> None:
    body = """
        with warm_process(work, warm_up):
            apart("stay")
    """
    with subprocess.Popen(
        [sys.executable, "-c", HEAD + textwrap.dedent(body)], stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        run.stdout.readline()
        family = psutil.Process(run.pid).children(recursive=True)
        assert len(family) == 2
        run.kill()
        _, left = psutil.wait_procs(family, timeout=10)
        assert not left
