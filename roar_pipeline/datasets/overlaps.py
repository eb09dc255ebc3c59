"""Images that splits share, by name or by the bytes of their files."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from roar_pipeline.config import Dataset
from roar_pipeline.datasets import voc
from roar_pipeline.errors import InputError

__all__ = ["check_disjoint", "same_files", "shared_with_validation"]

_SHOWN = 5
_CHUNK = 1 << 20


def check_disjoint(root: Path, ids: Mapping[str, Sequence[str]], dataset: Dataset) -> None:
    """Refuse training images among the test images, and one photograph under two names in two splits.

    Validation may share images with the others by name, as Park et al. validate on the test split; the report cautions
    about it. The same photograph under another name is always a mistake.

    Args:
        root: of the VOC folder.
        ids: image ids by the name of their list.
        dataset: names the lists of the splits.

    Raises:
        InputError: names the images.
    """
    train, test = dataset.train_split, dataset.test_split
    train_ids = set(ids[train])
    if shared := [image_id for image_id in ids[test] if image_id in train_ids]:
        raise InputError(
            f"{len(shared)} of {len(ids[test])} test images ({test}) are also training images ({train}), {shared[0]} "
            "for one: every number would be too good. Set [dataset] train_split and test_split to lists that share no "
            "image."
        )
    for first, second in combinations(dict.fromkeys((train, test, dataset.validation_split)), 2):
        if pairs := list(same_files(root, ids[first], ids[second])):
            examples = ", ".join(f"{a} = {b}" for a, b in pairs[:_SHOWN]) + (", ..." if len(pairs) > _SHOWN else "")
            raise InputError(
                f"{len(pairs)} of {len(ids[second])} images of {second} are, byte for byte, images of {first} under "
                f"other names ({first} = {second}: {examples}): scores on them would be too good. Take one of each off "
                f"its list, in {root / 'ImageSets' / 'Main'}."
            )


def shared_with_validation(ids: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Return how many images of the validation split are in ``train`` and ``test`` by name, and ``of`` how many.

    Args:
        ids: image ids by split.
    """
    validation = set(ids["validation"])
    return {**{name: len(validation.intersection(ids[name])) for name in ("train", "test")}, "of": len(validation)}


def same_files(root: Path, first: Sequence[str], second: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the pairs (id of ``first``, id of ``second``) of different names whose photographs have the same bytes.

    Contents are read only where sizes are equal. Unreadable files are skipped; reading the image reports them.
    """
    sizes = _by_size(root, first), _by_size(root, second)
    for size in sizes[0].keys() & sizes[1].keys():
        digests = defaultdict(list)
        for image_id in sizes[0][size]:
            digests[_digest(root, image_id)].append(image_id)
        for image_id in sizes[1][size]:
            yield from ((twin, image_id) for twin in digests[_digest(root, image_id)] if twin != image_id)


def _by_size(root: Path, ids: Iterable[str]) -> dict[int, list[str]]:
    by_size: dict[int, list[str]] = defaultdict(list)
    for image_id in ids:
        path = voc.image_path(root, image_id)
        if path.is_file():
            by_size[path.stat().st_size].append(image_id)
    return by_size


def _digest(root: Path, image_id: str) -> bytes:
    digest = hashlib.sha256()
    try:
        with voc.image_path(root, image_id).open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return image_id.encode()
    return digest.digest()
