"""Maps of a data set are computed for a bounded number of pairs at a time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.dumped import dump

from roar_pipeline.attribution import engine
from roar_pipeline.cache.building import SomeFailedError
from roar_pipeline.errors import InputError

NAMES = ("gradient", "lrp", "smoothgrad")


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Images and pairs of every call of the engine."""
    calls: list[tuple[int, int]] = []
    explain = engine.explain

    def note(names: Sequence[str], model: Any, batch: engine.Batch, *rest: Any) -> Any:
        calls.append((len(batch.images), len(batch.image_index)))
        assert len(batch.ids) == len(batch.images)
        return explain(names, model, batch, *rest)

    monkeypatch.setattr(engine, "explain", note)
    return calls


def test_no_more_pairs_at_a_time_than_the_batch(prepared: Path, tmp_path: Path, sizes: list[tuple[int, int]]) -> None:
    whole = dump(tmp_path / "whole", prepared, *NAMES)
    assert sizes[0] == (6, 18), "6 images of 3 classes"
    sizes.clear()
    parts = dump(tmp_path / "parts", prepared, *NAMES, batch=4)
    assert sizes[:3] == [(2, 4), (2, 4), (2, 4)], "12 pairs of the first 4 images"
    assert max(pairs for _, pairs in sizes) <= 4
    for name in NAMES:
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-4, atol=1e-6)
        assert np.abs(whole[name]).max() > 0
    alone = dump(tmp_path / "alone", prepared, *NAMES, batch=1)
    assert max(sizes[-3:]) == (1, 1)
    for name in NAMES:
        np.testing.assert_allclose(alone[name], whole[name], rtol=1e-4, atol=1e-6)


def test_localized_pairs_keep_their_order(prepared: Path, tmp_path: Path) -> None:
    found = {}
    for batch in (1, 3, 64):
        dump(tmp_path / str(batch), prepared, "gradient", batch=batch)
        with h5py.File(tmp_path / str(batch) / "gradient" / "maps.h5") as file:
            found[batch] = file["localization/maps"][:]
    assert np.abs(found[64]).max(axis=(1, 2)).min() > 0
    np.testing.assert_allclose(found[1], found[64], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[3], found[64], rtol=1e-4, atol=1e-6)


def test_a_part_that_fails_fails_its_method_alone(prepared: Path, tmp_path: Path) -> None:
    name = "support.dumped:fails_of_the_last_class"
    with pytest.raises(SomeFailedError) as caught:
        dump(tmp_path / "dump", prepared, "gradcam", name, batch=2)
    assert list(caught.value.reasons) == [name]
    assert isinstance(caught.value.reasons[name], InputError)
    assert "raised RuntimeError: cannot" in str(caught.value.reasons[name])
    assert (tmp_path / "dump" / "gradcam" / "maps.h5").is_file()
