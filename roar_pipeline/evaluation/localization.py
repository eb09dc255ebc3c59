"""Localization of objects by maps: AUC and pointing accuracy over the pairs of a map store."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roar_pipeline.attribution.map_store import Pairs, read_pairs, read_scores
from roar_pipeline.datasets.images import read_info, read_split
from roar_pipeline.evaluation.map_metrics import localization_auc, pointing, summarize_pairs

__all__ = ["localize"]


def localize(images_path: Path, maps_path: Path, model: str | None, method: str, void: str) -> dict[str, Any]:
    """Score every (image with a mask, present class) pair of the test split.

    Returns:
        The pairs and their summaries. ``all`` is of all pairs; ``own`` of those whose class this model predicts (score
        above 0, Park et al. 2020; with one label per image the highest score, and every pair then has
        ``is_predicted``), None for a control, which has no model. ``zero_maps`` counts maps without any positive value.
        A pair whose mask is empty or fills the image has AUC None and counts as undefined.
    """
    split = read_split(images_path, "test", pixels=False)
    pairs = read_pairs(maps_path)
    is_single_label = read_info(images_path).is_single_label
    is_predicted = _top_classes(maps_path, pairs) if is_single_label else pairs.scores > 0
    mask_of_row = {int(row): mask for row, mask in zip(split.segmentation_rows, split.segmentation, strict=True)}
    rows: list[dict[str, Any]] = []
    for map_, row, class_index, score in zip(pairs.maps, pairs.rows, pairs.class_index, pairs.scores, strict=True):
        mask, value = mask_of_row[int(row)], int(class_index) + 1
        rows.append(
            {
                "id": split.ids[int(row)],
                "class_index": int(class_index),
                "score": None if model is None else float(score),
                "auc": localization_auc(map_, mask, value, void),
                "pointing": pointing(map_, mask, value, void),
            }
        )
    if is_single_label:
        for pair, own in zip(rows, is_predicted, strict=True):
            pair["is_predicted"] = None if model is None else bool(own)
    auc, point = ([r[key] for r in rows] for key in ("auc", "pointing"))
    return {
        "model": model,
        "method": method,
        "zero_maps": pairs.zero_maps,
        "own": None if model is None else summarize_pairs(auc, point, is_predicted),
        "all": summarize_pairs(auc, point, np.ones(len(rows), dtype=bool)),
        "pairs": rows,
    }


def _top_classes(maps_path: Path, pairs: Pairs) -> NDArray[np.bool_]:
    """Tell of each pair whether its class has the image's highest score, the first of equal ones, (P,)."""
    best = read_scores(maps_path, "test").argmax(axis=1)
    return np.asarray(best[pairs.rows] == pairs.class_index)
