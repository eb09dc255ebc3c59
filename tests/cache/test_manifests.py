import subprocess
from typing import Any

import pytest

from roar_pipeline.cache.manifests import _commit


def test_a_git_that_is_killed_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = [-9, 0]

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, ends.pop(0), "1234\n", "")

    monkeypatch.setattr(subprocess, "run", run)
    assert _commit.__wrapped__() == "1234"
    assert not ends
