"""A file of removal levels that several modules read."""

import pytest
from support.stores import dump_some, some_masks, splits

from roar_pipeline.removal.level_store import write_levels


@pytest.fixture
def levels_path(tmp_path):
    path = tmp_path / "levels.h5"
    write_levels(path, dump_some(tmp_path), 7, splits(*some_masks()))
    return path
