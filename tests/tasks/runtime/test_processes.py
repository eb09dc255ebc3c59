"""Processes for stages: what Luigi's own imports for them, and that nothing outlives who began it."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import psutil

HEAD = """
import json, multiprocessing, os, signal, sys, time
import tasks
from tasks.runtime import execution
from tasks.runtime.processes import die_with_parent

fork = multiprocessing.get_context("fork")
"""


def script(body: str, folder: Path) -> Any:
    """Run a script in a process of its own; return what it prints last, read as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + textwrap.dedent(body)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_libraries_are_imported_without_computing_and_forked_processes_can_use_them(tmp_path: Path) -> None:
    """No thread is started and CUDA is left alone; what is forked then runs OpenMP with threads of its own."""
    threads, imported, is_on_gpu, is_computed = script(
        """
        def threads():
            return len(os.listdir("/proc/self/task"))

        def compute(answer):
            import torch
            torch.set_num_threads(2)
            answer.send(float((torch.ones(512, 512) @ torch.ones(512, 512)).tanh().sum()))

        before = threads()
        execution.import_libraries()
        import torch
        ours, theirs = fork.Pipe()
        fork.Process(target=compute, args=(theirs,), daemon=True).start()
        print(json.dumps([
            threads() - before,
            [name for name in execution._IMPORTS if name not in sys.modules],
            torch.cuda.is_initialized(),
            ours.poll(60) and ours.recv() == 512 * 512,
        ]))
        """,
        tmp_path,
    )
    assert threads == 0
    assert imported == []
    assert not is_on_gpu
    assert is_computed


def test_what_cannot_be_imported_is_for_the_stages_to_say(tmp_path: Path) -> None:
    lines = script(
        """
        import logging
        lines = []
        handler = logging.Handler()
        handler.emit = lambda record: lines.append(record.getMessage())
        logging.getLogger("roar").handlers[:] = [handler]
        execution._IMPORTS = ("json", "roar_pipeline.not_there")
        execution.import_libraries()
        print(json.dumps(lines))
        """,
        tmp_path,
    )
    assert len(lines) == 1
    assert "Stages import by themselves what they need: ModuleNotFoundError: " in lines[0]


def test_a_process_ends_with_the_one_that_forked_it_however_that_went(tmp_path: Path) -> None:
    body = """
        def stay():
            die_with_parent()
            print("here", flush=True)
            time.sleep(600)

        fork.Process(target=stay).start()
        time.sleep(600)
    """
    with subprocess.Popen(
        [sys.executable, "-c", HEAD + textwrap.dedent(body)], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        run.stdout.readline()
        family = psutil.Process(run.pid).children(recursive=True)
        assert len(family) == 1
        run.kill()
        _, left = psutil.wait_procs(family, timeout=10)
        assert not left
