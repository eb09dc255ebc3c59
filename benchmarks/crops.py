"""What do random crops of photographs cost, compared with the network that is trained on them?

``python -m benchmarks.crops [--batch 64] [--steps 4] [--network-batch 4]``, on the GPU where there is one, else on one
thread. Crops of 227 x 227 pixels from photographs of 375 x 500, against a forward and backward pass of vgg16_bn.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from roar_pipeline.config import Execution, Network
from roar_pipeline.datasets.photographs import Photographs
from roar_pipeline.networks import training, vgg
from roar_pipeline.networks.crops import crop_batch, make_crop_inputs
from roar_pipeline.networks.losses import soft_margin

SIDE, CLASSES = 227, 20
SIZE = (375, 500)


def seconds(run: Callable[[], None], device: torch.device, steps: int) -> float:
    """Return the median time of a call after one that is not counted: CPU time on the CPU, else wall time."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    times = []
    for _ in range(steps + 1):
        started = clock()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(clock() - started)
    return statistics.median(times[1:])


def cropping(batch: int, device: torch.device) -> Callable[[], None]:
    """Return a function that makes a batch of crops."""
    pixels = np.random.default_rng(0).integers(0, 256, batch * 3 * SIZE[0] * SIZE[1], dtype=np.uint8)
    photographs = Photographs(np.array([SIZE] * batch), pixels, np.zeros((batch, CLASSES), np.uint8))
    inputs = make_crop_inputs(photographs, np.full(3, 0.45), np.full(3, 0.22), SIDE, SIDE, device)
    index, generator = torch.randperm(batch, device=device), torch.Generator().manual_seed(0)

    def run() -> None:
        crop_batch(inputs, index, generator)

    return run


def passing(batch: int, device: torch.device) -> Callable[[], None]:
    """Return a function that runs a batch through vgg16_bn and back."""
    model = vgg.build(Network(arch="vgg16_bn", width=64, pool=7, dropout=0.5), CLASSES).to(device).train()
    images = torch.randn(batch, 3, SIDE, SIDE, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(batch, CLASSES, device=device)

    def run() -> None:
        model.zero_grad()
        soft_margin(model(images), labels).backward()

    return run


def main() -> None:
    """Print both times per image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--network-batch", type=int, default=4)
    arguments = parser.parse_args()
    device = training.set_up_device(Execution())
    crops = seconds(cropping(arguments.batch, device), device, arguments.steps)
    network = seconds(passing(arguments.network_batch, device), device, arguments.steps)
    print(f"device                                  {device}")
    print(f"{arguments.batch} crops                                {crops:.4f} s")
    print(f"vgg16_bn, {arguments.network_batch} images, forward and backward  {network:.4f} s")
    print(
        f"share of the network's time per image   {crops / arguments.batch / (network / arguments.network_batch):.4f}"
    )


if __name__ == "__main__":
    main()
