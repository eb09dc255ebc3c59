"""How many images per second does a retrained cell train, beside the way of public ROAR code?

The peer is written from its description: a Dataset whose items are PIL images, each masked as it is read by its own
map's percentile, torchvision's transforms, a DataLoader with workers, and a plain training step. Ours is an epoch of a
cell. Both train the same network (He et al. 2016) with the same optimizer, batch and augmentation on the same pixels,
from memory: nothing is decoded, which favors the peer. Each runs in processes of its own, in turn; on a CPU their time
is the CPU time of all their processes, workers included, so that the ratio is per core.

``python -m benchmarks.retrain_peer [--arch resnet20] [--images 2560] [--pairs 3] [--workers 2] [--device cpu]``
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from roar_pipeline.config import Execution, Retrain
from roar_pipeline.networks import batches, classifiers, training
from roar_pipeline.networks.losses import ONE_LABEL
from roar_pipeline.removal.ranking import removal_levels

CLASSES, SIZE, PERCENT = 10, 32, 50
MEAN, STD = np.full(3, 0.5), np.full(3, 0.25)
SIDES = ("public", "ours")


def recipe_of(arch: str) -> Retrain:
    """Return He et al.'s training, at a constant learning rate."""
    return Retrain(
        arch=arch,
        width=16,
        batch=128,
        optimizer="sgd",
        lr=0.01,
        weight_decay=1e-4,
        schedule="constant",
        augment="padded_crop",
    )


def data(images: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
    """Return random pixels (N, H, W, 3), maps (N, H, W) and class indices (N,)."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, SIZE, SIZE, 3), dtype=np.uint8)
    return pixels, rng.random((images, SIZE, SIZE), dtype=np.float32), rng.integers(0, CLASSES, images)


class MaskedImages(Dataset[tuple[torch.Tensor, int]]):
    """Images that are masked, augmented and normalized one by one."""

    def __init__(self, pixels: NDArray[np.uint8], maps: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        self.pixels, self.maps, self.labels = pixels, maps, labels
        fill = tuple((MEAN * 255).astype(int).tolist())
        self.fill = np.array(fill, dtype=np.uint8)
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(SIZE, padding=SIZE // 8, fill=fill),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN.tolist(), STD.tolist()),
            ]
        )

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        pixels, pixel_map = self.pixels[row].copy(), self.maps[row]
        pixels[pixel_map >= np.percentile(pixel_map, 100 - PERCENT)] = self.fill
        return self.transform(Image.fromarray(pixels)), int(self.labels[row])


def public_epoch(recipe: Retrain, images: int, device: torch.device, workers: int) -> Callable[[], None]:
    """Return a function that trains an epoch as public code does: contiguous tensors, torch's own defaults."""
    loader = DataLoader(
        MaskedImages(*data(images)),
        recipe.batch,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        pin_memory=device.type == "cuda",
    )
    model = classifiers.build(recipe, CLASSES).to(memory_format=torch.contiguous_format).to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay)
    criterion = torch.nn.CrossEntropyLoss()

    def run() -> None:
        for batch, labels in loader:
            loss = criterion(model(batch.to(device, non_blocking=True)), labels.to(device, non_blocking=True))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return run


def own_epoch(recipe: Retrain, images: int, device: torch.device) -> Callable[[], None]:
    """Return a function that trains an epoch of a cell."""
    pixels, maps, labels = data(images)
    levels = np.stack([removal_levels(one, str(row), 0) for row, one in enumerate(maps)])
    inputs = batches.with_removal(batches.make_inputs(pixels, MEAN, STD, device), levels, PERCENT, "remove")
    targets = ONE_LABEL.targets(np.eye(CLASSES, dtype=np.uint8)[labels], device)
    state = training.start(classifiers.build(recipe, CLASSES).to(device), images, recipe)
    loss = training.classification_loss(ONE_LABEL.of_labels)

    def run() -> None:
        training.train_epoch(state, training.TrainingData(inputs, targets), recipe, loss, seed=0)

    return run


def seconds(run: Callable[[], None], device: torch.device) -> float:
    """Return the time of a call: on the CPU that of this process and the children that it has waited for."""
    started = _clock(device)
    run()
    return _clock(device) - started


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(side: str, arguments: argparse.Namespace) -> float:
    """Return the images per second of one side, of the second and third epoch in this process."""
    torch.manual_seed(0)
    recipe = recipe_of(arguments.arch)
    if side == "ours":
        device = training.set_up_device(Execution(device=arguments.device))
        run = own_epoch(recipe, arguments.images, device)
    else:
        torch.set_num_threads(1)
        torch.backends.cudnn.benchmark = True
        run = public_epoch(recipe, arguments.images, torch.device(arguments.device), arguments.workers)
    device = torch.device(arguments.device)
    seconds(run, device)
    trained = arguments.images // recipe.batch * recipe.batch
    return float(2 * trained / (seconds(run, device) + seconds(run, device)))


def measure_apart(side: str) -> float:
    """Return what a new process measures with this one's arguments."""
    command = [sys.executable, "-m", "benchmarks.retrain_peer", *sys.argv[1:], "--side", side]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def main() -> None:
    """Print the speeds of both and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="resnet20")
    parser.add_argument("--images", type=int, default=2560, help="per epoch")
    parser.add_argument("--pairs", type=int, default=3, help="processes of each kind")
    parser.add_argument("--workers", type=int, default=2, help="of the peer's DataLoader")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--side", choices=SIDES, help="measure one alone, in this process")
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(measure(arguments.side, arguments)))
        return
    pairs = [[measure_apart(side) for side in SIDES] for _ in range(arguments.pairs)]
    public, ours = (statistics.median(speeds) for speeds in zip(*pairs, strict=True))
    ratios = [own / peer for peer, own in pairs]
    second = "second" if arguments.device == "cuda" else "CPU second"
    print(f"| {arguments.arch}, {SIZE} x {SIZE} pixels | images per {second}, median |\n|---|---|")
    print(f"| PIL, DataLoader, masks per image | {public:.0f} |\n| a cell's epoch | {ours:.0f} |")
    low, median, high = min(ratios), statistics.median(ratios), max(ratios)
    print(f"\nratio, median of {len(ratios)} pairs: {median:.2f} ({low:.2f}..{high:.2f})")


if __name__ == "__main__":
    main()
