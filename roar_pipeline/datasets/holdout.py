"""The validation split of a data set that has none: a seeded share of the training images."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from roar_pipeline.errors import InputError
from roar_pipeline.seeds import derived_seed

__all__ = ["held_out_count", "held_out_rows", "without_copies"]


def held_out_count(images: int, share: float) -> int:
    """Return how many of a class's ``images`` are held out: ``share`` of them, at least one; one or more stay."""
    return min(max(1, round(share * images)), max(images - 1, 0))


def held_out_rows(
    class_index: npt.NDArray[np.int64], classes: Sequence[str], share: float, seed: int
) -> npt.NDArray[np.int64]:
    """Draw the rows of the training images that become the validation split, ascending.

    The draw is stratified: ``held_out_count`` images of every class.

    Args:
        class_index: (N,), the class of every training image.
        classes: names; a class without images is not drawn from.
        share: of every class, in 0..1.
        seed: of the draw.

    Raises:
        InputError: names the classes with one image.
    """
    counts = np.bincount(class_index, minlength=len(classes))
    if single := [name for name, count in zip(classes, counts, strict=True) if count == 1]:
        names = ", ".join(single[:10]) + (", ..." if len(single) > 10 else "")
        raise InputError(
            "The data set has no validation split, so a share of every class's training images is held out for it, "
            f"and at least one must stay. There is one training image of {names}. Add images, or a validation split."
        )
    drawn = [
        np.random.default_rng(derived_seed(seed, "holdout", name)).permutation(np.flatnonzero(class_index == index))[
            : held_out_count(int(counts[index]), share)
        ]
        for index, name in enumerate(classes)
    ]
    return np.sort(np.concatenate(drawn)).astype(np.int64)


def without_copies(drawn: npt.NDArray[np.int64], digests: Sequence[bytes]) -> tuple[list[int], list[int]]:
    """Return the rows that stay in train and those that are held out: the drawn ones without copies of what stays.

    Args:
        drawn: rows of ``held_out_rows``.
        digests: (N,), of the training images' bytes.
    """
    chosen = set(drawn.tolist())
    staying = {digest for row, digest in enumerate(digests) if row not in chosen}
    held_out = [row for row in sorted(chosen) if digests[row] not in staying]
    return sorted(set(range(len(digests))) - set(held_out)), held_out
