"""Kill the small chain at random and at exact moments, run it again, compare it with a chain that was left alone.

    PYTHONPATH=tests .venv/bin/python -m support.fault_injection --kills 60 --seed 0

Real Luigi processes, real SIGKILLs; nothing of the code under test is replaced. A kill comes

* after a random delay, to the Luigi process, a worker process, or all;
* exactly before the n-th file-system event (open for writing, rename, remove, mkdir, link, flock, ...) below a result's
  directory, the result drawn among the unfinished ones and n among its events in the chain left alone. An audit hook,
  which a ``sitecustomize`` installs in every process of the run, counts and kills;
* when the journal of a dump has n lines: what HDF5 writes raises no such event.

Every killed run is followed by another, which may be killed as well, until one gets through. Then all results must be
there, with the same bytes, and nothing else. What is measured of repeated work: how often an epoch was computed to its
end (its checkpoint is then opened for writing), and that a dump's journal never loses a line from run to run.
"""

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from support.workplace import ROOT, Workplace

HOOK = """
import mmap, os, signal, sys

_DATA, _TARGET = os.environ["FAULT_DATA"], os.environ["FAULT_TARGET"]
_NUMBER, _VICTIM = int(os.environ["FAULT_NUMBER"]), os.environ["FAULT_VICTIM"]
_RECORD = os.open(os.environ["FAULT_RECORD"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
_SEEN = mmap.mmap(-1, 8)  # shared with every process forked from here
_PLACES = {
    "open": (0, None), "os.rename": (1, 3), "os.remove": (0, 1), "os.rmdir": (0, 1), "os.mkdir": (0, 2),
    "os.link": (1, 3), "os.truncate": (0, None), "shutil.rmtree": (0, 1), "fcntl.flock": (0, None),
}  # where an event has its path, and the descriptor of the folder that the path starts from

def _path(event, args):
    at, folder = _PLACES[event]
    path = args[at]
    if event == "open" and not (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return ""
    if isinstance(path, int):
        return os.readlink(f"/proc/self/fd/{path}") if event == "fcntl.flock" else ""
    path = os.fsdecode(path)
    if folder is not None and len(args) > folder and args[folder] not in (None, -1) and not os.path.isabs(path):
        return os.path.join(os.readlink(f"/proc/self/fd/{args[folder]}"), path)
    return os.path.abspath(path)

def _kill():
    if _VICTIM == "all":
        os.killpg(0, signal.SIGKILL)
    victims = {"itself": os.getpid(), "luigi": os.getpgrp()}
    os.kill(victims[_VICTIM], signal.SIGKILL)

def _hook(event, args):
    if event not in _PLACES:
        return
    try:
        path = _path(event, args)
    except (OSError, TypeError):
        return
    if not path.startswith(_DATA):
        return
    os.write(_RECORD, f"{event}\\t{path}\\n".encode())
    if path == _TARGET or path.startswith(_TARGET + "/"):
        seen = int.from_bytes(_SEEN[:8], "little") + 1
        _SEEN[:8] = seen.to_bytes(8, "little")
        if seen == _NUMBER:
            os.write(_RECORD, f"KILL\\t{_VICTIM} before {event} {path}\\n".encode())
            _kill()

sys.addaudithook(_hook)
"""
CHANGES: dict[str, dict[str, object]] = {
    "teacher": {"epochs": 6},
    "student": {"epochs": 4},
    "retrain": {"epochs": 4},
    "maps": {"batch": 4},
}
"""Of conftest.SMALL: more epochs and batches, so that there is something to lose."""
REPORT = ("Report", "--workers", "2")
KINDS = ("exact", "exact", "delay", "journal")
VICTIMS = ("luigi", "worker", "all")
EXACT_VICTIMS = ("itself", "luigi", "all")
NOWHERE = "no stage (starting, importing, ending)"

_ORPHAN_SECONDS = 5
_HANG_SECONDS = 300
_MOST_KILLS = 8
"""Of one chain; then it is let through."""


class FaultError(Exception):
    """The chain did what it must not do."""


@dataclass(frozen=True)
class Watched(Workplace):
    """A workplace whose Luigi has the hook: it lists the file-system events, and kills before one of them."""

    target: str = ""
    number: int = 0
    victim: str = ""

    @property
    def runs(self) -> Path:
        """The results."""
        return self.folder / "data" / "runs"

    @property
    def record(self) -> Path:
        """The list of events of all runs here."""
        return self.folder / "events.txt"

    def environment(self) -> dict[str, str]:
        """Return the environment with the hook, and with the code beside this file first."""
        hook = self.folder / "hook"
        hook.mkdir(exist_ok=True)
        (hook / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
        return {
            **super().environment(),
            "PYTHONPATH": f"{hook}{os.pathsep}{ROOT}",
            "FAULT_DATA": str(self.folder / "data"),
            "FAULT_TARGET": str(self.runs / self.target) if self.target else "nothing",
            "FAULT_NUMBER": str(self.number),
            "FAULT_VICTIM": self.victim,
            "FAULT_RECORD": str(self.record),
        }

    def events(self) -> list[tuple[str, str]]:
        """Return (event, path) of all that the runs here have done, with KILL in the place of an event."""
        if not self.record.exists():
            return []
        lines = self.record.read_text(encoding="utf-8").splitlines()
        return [(event, path) for event, _, path in (line.partition("\t") for line in lines)]

    def done(self) -> dict[str, Path]:
        """Return the manifests of the finished results by ``family/name``."""
        return {str(m.parent.relative_to(self.runs)): m for m in sorted(self.runs.glob("*/*/manifest.json"))}


@dataclass(frozen=True)
class Reference:
    """The chain that was left alone."""

    workplace: Watched
    seconds: float
    events: Counter[str]
    """Number of file-system events by ``family/name``."""
    outputs: dict[str, bytes]
    manifests: dict[str, dict[str, Any]]
    epochs: Counter[str]


@dataclass
class Tally:
    """What happened."""

    kinds: Counter[str] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    chains: int = 0
    repeated_epochs: Counter[int] = field(default_factory=Counter)
    """Number of results by the number of epochs that were computed in full and lost."""
    resumed: Counter[str] = field(default_factory=Counter)
    """Attempts that found work of an earlier one: by checkpoint or journal."""
    failures: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """All that hit a live run."""
        return self.kinds.total()


def reference(folder: Path) -> Reference:
    """Run the chain undisturbed."""
    workplace = _new_workplace(folder)
    started = time.monotonic()
    code, output = workplace.luigi(*REPORT)
    if code != 0:
        raise FaultError(f"the undisturbed chain ends with exit code {code}:\n{output}")
    seconds = time.monotonic() - started
    names = [name for _, path in workplace.events() if (name := _result_of(workplace, path))]
    return Reference(
        workplace, seconds, Counter(names), outputs(workplace), manifests(workplace), _computed_epochs(workplace)
    )


def _new_workplace(folder: Path) -> Watched:
    folder.mkdir(parents=True)
    workplace = Watched(folder.resolve())
    workplace.configure(**CHANGES)
    return workplace


def _result_of(workplace: Watched, path: str) -> str | None:
    """Return ``family/name`` of the result that a path lies in."""
    found = re.match(re.escape(str(workplace.runs)) + r"/([^/]+/[^/]+)", path)
    return found[1] if found else None


def outputs(workplace: Watched) -> dict[str, bytes]:
    """Return every byte below data but for manifests, locks and logs, which tell of times and places."""
    data = workplace.folder / "data"
    paths = {p.relative_to(data): p for p in sorted(data.rglob("*")) if p.is_file()}
    kept = {r: p for r, p in paths.items() if r.name not in ("manifest.json", ".lock") and "log" not in r.parts}
    return {str(relative): path.read_bytes() for relative, path in kept.items()}


def manifests(workplace: Watched) -> dict[str, dict[str, Any]]:
    """Return the manifests without what may differ."""
    read = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in workplace.done().items()}
    return {name: {k: v for k, v in m.items() if k not in ("seconds", "finished", "host")} for name, m in read.items()}


def _computed_epochs(workplace: Watched) -> Counter[str]:
    """Count the epochs computed to their end, by result: each then opens its checkpoint for writing."""
    opened = [p for event, p in workplace.events() if event == "open" and p.endswith("/partial-partial-checkpoint.pt")]
    return Counter(name for path in opened if (name := _result_of(workplace, path)))


def inject(
    kills: int, seed: int, folder: Path, say: Callable[[str], None] = lambda text: None, chains: int | None = None
) -> Tally:
    """Kill chains until so many kills have hit a live run, and every chain is finished and compared.

    Args:
        kills: wanted.
        seed: of all that is drawn.
        folder: for the workplaces; that of a chain which failed stays.
        say: told how it goes.
        chains: at most.
    """
    drawn, tally = random.Random(seed), Tally()
    whole = reference(folder / "reference")
    say(f"left alone: {whole.seconds:.1f} s, {len(whole.manifests)} results, {whole.events.total()} events")
    while tally.kills < kills and tally.chains != chains:
        workplace = _new_workplace(folder / f"chain {tally.chains}")
        try:
            _one_chain(workplace, whole, kills, drawn, tally, say)
        except FaultError as error:
            tally.failures.append(f"{workplace.folder}: {error}")
            say(f"FAILURE {tally.failures[-1]}")
        else:
            shutil.rmtree(workplace.folder)
        tally.chains += 1
    return tally


def _one_chain(
    workplace: Watched, whole: Reference, kills: int, drawn: random.Random, tally: Tally, say: Callable[[str], None]
) -> None:
    ledger, before = Ledger(workplace), tally.kills
    while True:
        let_through = tally.kills >= kills or tally.kills - before >= _MOST_KILLS
        kind, stages, code = _run(workplace, whole, "none" if let_through else drawn.choice(KINDS), drawn)
        ledger.check()
        if kind:
            tally.kinds[kind] += 1
            tally.stages.update(stages)
            tally.codes[code] += 1
            say(f"kill {tally.kills}, chain {tally.chains}: {kind}; hit: {', '.join(stages)}; exit code {code}")
        elif code == 0:
            break
        else:
            raise FaultError(f"an undisturbed run ends with exit code {code}")
    _compare(workplace, whole)
    _weigh(workplace, whole, tally)
    say(f"chain {tally.chains} is done after {tally.kills - before} kills")


def _run(workplace: Watched, whole: Reference, kind: str, drawn: random.Random) -> tuple[str, list[str], int]:
    """Run the chain once; return the kind of kill (empty: it was not hit), the stages that were hit, the exit code."""
    pending = sorted(set(whole.manifests) - set(workplace.done()))
    dumps = [name for name in pending if name.startswith("DumpMaps/model=")]
    if not pending or (len(pending) == 1 and drawn.random() < 0.5):
        kind = "none"
    elif kind == "journal" and not dumps:
        kind = "delay"
    if kind == "exact":
        family = drawn.choice(sorted({name.partition("/")[0] for name in pending}))
        target = drawn.choice([name for name in pending if name.startswith(family + "/")])
        number, victim = drawn.randint(1, whole.events[target]), drawn.choice(EXACT_VICTIMS)
        workplace = Watched(workplace.folder, target=target, number=number, victim=victim)
    known = len(_kills(workplace))
    process = workplace.start(*REPORT)
    hit: tuple[str, list[str]] = ("", [])
    try:
        if kind == "delay":
            left = whole.seconds * len(pending) / len(whole.manifests)
            moment = time.monotonic() + drawn.uniform(0.3, 1 + left)
            hit = _kill_when(workplace, process, lambda: time.monotonic() > moment, drawn)
        elif kind == "journal":
            journal, lines = workplace.runs / drawn.choice(dumps) / "partial-maps.jsonl", drawn.randint(1, 25)
            hit = _kill_when(workplace, process, lambda: _line_count(journal) >= lines, drawn, journal.parent)
        output, _ = process.communicate(timeout=_HANG_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise FaultError(f"a run hangs for {_HANG_SECONDS} s after {hit}") from error
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    _no_orphans(process.pid)
    if kind == "exact" and len(told := _kills(workplace)) > known:
        hit = f"exact: {workplace.victim}", [workplace.target.partition("/")[0]]
        if len(told) > known + 1:
            raise FaultError(f"the hook killed more than once: {told[known:]}")
    _check_code(process.returncode, *hit, output)
    return *hit, process.returncode


def _kills(workplace: Watched) -> list[str]:
    return [text for event, text in workplace.events() if event == "KILL"]


def _check_code(code: int, kind: str, stages: list[str], output: str) -> None:
    allowed = {0} if not kind else {-signal.SIGKILL} if kind.endswith((" luigi", " all")) else {-signal.SIGKILL, 30, 0}
    if code not in allowed:
        raise FaultError(f"exit code {code} after {kind or 'no kill'} in {stages}:\n{output}")


def _kill_when(
    workplace: Watched,
    process: "subprocess.Popen[str]",
    ready: Callable[[], bool],
    drawn: random.Random,
    result: Path | None = None,
) -> tuple[str, list[str]]:
    """SIGKILL a victim once it is time, or as soon as there is one; check that all below it goes with it.

    Args:
        place: of the run.
        process: Luigi.
        ready: whether it is time.
        drawn: chooses the victim.
        result: whose worker process may be a victim; None: any may.
    """
    victim = drawn.choice(VICTIMS)
    while process.poll() is None:
        if ready() and (found := _find(process.pid, victim)):
            if result and victim == "worker":
                maker = _maker(result)
                found = [p for p in found if p.pid == maker] or found
            return _strike(workplace, process, "journal" if result else "delay", victim, drawn.choice(found))
        time.sleep(0.002)
    return "", []


def _maker(result: Path) -> int | None:
    """Return the process that is making a result, as the note on its attempt says."""
    try:
        return int(json.loads((result / "partial-attempt.json").read_text(encoding="utf-8"))["pid"])
    except FileNotFoundError:
        return None


def _line_count(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def _find(luigi: int, victim: str) -> list[psutil.Process]:
    """Return the living processes of a kind; what they themselves start (git) is none of them."""
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(luigi)
        if victim in ("luigi", "all"):
            return [root]
        command = root.cmdline()
        return [worker for worker in root.children() if _command(worker) == command]
    return []


def _children(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return list(process.children(recursive=True))
    return []


def _command(process: psutil.Process) -> list[str]:
    """Return the command line of a living process."""
    with contextlib.suppress(psutil.Error):
        if process.status() != psutil.STATUS_ZOMBIE:
            return list(process.cmdline())
    return []


def _strike(
    workplace: Watched, process: "subprocess.Popen[str]", kind: str, victim: str, struck: psutil.Process
) -> tuple[str, list[str]]:
    below = _children(struck)
    if process.poll() is not None or not _command(struck):
        return "", []
    stages = _at_work(workplace, {struck.pid, *(p.pid for p in below)})
    if victim == "all":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        struck.kill()
    _, left = psutil.wait_procs(below, timeout=_ORPHAN_SECONDS)
    if left:
        raise FaultError(f"{left} outlive {victim}")
    return f"{kind}: {victim}", stages


def _at_work(workplace: Watched, pids: set[int]) -> list[str]:
    """Return the families of the results that these processes are making, as the notes on their attempts say."""
    families = set()
    for path in workplace.runs.glob("*/*/partial-attempt.json"):
        if _maker(path.parent) in pids:
            families.add(path.parent.parent.name)
    return sorted(families) or [NOWHERE]


def _no_orphans(session: int) -> None:
    """Check that nothing of a run is left; every run is a session of its own."""
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while left := list(_members(session)):
        if time.monotonic() > deadline:
            raise FaultError(f"{left} outlive their run")
        time.sleep(0.05)


def _members(session: int) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                yield process


class Ledger:
    """What must not change from run to run: finished results, and what dumps have journaled."""

    def __init__(self, workplace: Watched) -> None:
        self._place = workplace
        self._finished: dict[str, tuple[int, int, int]] = {}
        self._journals: dict[Path, list[str]] = {}

    def check(self) -> None:
        """Compare with the last time, and remember what there is now."""
        stamps = {name: _stamp(manifest) for name, manifest in self._place.done().items()}
        for name, stamp in self._finished.items():
            if stamps.get(name) != stamp:
                raise FaultError(f"{name} was finished and has been made again")
        self._finished = stamps
        journals = {p: _whole_lines(p) for p in self._place.runs.glob("*/*/partial-maps.jsonl")}
        for path, lines in self._journals.items():
            ready = any((path.parent / name).exists() for name in ("manifest.json", "partial-ready.json"))
            if not ready and journals.get(path, [])[: len(lines)] != lines:
                raise FaultError(f"{path} had {len(lines)} lines and has lost some of them")
        self._journals = journals


def _stamp(manifest: Path) -> tuple[int, int, int]:
    stat = manifest.stat()
    return stat.st_mtime_ns, stat.st_ino, len(list((manifest.parent / "log").iterdir()))


def _whole_lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]


def _compare(workplace: Watched, whole: Reference) -> None:
    """Raise unless the chain is, byte for byte, the one that was left alone."""
    data = workplace.folder / "data"
    if scratch := [str(p.relative_to(data)) for p in data.rglob("partial-*")]:
        raise FaultError(f"scratch is left: {scratch}")
    directories = {str(p.relative_to(workplace.runs)) for p in workplace.runs.glob("*/*")}
    if directories != set(whole.manifests):
        raise FaultError(f"other results: {sorted(directories ^ set(whole.manifests))}")
    for what, ours, theirs in (
        ("files", outputs(workplace), whole.outputs),
        ("manifests", manifests(workplace), whole.manifests),
    ):
        if ours != theirs:
            raise FaultError(f"other {what}: {[k for k in ours | theirs if ours.get(k) != theirs.get(k)]}")


def _weigh(workplace: Watched, whole: Reference, tally: Tally) -> None:
    """Count what was computed more than once; at most one epoch per attempt that was killed."""
    computed = _computed_epochs(workplace)
    for name, needed in whole.epochs.items():
        logs = sorted((workplace.runs / name / "log").glob("attempt-*.log"))
        logged = Counter(re.findall(r" (epoch \d+/\d+), loss", "".join(p.read_text(encoding="utf-8") for p in logs)))
        repeated = computed[name] - needed
        tally.repeated_epochs[repeated] += 1
        if repeated > len(logs) - 1 or max(logged.values(), default=0) > 1:
            raise FaultError(f"{name}: {computed[name]} epochs for {needed} in {len(logs)} attempts, logged: {logged}")
        tally.resumed["epochs"] += any("epoch 1/" not in p.read_text(encoding="utf-8") for p in logs[1:])
    attempts = {name: len(list((workplace.runs / name / "log").iterdir())) for name in whole.manifests}
    tally.resumed["results with several attempts"] += sum(count > 1 for count in attempts.values())


def table(tally: Tally) -> str:
    """Return the figures as text."""
    parts = {
        "kills by kind": tally.kinds,
        "kills by stage that was hit": tally.stages,
        "exit codes of killed runs": tally.codes,
        "trained results by epochs computed once too often": tally.repeated_epochs,
        "resumed": tally.resumed,
    }
    lines = [f"{tally.kills} kills, {tally.chains} chains, {len(tally.failures)} failures", *tally.failures]
    for title, counter in parts.items():
        lines += [f"{title}:", *(f"  {count:4}  {key}" for key, count in counter.most_common())]
    return "\n".join(lines)


def main() -> int:
    """Run from the command line; the exit code tells whether there were failures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fault-injection-"))
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:7.1f} s  {text}", flush=True)

    tally = inject(given.kills, given.seed, folder, say)
    say(table(tally))
    if not tally.failures:
        shutil.rmtree(folder)
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
