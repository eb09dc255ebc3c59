"""Compute a method's maps for a whole data set, and rank them.

Shapes: N images of a split, K classes, P pairs of (image, class), H x W pixels.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from roar_pipeline import config, images, maps
from roar_pipeline.attribution import load_method
from roar_pipeline.images import Info, Split

if TYPE_CHECKING:
    from torch import nn

__all__ = ["dump_control", "dump_explanations", "rank"]

_SPLITS = ("train", "test")
_CONTROL_BATCH = 256


def dump_explanations(
    directory: Path,
    fingerprint: str,
    images_path: Path,
    model: "nn.Sequential",
    method: str,
    settings: config.Maps,
) -> None:
    """Write ``maps.h5``: one map per train and test image by the explain rule, one per pair to localize.

    Args:
        directory: of the result; a killed run's scratch file there is gone on with.
        fingerprint: of the result.
        images_path: images.h5.
        model: to explain, on its device, in eval mode.
        method: a key of ``attribution.METHODS``.
        settings: rule, layer, batch.
    """
    import torch

    from roar_pipeline.attribution.explain import combine, explained_classes
    from roar_pipeline.inputs import batch_of, hold

    device = next(model.parameters()).device
    info = images.read_info(images_path)
    splits = {name: images.read_split(images_path, name) for name in _SPLITS}
    inputs = {name: hold(s.images, info.mean, info.std, device) for name, s in splits.items()}
    pairs = _pairs(splits["test"])
    explain = load_method(method)

    def explained(split: str, rows: NDArray[Any], of_row: NDArray[Any], class_index: NDArray[Any]) -> Any:
        batch = batch_of(inputs[split], torch.from_numpy(rows).to(device))
        where = (torch.from_numpy(index).to(device) for index in (of_row, class_index))
        return explain(model, batch, *where, layer=settings.layer).cpu().numpy()

    def scores_of(split: str, rows: NDArray[Any]) -> NDArray[np.float32]:
        with torch.inference_mode():
            scores = model(batch_of(inputs[split], torch.from_numpy(rows).to(device)))
        result: NDArray[np.float32] = scores.float().cpu().numpy()
        return result

    def compute(group: str, rows: slice) -> dict[str, NDArray[Any]]:
        if group == "localization":
            used, of_row = np.unique(pairs[rows, 0], return_inverse=True)
            class_index = pairs[rows, 1]
            return {
                "maps": explained("test", used, of_row, class_index),
                "scores": scores_of("test", used)[of_row, class_index],
            }
        places = np.arange(rows.start, rows.stop)
        scores = scores_of(group, places)
        chosen = explained_classes(scores, splits[group].labels[rows], settings.explain)
        of_row, class_index = np.nonzero(chosen)
        each = explained(group, places, of_row, class_index)
        return {
            "maps": combine(each, of_row, len(places)),
            "explained": chosen.astype(np.uint8),
            "scores": scores,
        }

    attributes = {"method": method, "explain": settings.explain}
    groups = _groups(splits, info, pairs)
    maps.dump(directory / "maps.h5", fingerprint, groups, settings.batch, compute, attributes)


def dump_control(directory: Path, fingerprint: str, images_path: Path, method: str, seed: int) -> None:
    """Write ``maps.h5`` of a control, which looks at no model: no class is explained, and scores are not numbers."""
    info = images.read_info(images_path)
    splits = {name: images.read_split(images_path, name) for name in _SPLITS}
    pairs = _pairs(splits["test"])
    control = load_method(method)

    def compute(group: str, rows: slice) -> dict[str, NDArray[Any]]:
        if group == "localization":
            ids = [splits["test"].ids[row] for row in pairs[rows, 0]]
            columns = {"scores": np.full(len(ids), np.nan, np.float32)}
        else:
            ids = splits[group].ids[rows]
            columns = {
                "explained": np.zeros((len(ids), len(info.classes)), np.uint8),
                "scores": np.full((len(ids), len(info.classes)), np.nan, np.float32),
            }
        return {"maps": control(ids, info.height, info.width, seed), **columns}

    groups = _groups(splits, info, pairs)
    maps.dump(directory / "maps.h5", fingerprint, groups, _CONTROL_BATCH, compute, {"method": method})


def rank(directory: Path, images_path: Path, maps_path: Path, tie_seed: int) -> None:
    """Write ``levels.h5``: at which percentage each pixel of each train and test image is removed."""
    test = images.read_split(images_path, "test")
    maps.write_levels(directory / "levels.h5", maps_path, tie_seed, test.segmentation, test.segmentation_rows)


def _pairs(test: Split) -> NDArray[np.int64]:
    """Return (P, 2): row in the test split and class index of every class present in an image with a mask."""
    mask, class_index = np.nonzero(test.labels[test.segmentation_rows])
    return np.stack([test.segmentation_rows[mask], class_index], axis=1)


def _groups(splits: dict[str, Split], info: Info, pairs: NDArray[np.int64]) -> dict[str, maps.Group]:
    size = info.height, info.width
    groups = {name: maps.image_group(splits[name].ids, len(info.classes), *size) for name in _SPLITS}
    return {**groups, "localization": maps.pair_group(pairs[:, 0], pairs[:, 1], *size)}
