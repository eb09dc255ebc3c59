"""Images that several modules dump maps of."""

from pathlib import Path

import pytest
from support.dumped import prepare


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("voc"))
