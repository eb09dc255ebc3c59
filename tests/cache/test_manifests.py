import os
from pathlib import Path

import pytest

from roar_pipeline.cache.manifests import provenance


def test_a_git_that_is_killed_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = tmp_path / "git"
    git.write_text('#!/bin/sh\nif mkdir "${0%/*}/once" 2> /dev/null; then kill -9 $$; fi\necho 1234\n')
    git.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert provenance.__wrapped__()["commit"] == "1234"
