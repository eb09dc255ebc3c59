"""Processes of stages: imports in Luigi's process before a fork, and the end of forked processes with their parent."""

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
    """Run a script in a process of its own; return the JSON of its last line of output."""
    process = subprocess.run(
        [sys.executable, "-c", HEAD + textwrap.dedent(body)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    assert not process.stderr
    return json.loads(process.stdout.splitlines()[-1])


def test_libraries_are_imported_without_computing_and_forked_processes_can_use_them(tmp_path: Path) -> None:
    """No thread is started and CUDA is not initialized; a process forked later runs OpenMP with its own threads."""
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
        receiver, sender = fork.Pipe()
        fork.Process(target=compute, args=(sender,), daemon=True).start()
        print(json.dumps([
            threads() - before,
            [name for name in execution._IMPORTS if name not in sys.modules],
            torch.cuda.is_initialized(),
            receiver.poll(60) and receiver.recv() == 512 * 512,
        ]))
        """,
        tmp_path,
    )
    assert threads == 0
    assert imported == []
    assert not is_on_gpu
    assert is_computed


def test_a_failed_import_is_a_warning(tmp_path: Path) -> None:
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


def test_a_forked_process_ends_with_its_killed_parent(tmp_path: Path) -> None:
    body = """
        def run():
            die_with_parent()
            print("started", flush=True)
            time.sleep(600)  # until it is killed

        fork.Process(target=run).start()
        time.sleep(600)  # until it is killed
    """
    with subprocess.Popen(
        [sys.executable, "-c", HEAD + textwrap.dedent(body)], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        run.stdout.readline()
        children = psutil.Process(run.pid).children(recursive=True)
        assert len(children) == 1
        run.kill()
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive
