"""Compute methods' maps for a whole data set.

Shapes: N images of a split, K classes, P pairs of (image, class), H x W pixels.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from roar_pipeline import config
from roar_pipeline.attribution import map_store
from roar_pipeline.attribution.controls import CONTROLS
from roar_pipeline.attribution.postprocess import vary
from roar_pipeline.cache import resumable
from roar_pipeline.cache.building import SomeFailedError
from roar_pipeline.datasets import images
from roar_pipeline.datasets.images import Info, Split
from roar_pipeline.errors import InputError, is_transient
from roar_pipeline.methods import MethodName

if TYPE_CHECKING:
    from torch import Tensor, nn

    from roar_pipeline.attribution.engine import Batch

__all__ = ["dump_control", "dump_explanations"]

_CONTROL_BATCH = 256


def dump_explanations(
    directories: Mapping[str, Path],
    fingerprints: Mapping[str, str],
    images_path: Path,
    model: "nn.Module",
    settings: config.Maps,
    *,
    memory_share: float,
) -> None:
    """Write ``maps.h5`` of several methods: a map per image of every split, and one per pair to localize.

    Methods that lack maps of the same images share one pass over them.

    Args:
        directories: of the results, by method; a killed run's scratch file there is resumed.
        fingerprints: of the results.
        images_path: images.h5.
        model: to explain, on its device, in eval mode.
        settings: rule, layer, batch and the keys of the methods.
        memory_share: of main memory, that the images may take; if they do not fit, they are read from disk.

    Raises:
        SomeFailedError: some methods cannot explain this model, or have maps that are not finite; the others succeeded.
    """
    import torch

    from roar_pipeline.attribution import engine
    from roar_pipeline.attribution.targets import combine, explained_classes
    from roar_pipeline.networks import stored
    from roar_pipeline.networks.batches import batch_of, black_of

    device = next(model.parameters()).device
    info = images.read_info(images_path)
    in_memory = stored.fits(images.stored_bytes(images_path), memory_share, device)
    splits = images.distinct_splits(images.read_splits(images_path, pixels=in_memory))
    inputs = {name: stored.inputs_of(s.images, info.mean, info.std, device) for name, s in splits.items()}
    black = black_of(info.mean, info.std, device)
    pairs = _pairs(splits["test"])
    failures: dict[str, Exception] = {}
    for name in directories:
        try:
            engine.check(name, model, settings)
        except InputError as error:
            failures[name] = error

    def compute(group: str, rows: slice, names: list[str]) -> resumable.Answers:
        split = "test" if group == "localization" else group
        if group == "localization":
            image_rows, image_index = np.unique(pairs[rows, 0], return_inverse=True)
            class_index = pairs[rows, 1]
        else:
            image_rows = np.arange(rows.start, rows.stop)
        _, held, index_in_held = stored.held_rows(inputs[split], torch.from_numpy(image_rows))
        batch = batch_of(held, index_in_held)
        with torch.inference_mode():
            scores: NDArray[np.float32] = model(batch).float().cpu().numpy()
        if group == "localization":
            columns = {"scores": scores[image_index, class_index]}
        else:
            labels = splits[split].labels[rows]
            explained = explained_classes(scores, labels, settings.explain, is_single_label=info.is_single_label)
            image_index, class_index = np.nonzero(explained)
            columns = {"explained": explained.astype(np.uint8), "scores": scores}
        ids = [splits[split].ids[row] for row in image_rows]
        index = (torch.from_numpy(values).to(device) for values in (image_index, class_index))
        maps = _explain(names, model, engine.Batch(batch, ids, *index), settings, black)
        if group != "localization":
            count = len(image_rows)
            maps = {n: m if isinstance(m, InputError) else combine(m, image_index, count) for n, m in maps.items()}
        return {n: m if isinstance(m, InputError) else {"maps": m, **columns} for n, m in maps.items()}

    groups = _groups(splits, info, pairs)
    stores = {
        name: resumable.requests(
            directory / "maps.h5",
            fingerprints[name],
            groups,
            settings.batch,
            {"method": name, "explain": settings.explain},
        )
        for name, directory in directories.items()
        if name not in failures
    }
    failures |= resumable.answer(stores, compute)
    if failures:
        raise SomeFailedError(failures)


def _explain(
    names: Sequence[str], model: "nn.Module", batch: "Batch", settings: config.Maps, black: "Tensor"
) -> dict[str, NDArray[np.float32] | InputError]:
    """Return each method's maps as ``engine.explain`` does, computed for ``settings.batch`` pairs at a time.

    Memory grows with the pairs, and a model that predicts many classes has many pairs for few images.
    """
    chunks = [_explain_chunk(names, model, chunk, settings, black) for chunk in _chunks(batch, settings.batch)]
    joined: dict[str, NDArray[np.float32] | InputError] = {}
    for name in names:
        results = [chunk[name] for chunk in chunks]
        failure = next((result for result in results if isinstance(result, InputError)), None)
        joined[name] = failure or np.concatenate([result for result in results if not isinstance(result, InputError)])
    return joined


def _chunks(batch: "Batch", size: int) -> Iterator["Batch"]:
    """Yield ``size`` pairs of the batch at a time, with their images."""
    import torch

    from roar_pipeline.attribution.engine import Batch

    if len(batch.image_index) <= size:
        yield batch
        return
    for start in range(0, len(batch.image_index), size):
        rows = slice(start, start + size)
        image_rows, image_index = torch.unique(batch.image_index[rows], return_inverse=True)
        ids = [batch.ids[row] for row in image_rows.tolist()]
        yield Batch(batch.images[image_rows], ids, image_index, batch.class_index[rows])


def _explain_chunk(names: Sequence[str], *arguments: Any) -> dict[str, NDArray[np.float32] | InputError]:
    """Explain all pairs at once. A custom function that fails does not fail the other methods."""
    from roar_pipeline.attribution import engine

    by_function: dict[str, list[str]] = {}
    for name in names:
        method = MethodName.parse(name)
        by_function.setdefault(method.base if method.is_custom else "", []).append(name)
    results: dict[str, NDArray[np.float32] | InputError] = {}
    for function, group in sorted(by_function.items()):
        try:
            results |= engine.explain(group, *arguments)
        except Exception as error:
            if not function or is_transient(error):
                raise
            reason = InputError(f"{function} raised {type(error).__name__}: {error}. Its traceback is in the log.")
            reason.__cause__ = error
            results |= dict.fromkeys(group, error if isinstance(error, InputError) else reason)
    return results


def dump_control(path: Path, fingerprint: str, images_path: Path, method: MethodName, seed: int) -> None:
    """Write the maps of a control, which needs no model: no class is explained, and scores are NaN."""
    info = images.read_info(images_path)
    splits = images.distinct_splits(images.read_splits(images_path, pixels=False))
    pairs = _pairs(splits["test"])
    control = CONTROLS[method.base]

    def compute(group: str, rows: slice) -> dict[str, NDArray[Any]]:
        split = splits["test" if group == "localization" else group]
        image_rows = pairs[rows, 0] if group == "localization" else np.arange(rows.start, rows.stop)
        maps = control([split.ids[row] for row in image_rows], split.images[image_rows], seed)
        columns: dict[str, NDArray[Any]] = {"maps": vary(maps, method.variant)}
        if group == "localization":
            return {**columns, "scores": np.full(len(image_rows), np.nan, np.float32)}
        columns["explained"] = np.zeros((len(image_rows), len(info.classes)), np.uint8)
        columns["scores"] = np.full((len(image_rows), len(info.classes)), np.nan, np.float32)
        return columns

    groups = _groups(splits, info, pairs)
    resumable.dump(path, fingerprint, groups, _CONTROL_BATCH, compute, {"method": str(method)})


def _pairs(test: Split) -> NDArray[np.int64]:
    """Return (P, 2): row in the test split and class index of every class present in an image with a mask."""
    mask, class_index = np.nonzero(test.labels[test.segmentation_rows])
    return np.stack([test.segmentation_rows[mask], class_index], axis=1)


def _groups(splits: dict[str, Split], info: Info, pairs: NDArray[np.int64]) -> dict[str, resumable.Group]:
    size = info.height, info.width
    groups = {name: map_store.image_group(split.ids, len(info.classes), *size) for name, split in splits.items()}
    return {**groups, "localization": map_store.pair_group(pairs[:, 0], pairs[:, 1], *size)}
