"""Disks for tests to fill, write-protect and pull out: a tmpfs in a mount namespace of its own.

As root the namespace is made directly, else in a user namespace where one is root. Nothing is mounted for anybody else,
and everything is gone with the process that holds the namespace.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.workplace import Workplace

__all__ = ["Disk", "Elsewhere", "mounted", "without_privileges"]

_UNSHARE = (
    ("unshare", "--mount", "--propagation", "private"),
    ("unshare", "--user", "--map-root-user", "--mount", "--propagation", "private"),
)


@dataclass(frozen=True)
class Disk:
    """A mounted tmpfs."""

    folder: Path
    """Where it is mounted, for commands that are run through ``prefix``."""
    seen: Path
    """The same folder for the test itself."""
    prefix: tuple[str, ...]

    def do(self, *command: str) -> None:
        """Run a command where the disk is mounted."""
        subprocess.run([*self.prefix, *command], check=True)

    def fill(self, leave: int = 0) -> None:
        """Fill it until ``leave`` bytes are free."""
        with (self.seen / "ballast").open("ab") as ballast:
            ballast.flush()
            free = shutil.disk_usage(self.seen).free
            if free > leave:
                os.posix_fallocate(ballast.fileno(), ballast.tell(), free - leave)

    def clear(self) -> None:
        """Take away what ``fill`` has put there."""
        (self.seen / "ballast").unlink()


@contextlib.contextmanager
def mounted(folder: Path, megabytes: int = 64) -> Iterator[Disk]:
    """Mount an empty disk at ``folder``, or skip the test where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    size = f"size={megabytes}m"
    refusals = [f"there is no {tool}" for tool in ("unshare", "nsenter") if shutil.which(tool) is None]
    for unshare in [] if refusals else _UNSHARE:
        with _holder(
            [*unshare, "sh", "-c", 'mount -t tmpfs -o "$1" none "$0" && echo && exec cat', str(folder), size]
        ) as (
            process,
            ready,
        ):
            if not ready:
                refusals.append(process.communicate()[1].strip())
                continue
            user = ("--user", "--preserve-credentials") if "--user" in unshare else ()
            inside = 'cd "$0" && exec "$@"'
            prefix = ("nsenter", "--target", str(process.pid), *user, "--mount", "sh", "-c", inside, str(folder.parent))
            yield Disk(folder, Path(f"/proc/{process.pid}/root{folder}"), prefix)
            return
    pytest.skip(f"nothing can be mounted here, not even in a user namespace: {'; '.join(refusals)}")


@contextlib.contextmanager
def _holder(command: Sequence[str]) -> Iterator[tuple["subprocess.Popen[str]", bool]]:
    """Start what holds a namespace until its standard input closes; yield it and whether it stands."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline() == "\n"


def without_privileges() -> tuple[str, ...]:
    """Return what makes a command heed the rights of files, though root runs it."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root heeds no rights of files, and there is no setpriv to take its privileges away")
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


@dataclass(frozen=True)
class Elsewhere(Workplace):
    """A workplace whose data the test sees at a folder of its own."""

    data: Path = Path()

    def results(self, family: str) -> list[Path]:
        manifests = (self.data / "runs" / family).glob("*/manifest.json")
        return [m.parent for m in sorted(manifests, key=lambda m: m.stat().st_mtime)]
