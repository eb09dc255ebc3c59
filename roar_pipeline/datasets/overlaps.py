"""Images that splits share, by name or by their bytes."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from roar_pipeline.config import Dataset
from roar_pipeline.errors import InputError

__all__ = ["check_disjoint", "check_twins", "same_digests", "same_files", "shared_with_validation"]

Pairs = Sequence[tuple[str, str]]
Overlaps = tuple[int, int, int]
Names = tuple[str, str, str]

_SHOWN = 5
_CHUNK = 1 << 20


def check_disjoint(
    ids: Mapping[str, Sequence[str]], names: Names, path_of: Callable[[str], Path], dataset: Dataset
) -> Overlaps:
    """Refuse training images among the test images, and one file's bytes under two names in two splits.

    Validation may share images with the others by name, as Park et al. validate on the test split; the report cautions
    about it. The same photograph under another name is a mistake, unless ``overlap = allow``.

    Args:
        ids: image ids by the name of their list.
        names: of the lists of train, validation and test, of which some may be equal.
        path_of: returns the file of an id.
        dataset: says whether to refuse equal bytes.

    Returns:
        As ``check_twins`` does.

    Raises:
        InputError: names the images.
    """
    train, _, test = names
    train_ids = set(ids[train])
    if shared := [image_id for image_id in ids[test] if image_id in train_ids]:
        raise InputError(
            f"{len(shared)} of {len(ids[test])} test images ({test}) are also training images ({train}), {shared[0]} "
            "for one: every number would be too good. Set [dataset] train_split and test_split to lists that share no "
            "image."
        )

    def pairs_of(first: str, second: str) -> Pairs:
        return list(same_files(path_of, ids[first], ids[second]))

    return check_twins({name: len(ids[name]) for name in ids}, names, pairs_of, dataset)


def check_twins(
    counts: Mapping[str, int], names: Names, pairs_of: Callable[[str, str], Pairs], dataset: Dataset
) -> Overlaps:
    """Refuse images of equal bytes under different names in two splits, unless ``[dataset] overlap = allow``.

    Args:
        counts: number of images by the name of a split's list.
        names: of the lists of train, validation and test, of which some may be equal.
        pairs_of: returns the pairs (image of the first, image of the second) with equal bytes of two lists.
        dataset: says whether to refuse.

    Returns:
        The number of images that (train, validation), (train, test) and (validation, test) share.

    Raises:
        InputError: names the images.
    """
    train, validation, test = names
    found: dict[tuple[str, str], int] = {}
    for first, second in combinations(dict.fromkeys((train, test, validation)), 2):
        pairs = pairs_of(first, second)
        found[first, second] = found[second, first] = len({twin for _, twin in pairs})
        if pairs and dataset.overlap == "refuse":
            raise InputError(_message(first, second, pairs, counts[second]))
    return found.get((train, validation), 0), found.get((train, test), 0), found.get((validation, test), 0)


def _message(first: str, second: str, pairs: Pairs, count: int) -> str:
    examples = ", ".join(f"{a} = {b}" for a, b in pairs[:_SHOWN]) + (", ..." if len(pairs) > _SHOWN else "")
    return (
        f"{len(pairs)} of {count} images of {second} are, byte for byte, images of {first} under other names "
        f"({first} = {second}: {examples}): scores on them would be too good. Take one of each out, or set [dataset] "
        "overlap = allow."
    )


def shared_with_validation(ids: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Return how many images of the validation split are in ``train`` and ``test`` by name, and ``of`` how many.

    Args:
        ids: image ids by split.
    """
    validation = set(ids["validation"])
    return {**{name: len(validation.intersection(ids[name])) for name in ("train", "test")}, "of": len(validation)}


def same_files(
    path_of: Callable[[str], Path], first: Sequence[str], second: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Yield the pairs (id of ``first``, id of ``second``) of different names whose files have the same bytes.

    Contents are read only where sizes are equal. Unreadable files are skipped; reading the image reports them.
    """
    sizes = _by_size(path_of, first), _by_size(path_of, second)
    for size in sizes[0].keys() & sizes[1].keys():
        digests = defaultdict(list)
        for image_id in sizes[0][size]:
            digests[_digest(path_of(image_id), image_id)].append(image_id)
        for image_id in sizes[1][size]:
            yield from ((twin, image_id) for twin in digests[_digest(path_of(image_id), image_id)] if twin != image_id)


def same_digests(first: Mapping[str, bytes], second: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    """Yield the pairs (id of ``first``, id of ``second``) of different names and equal digests."""
    names = defaultdict(list)
    for image_id, digest in first.items():
        names[digest].append(image_id)
    for image_id, digest in second.items():
        yield from ((twin, image_id) for twin in names.get(digest, ()) if twin != image_id)


def _by_size(path_of: Callable[[str], Path], ids: Iterable[str]) -> dict[int, list[str]]:
    by_size: dict[int, list[str]] = defaultdict(list)
    for image_id in ids:
        path = path_of(image_id)
        if path.is_file():
            by_size[path.stat().st_size].append(image_id)
    return by_size


def _digest(path: Path, image_id: str) -> bytes:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return image_id.encode()
    return digest.digest()
