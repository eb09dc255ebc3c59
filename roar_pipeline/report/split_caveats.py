"""Sentences that say where the choice of the splits limits the results."""

from collections.abc import Mapping

from roar_pipeline import config
from roar_pipeline.datasets.images import OVERLAPPING, Info
from roar_pipeline.report.labels import METRICS

__all__ = ["split_caveats"]


def split_caveats(
    settings: config.Settings,
    shared: Mapping[str, int],
    info: Info | None,
    *,
    is_single_label: bool,
) -> list[str]:
    """Return what was chosen on images that it is measured on, or that networks were trained on.

    With several labels per image that is the tuned threshold, and with checkpoint = best the epoch; with one, the epoch
    alone.

    Args:
        settings: of all results.
        shared: number of images that the validation split shares with ``train`` and with ``test``, and ``of``, its
            size; empty: not known.
        info: of the images, with what was held out and what splits share; None: not known.
        is_single_label: whether every image has exactly one label.
    """
    lines = [_held_out_caveat(*info.held_out)] if info is not None and info.held_out is not None else []
    lines += _overlap_caveats(info.overlaps) if info is not None else []
    if is_single_label:
        return lines + (_one_label_caveats(settings, shared) if _best_epochs(settings) else [])
    return lines + (_validation_caveats(settings) or _shared_image_caveats(settings, shared))


def _held_out_caveat(share: float, count: int) -> str:
    return (
        f"The data set has no validation split: {count:,} of its training images, {100 * share:g} % of every class, "
        "are held out as one. All networks are trained on the others alone."
    )


def _overlap_caveats(overlaps: tuple[int, int, int]) -> list[str]:
    counts = dict(zip(OVERLAPPING, overlaps, strict=True))
    texts = [f"{count:,} of {first} and {second}" for (first, second), count in counts.items() if count]
    if not texts:
        return []
    end = " Scores on test images that are also training images are too good." if counts["train", "test"] else ""
    return [f"Splits share images, byte for byte, under other names (overlap = allow): {', '.join(texts)}.{end}"]


def _one_label_caveats(settings: config.Settings, shared: Mapping[str, int]) -> list[str]:
    """Say where the best epoch was chosen on images of another split."""
    best, dataset = _best_networks(settings), settings.dataset
    if dataset.validation_split == dataset.test_split:
        return [
            f"The test split is also the validation split: the best epoch of {best} was chosen on the images it is "
            "measured on. Such scores are optimistic."
        ]
    if dataset.validation_split == dataset.train_split:
        return [
            f"The training split is also the validation split: the best epoch of {best} was chosen on images that the "
            "networks were trained on."
        ]
    lines = []
    if count := shared.get("test", 0):
        lines.append(
            f"{count} of {shared['of']} validation images are also test images: the best epoch of {best} was chosen on "
            "them, too. Such scores are optimistic."
        )
    if count := shared.get("train", 0):
        lines.append(
            f"{count} of {shared['of']} validation images are also training images: the best epoch of {best} was "
            "chosen on images that the networks were trained on, too."
        )
    return lines


def _validation_caveats(settings: config.Settings) -> list[str]:
    dataset = settings.dataset
    if dataset.validation_split not in (dataset.test_split, dataset.train_split):
        return []
    if dataset.validation_split == dataset.train_split:
        return [
            f"The training split is also the validation split: the threshold of {METRICS['f1_tuned'].label} was chosen "
            "on images that the networks were trained on, where they are surer than on others."
        ]
    return [
        f"The test split is also the validation split: the threshold of {METRICS['f1_tuned'].label} was chosen on the "
        f"images it is measured on{_best_epochs(settings)}. Such scores are optimistic."
    ]


def _shared_image_caveats(settings: config.Settings, shared: Mapping[str, int]) -> list[str]:
    """Say how many images the validation split shares with the other splits."""
    lines = []
    if count := shared.get("test", 0):
        lines.append(
            f"{count} of {shared['of']} validation images are also test images: the threshold of "
            f"{METRICS['f1_tuned'].label} was chosen on them, too{_best_epochs(settings)}. Such scores are optimistic."
        )
    if count := shared.get("train", 0):
        lines.append(
            f"{count} of {shared['of']} validation images are also training images: the threshold of "
            f"{METRICS['f1_tuned'].label} was chosen on images that the networks were trained on, too, where they are "
            "surer."
        )
    return lines


def _best_epochs(settings: config.Settings) -> str:
    best = _best_networks(settings)
    return f", as was the best epoch of {best}" if best else ""


def _best_networks(settings: config.Settings) -> str:
    networks = {"teacher": settings.teacher, "student": settings.student}
    return " and ".join(name for name, network in networks.items() if network.checkpoint == "best")
