"""Resumable stores: kills, resumes, bytes."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from support import stores
from support.stores import (
    BATCH,
    TRAIN,
    compute,
    digest,
    dump_some,
)

from roar_pipeline.attribution.map_store import image_group
from roar_pipeline.cache.resumable import answer, requests
from roar_pipeline.errors import InputError
from roar_pipeline.progress import listening

JOURNAL = "partial-maps.jsonl"


def flip(path, group, column, n):
    """Change one bit of a row's last byte, as a bad disk would."""
    with h5py.File(path) as file:
        dataset = file[group][column]
        row_bytes = dataset.dtype.itemsize * dataset[0].size
        place = dataset.id.get_offset() + (n + 1) * row_bytes - 1
    with path.open("r+b") as opened:
        opened.seek(place)
        byte = opened.read(1)[0]
        opened.seek(place)
        opened.write(bytes([byte ^ 1]))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The digest of a dump that nothing interrupts."""
    return digest(dump_some(tmp_path_factory.mktemp("undisturbed")))


def test_the_same_dump_has_the_same_bytes(tmp_path):
    """Also in batches of another size."""
    for name in "abc":
        (tmp_path / name).mkdir()
    first = digest(dump_some(tmp_path / "a"))
    assert digest(dump_some(tmp_path / "b")) == first
    assert digest(dump_some(tmp_path / "c", batch=3)) == first


class InterruptionError(Exception):
    pass


def interrupted_after(batches, seen):
    """A compute that fails at the batch after so many, noting what it was asked for."""

    def function(group, rows):
        if len(seen) == batches:
            raise InterruptionError
        seen.append((group, rows.start))
        return compute(group, rows)

    return function


ALL_BATCHES = [("train", n) for n in (0, 4, 8, 12)] + [("test", n) for n in (0, 4)]
ALL_BATCHES += [("localization", n) for n in (0, 4)]


@pytest.mark.parametrize("batches", range(9))
def test_an_interrupted_dump_goes_on_where_it_stopped(tmp_path, batches, undisturbed):
    seen = []
    if batches < 8:
        with pytest.raises(InterruptionError):
            dump_some(tmp_path, interrupted_after(batches, seen))
        assert not (tmp_path / "maps.h5").exists()
    path = dump_some(tmp_path, interrupted_after(99, seen))
    assert seen == ALL_BATCHES
    assert digest(path) == undisturbed


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: (d / "partial-maps.h5").write_bytes(b"no hdf5"),
        lambda d: (d / "partial-maps.h5").unlink(),
        lambda d: (d / JOURNAL).write_text("{"),
        lambda d: (d / JOURNAL).unlink(),
        lambda d: (d / JOURNAL).write_text("[]\n[]\n"),
        lambda d: h5py.File(d / "partial-maps.h5", "w").close(),
        lambda d: os.truncate(d / "partial-maps.h5", 3000),
        lambda d: flip(d / "partial-maps.h5", "train", "ids", 5),
        lambda d: flip(d / "partial-maps.h5", "localization", "class_index", 2),
    ],
    ids=[
        "h5 unreadable",
        "h5 gone",
        "journal broken",
        "journal gone",
        "journal foreign",
        "h5 foreign",
        "h5 cut",
        "another id",
        "another class",
    ],
)
def test_a_spoiled_scratch_file_is_begun_again(tmp_path, spoil, undisturbed):
    with pytest.raises(InterruptionError):
        dump_some(tmp_path, interrupted_after(5, []))
    spoil(tmp_path)
    seen = []
    path = dump_some(tmp_path, interrupted_after(99, seen))
    assert seen == ALL_BATCHES
    assert digest(path) == undisturbed


@pytest.mark.parametrize("changes", [{"fingerprint": "0" * 64}, {"train": TRAIN[:12]}, {"pairs": 3}, {"batch": 3}])
def test_a_scratch_file_of_another_result_is_begun_again(tmp_path, changes):
    with pytest.raises(InterruptionError):
        dump_some(tmp_path, interrupted_after(5, []))
    seen = []
    path = dump_some(tmp_path, interrupted_after(99, seen), **changes)
    assert seen[0] == ("train", 0)
    (tmp_path / "undisturbed").mkdir()
    assert digest(path) == digest(dump_some(tmp_path / "undisturbed", **changes))


@pytest.mark.parametrize(
    ("group", "column", "n"), [("train", "maps", 0), ("train", "scores", 6), ("test", "explained", 3)]
)
def test_rows_that_have_changed_are_computed_again_and_so_are_those_after_them(tmp_path, group, column, n, undisturbed):
    with pytest.raises(InterruptionError):
        dump_some(tmp_path, interrupted_after(7, []))
    flip(tmp_path / "partial-maps.h5", group, column, n)
    seen = []
    path = dump_some(tmp_path, interrupted_after(99, seen))
    assert seen == ALL_BATCHES[ALL_BATCHES.index((group, n // BATCH * BATCH)) :]
    assert digest(path) == undisturbed


@pytest.mark.parametrize(
    ("spoil", "believed"),
    [
        (lambda lines: [*lines[:-1], lines[-1][:30]], 4),
        (lambda lines: [*lines[:-1], lines[-1].removesuffix("\n")], 5),
        (lambda lines: [*lines, "\0" * 40], 5),
        (lambda lines: [*lines[:3], *lines[4:]], 2),
        (lambda lines: [*lines[:3], lines[3].replace('"zero_maps": 1', '"zero_maps": 2'), *lines[4:]], 2),
        (lambda lines: [*lines[:3], "7\n", *lines[4:]], 2),
        (lambda lines: [*lines, lines[-1]], 5),
    ],
    ids=["torn", "no line end", "zeros", "a line gone", "another count", "no entry", "a line twice"],
)
def test_a_journal_is_believed_as_far_as_it_is_right(tmp_path, spoil, believed, undisturbed):
    with pytest.raises(InterruptionError):
        dump_some(tmp_path, interrupted_after(5, []))
    lines = (tmp_path / JOURNAL).read_text().splitlines(keepends=True)
    assert len(lines) == 6
    spoiled = spoil(lines)
    assert spoiled != lines
    (tmp_path / JOURNAL).write_text("".join(spoiled))
    for batches in (6, 99):
        seen = ALL_BATCHES[:believed]
        with pytest.raises(InterruptionError) if batches == 6 else contextlib.nullcontext():
            path = dump_some(tmp_path, interrupted_after(batches, seen))
        assert seen == ALL_BATCHES[:batches]
        believed = 6
    assert digest(path) == undisturbed


def test_the_journal_speaks_of_rows_that_are_in_the_file_only(tmp_path):
    """At every entry the file holds, for whoever opens it then, the rows that the journal claims."""
    counts = []

    def look(share, text, history):
        plan, *entries = map(json.loads, (tmp_path / JOURNAL).read_text().splitlines())
        copy = shutil.copy(tmp_path / "partial-maps.h5", tmp_path / "copy.h5")
        with h5py.File(copy) as file:
            for entry, (group, start) in zip(entries, ALL_BATCHES, strict=False):
                columns = {c: file[group][c][start : start + BATCH] for c in compute(group, slice(0, 1))}
                stored = b"".join(values.tobytes() for values in columns.values())
                zero_maps = sum(not (map_ > 0).any() for map_ in columns["maps"])
                sha256 = hashlib.sha256(stored).hexdigest()
                assert entry == {"group": group, "zero_maps": zero_maps, "sha256": sha256}
        assert plan["fingerprint"] == "f" * 64
        counts.append((len(entries), share))

    with listening(look):
        dump_some(tmp_path)
    assert counts == [(n, n / 8) for n in range(1, 9)]


def test_a_scratch_file_has_its_full_size_from_the_start(tmp_path):
    """Whatever is written later changes no metadata, and a full disk shows before hours of work."""
    with pytest.raises(InterruptionError):
        dump_some(tmp_path, interrupted_after(0, []))
    size = (tmp_path / "partial-maps.h5").stat().st_size
    assert size == dump_some(tmp_path).stat().st_size
    with h5py.File(tmp_path / "maps.h5") as file:
        assert file["train"]["maps"].chunks is None


def test_a_journal_never_outlives_its_scratch_file(tmp_path, undisturbed):
    """The rows of a file begun again are not those that the journal of its predecessor speaks of."""
    with pytest.raises(InterruptionError):
        dump_some(tmp_path, interrupted_after(5, []))
    (tmp_path / "partial-maps.h5").write_bytes(b"no hdf5")
    with pytest.raises(InterruptionError):
        dump_some(tmp_path, interrupted_after(2, []))
    assert len((tmp_path / JOURNAL).read_text().splitlines()) == 3
    assert digest(dump_some(tmp_path)) == undisturbed


@pytest.mark.parametrize("batches", [0, 5, 8])
@pytest.mark.parametrize("scratch", ["stays", "gone"])
def test_an_older_file_in_the_place_of_the_result_is_replaced(tmp_path, undisturbed, batches, scratch):
    """As after a run that was killed on its way to repair a damaged result, at the latest before the rename."""
    if batches < 8:
        with pytest.raises(InterruptionError):
            dump_some(tmp_path, interrupted_after(batches, []))
    else:
        dump_some(tmp_path).rename(tmp_path / "partial-maps.h5")
    (tmp_path / "maps.h5").write_bytes(b"damaged")
    if scratch == "gone":
        (tmp_path / "partial-maps.h5").unlink()
    assert digest(dump_some(tmp_path)) == undisturbed


def test_a_finished_dump_is_not_repeated_unless_its_file_is_gone_or_damaged(tmp_path, undisturbed):
    """As after a kill between the rename and the manifest."""
    path = dump_some(tmp_path)
    dump_some(tmp_path, interrupted_after(0, []))
    assert digest(path) == undisturbed
    path.unlink()
    assert digest(dump_some(tmp_path)) == undisturbed
    flip(path, "test", "maps", 1)
    seen = []
    dump_some(tmp_path, interrupted_after(99, seen))
    assert seen == ALL_BATCHES[4:]
    assert digest(path) == undisturbed


KILLER = """
import os, random, signal, sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
from support import stores
directory, chance = Path(sys.argv[2]), random.Random(int(sys.argv[3]))

def slowly(group, rows):
    time.sleep(0.002)
    return stores.compute(group, rows)

(directory / "timed").mkdir()
started = time.monotonic()
stores.dump_some(directory / "timed", slowly)
seconds = time.monotonic() - started
kills = 0
while not (directory / "maps.h5").exists() and kills < 200:
    writer = os.fork()
    if not writer:
        stores.dump_some(directory, slowly)
        os._exit(0)
    time.sleep(chance.uniform(0, 0.7 * seconds))
    os.kill(writer, signal.SIGKILL)
    ended = os.waitstatus_to_exitcode(os.waitpid(writer, 0)[1])
    if ended not in (0, -signal.SIGKILL):
        sys.exit(f"a writer failed after {kills} kills")
    kills += ended == -signal.SIGKILL
    if not kills:
        (directory / "maps.h5").unlink(missing_ok=True)  # a writer that ended before its kill proves nothing
print(kills)
"""


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
def test_kills_at_random_moments_leave_the_bytes_of_an_undisturbed_run(tmp_path, seed, undisturbed):
    """SIGKILL the writer again and again, until one gets through; every one must find a usable state."""
    command = [sys.executable, "-c", KILLER, str(Path(stores.__file__).parent.parent), str(tmp_path), str(seed)]
    kills = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert 0 < kills < 200
    assert digest(dump_some(tmp_path)) == undisturbed


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_maps_that_are_not_finite_are_refused(tmp_path, bad):
    def diverged(group, rows):
        columns = compute(group, rows)
        if rows.start == 8:
            columns["maps"][1, 0, 0] = bad
        return columns

    with pytest.raises(InputError, match=r"1 maps of train rows 8\.\.11 are not finite \(first: row 9\)"):
        dump_some(tmp_path, diverged)
    assert not (tmp_path / "maps.h5").exists()


@pytest.mark.parametrize(
    "change",
    [lambda c: c.pop("scores"), lambda c: c.update(more=c["maps"]), lambda c: c.update(maps=c["maps"][:1])],
)
def test_columns_other_than_announced_are_refused(tmp_path, change):
    def wrong(group, rows):
        columns = compute(group, rows)
        change(columns)
        return columns

    with pytest.raises(ValueError, match=r"columns of train must be \{'maps': \(4, 9, 11\)"):
        dump_some(tmp_path, wrong)


def test_stores_that_stand_at_different_rows_are_filled_side_by_side(tmp_path):
    """One killed run is further than another: the one behind catches up, then both share every call."""
    groups = {"train": image_group([f"id{i}" for i in range(7)], 2, 3, 4)}

    def columns(rows, factor):
        count = rows.stop - rows.start
        values = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None, None] * np.ones((3, 4), np.float32)
        return {
            "maps": factor * values,
            "explained": np.ones((count, 2), np.uint8),
            "scores": np.zeros((count, 2), np.float32),
        }

    class KilledError(Exception):
        pass

    calls = []

    def compute(group, rows, names, stop=None):
        calls.append((rows.start, names))
        if rows.start == stop:
            raise KilledError
        return {name: columns(rows, {"a": 1, "b": 2}[name]) for name in names}

    def stores(*names, folder):
        (tmp_path / folder).mkdir(exist_ok=True)
        return {n: requests(tmp_path / folder / f"{n}.h5", n, groups, 2, {"method": n}) for n in names}

    assert answer(stores("a", "b", folder="whole"), compute) == {}
    assert calls == [(start, ["a", "b"]) for start in (0, 2, 4, 6)]
    with pytest.raises(KilledError):
        answer(stores("b", folder="killed"), lambda g, r, n: compute(g, r, n, stop=4))
    calls.clear()
    assert answer(stores("a", "b", folder="killed"), compute) == {}
    assert calls == [(0, ["a"]), (2, ["a"]), (4, ["a", "b"]), (6, ["a", "b"])]
    for name in "ab":
        assert (tmp_path / "killed" / f"{name}.h5").read_bytes() == (tmp_path / "whole" / f"{name}.h5").read_bytes()


def test_a_store_that_is_sent_nonsense_fails_alone(tmp_path):
    groups = {"train": image_group(["x", "y"], 1, 2, 2)}

    def compute(group, rows, names):
        good = {"maps": np.ones((1, 2, 2), np.float32)}
        bad = {"maps": np.full((1, 2, 2), np.nan, np.float32)}
        rest = {"explained": np.ones((1, 1), np.uint8), "scores": np.zeros((1, 1), np.float32)}
        return {name: {**(bad if name == "b" else good), **rest} for name in names}

    stores = {n: requests(tmp_path / f"{n}.h5", n, groups, 1, {}) for n in "abc"}
    failures = answer(stores, compute)
    assert list(failures) == ["b"]
    assert "not finite" in str(failures["b"])
    assert sorted(p.name for p in tmp_path.glob("?.h5")) == ["a.h5", "c.h5"]
