"""How much of a bare training loop's speed does a retrained cell keep?

The reference is the same network, optimizer and schedule in a bare loop over a resident random tensor: no images, no
removal, no order, only forward, backward, step. Both are timed in turn, epoch by epoch, in one process with one thread,
so that the ratio of a pair does not depend on how busy the machine is.

``python -m benchmarks.retrain_speed [--images 3000] [--pairs 7]``
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from roar_pipeline.config import Retrain
from roar_pipeline.networks import batches, training, vgg
from roar_pipeline.networks.losses import soft_margin
from roar_pipeline.removal.ranking import removal_levels

CLASSES = 10
SIZE = 48


def bare_epoch(recipe: Retrain, images: int) -> Callable[[], None]:
    """Return a function that trains one epoch on a random tensor."""
    torch.manual_seed(0)
    model = vgg.build(recipe, CLASSES).train()
    optimizer = training._optimizer(model, recipe)
    batch = torch.randn(recipe.batch, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    labels = (torch.rand(recipe.batch, CLASSES) < 0.2).float()

    def run() -> None:
        for _ in range(images // recipe.batch):
            loss = soft_margin(model(batch), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return run


def cell_epoch(recipe: Retrain, images: int) -> Callable[[], None]:
    """Return a function that trains one epoch of a cell, 30 % of the pixels removed in memory, batch by batch."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, SIZE, SIZE, 3), dtype=np.uint8)
    levels = np.stack([removal_levels(rng.random((SIZE, SIZE)), str(i), 0) for i in range(images)])
    inputs = batches.make_inputs(pixels, np.full(3, 0.5), np.full(3, 0.25), torch.device("cpu"))
    inputs = batches.with_removal(inputs, levels, 30, "remove")
    labels = (torch.rand(images, CLASSES) < 0.2).float()
    data = training.TrainingData(inputs, labels)
    state = training.start(vgg.build(recipe, CLASSES), images, dataclasses.replace(recipe, schedule="constant"))

    def run() -> None:
        training.train_epoch(state, data, recipe, training.classification_loss(soft_margin), seed=0)

    return run


def seconds(run: Callable[[], None]) -> float:
    """Time one call, in CPU seconds of this process."""
    started = time.process_time()
    run()
    return time.process_time() - started


def main() -> None:
    """Print both speeds and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=3000, help="per epoch")
    parser.add_argument("--pairs", type=int, default=7, help="epochs of each kind")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    training.keep_freed_memory()
    recipe = Retrain()
    bare, cell = bare_epoch(recipe, arguments.images), cell_epoch(recipe, arguments.images)
    seconds(bare), seconds(cell)
    pairs = [(seconds(bare), seconds(cell)) for _ in range(arguments.pairs)]
    floors, cells = zip(*pairs, strict=True)
    ratios = [floor / own for floor, own in pairs]
    trained = arguments.images // recipe.batch * recipe.batch
    print("| what | images per CPU second, median |\n|---|---|")
    print(f"| bare loop | {trained / statistics.median(floors):.0f} |")
    print(f"| a cell's epoch | {trained / statistics.median(cells):.0f} |")
    low, median, high = min(ratios), statistics.median(ratios), max(ratios)
    print(f"\nratio, median of {len(ratios)} pairs: {median:.3f} ({low:.3f}..{high:.3f})")
    print(f"bytes kept per image for removal at every percentage: {SIZE * SIZE} (uint8 levels);")
    print(f"float32 x 3 at one percentage: {SIZE * SIZE * 3 * 4}, {3 * 4} times as many")


if __name__ == "__main__":
    main()
