"""What does a map cost, in units of the network's own forward pass?

Every method runs on the same net and batch, single thread, in turn with a bare forward pass in one process; ratios are
medians of pairs, so they do not depend on how busy the machine is. Other libraries are compared where they have the
method and are installed (``pip install zennit grad-cam``). Peak memory is the growth of a process of its own.

``python -m benchmarks.methods [--arch vgg16_bn] [--size 64] [--batch 16] [--rounds 7] [--peers ours,zennit]``

``arch`` is a name of the settings: a VGG, a CIFAR ResNet such as resnet20, or one of torchvision's such as resnet18.
"""

import argparse
import copy
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.resnet import ResNet

from roar_pipeline.architectures import CIFAR_RESNETS
from roar_pipeline.attribution import engine
from roar_pipeline.config import Maps, Network
from roar_pipeline.networks import classifiers
from roar_pipeline.networks.layers import find_layer
from roar_pipeline.networks.training import keep_freed_memory

CLASSES = 20
SINGLE = ("gradcam", "ebp", "gradient", "guided", "lrp", "rap")
SAMPLED = {"integrated_gradients": 25, "smoothgrad": 15}
"""Steps or samples of a method, by which its cost is divided."""

Run = Callable[[], object]


def problem(arch: str, size: int, count: int) -> tuple[nn.Module, engine.Batch]:
    """Build the net and the batch."""
    torch.manual_seed(0)
    network = Network(arch=arch, width=16 if arch in ("vgg11_small", *CIFAR_RESNETS) else 64)
    model = classifiers.build(network, CLASSES).eval()
    images = torch.randn(count, 3, size, size).contiguous(memory_format=torch.channels_last)
    rows = torch.arange(count)
    return model, engine.Batch(images, [str(i) for i in range(count)], rows, rows % CLASSES)


def ours(model: nn.Module, batch: engine.Batch) -> dict[str, Run]:
    """Return our methods, alone and together."""
    black = torch.full((1, 3, 1, 1), -2.0)

    def maps(*names: str) -> Run:
        return lambda: engine.explain(names, model, batch, Maps(), black)

    runs = {name: maps(name) for name in (*SINGLE, *SAMPLED)}
    return {
        **runs,
        "six single-pass maps": maps(*SINGLE),
        "noise family": maps("smoothgrad", "smoothgrad_sq", "vargrad"),
    }


def captums(model: nn.Module, batch: engine.Batch) -> dict[str, Run]:
    """Return captum's methods."""
    from captum import attr

    images, target = batch.images, batch.class_index
    last_relu = find_layer(model, "last_relu")
    baseline = torch.full((1, 3, 1, 1), -2.0).expand_as(images)
    return {
        "gradcam": lambda: attr.LayerGradCam(model, last_relu).attribute(images, target),
        "gradient": lambda: attr.Saliency(model).attribute(images, target, abs=False),
        "guided": lambda: attr.GuidedBackprop(model).attribute(images, target),
        "integrated_gradients": lambda: attr.IntegratedGradients(model).attribute(
            images, baseline, target, n_steps=25, method="riemann_right", internal_batch_size=len(images)
        ),
        "smoothgrad": lambda: attr.NoiseTunnel(attr.Saliency(model)).attribute(
            images, nt_samples=15, nt_samples_batch_size=1, stdevs=0.15, target=target, abs=False
        ),
    }


def zennits(model: nn.Module, batch: engine.Batch) -> dict[str, Run]:
    """Return zennit's methods, on a copy of the model, which zennit changes and needs without ReLUs in place."""
    from zennit.attribution import Gradient
    from zennit.composites import EpsilonAlpha2Beta1, ExcitationBackprop
    from zennit.rules import AlphaBeta
    from zennit.torchvision import ResNetCanonizer

    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    canonizers = [ResNetCanonizer()] if isinstance(model, ResNet) else []
    onehot = nn.functional.one_hot(batch.class_index, CLASSES).float()

    def run(composite: object) -> Run:
        def attribute() -> None:
            with Gradient(model=model, composite=composite) as attributor:
                attributor(batch.images, onehot)

        return attribute

    layer_map = [(nn.Conv2d, AlphaBeta(1, 0)), (nn.Linear, AlphaBeta(1, 0))]
    alpha = EpsilonAlpha2Beta1(layer_map=layer_map, canonizers=canonizers)
    return {"lrp": run(alpha), "ebp": run(ExcitationBackprop(canonizers=canonizers))}


def gradcams(model: nn.Module, batch: engine.Batch) -> dict[str, Run]:
    """Return pytorch-grad-cam's method."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    last_relu = find_layer(model, "last_relu")
    targets = [ClassifierOutputTarget(k) for k in batch.class_index.tolist()]

    def run() -> None:
        with GradCAM(model, [last_relu]) as cam:
            cam(batch.images, targets)

    return {"gradcam": run}


PEERS: dict[str, Callable[[nn.Module, engine.Batch], dict[str, Run]]] = {
    "ours": ours,
    "captum": captums,
    "zennit": zennits,
    "pytorch-grad-cam": gradcams,
}


def ratio(run: Run, forward: Run, rounds: int) -> float:
    """Return the median of the run's time over that of the forward pass just before it."""
    run(), forward()
    return statistics.median(seconds(run) / seconds(forward) for _ in range(rounds))


def seconds(run: Run) -> float:
    """Time one call, in CPU seconds of this process."""
    started = time.process_time()
    run()
    return time.process_time() - started


def peak(arguments: argparse.Namespace, method: str) -> int:
    """Return the MiB by which a process of its own grows at most while our method runs."""
    sizes = ["--arch", arguments.arch, "--size", str(arguments.size), "--batch", str(arguments.batch)]
    command = [sys.executable, "-m", "benchmarks.methods", *sizes, "--peak", method]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def peak_of(run: Run) -> int:
    """Return the MiB by which this process grows at most while it runs. Linux only."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = memory("VmRSS")
    run()
    return memory("VmHWM") - before


def memory(key: str) -> int:
    """Read a line of /proc/self/status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) // 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="vgg16_bn")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.peak:
        keep_freed_memory()
    model, batch = problem(arguments.arch, arguments.size, arguments.batch)

    @torch.inference_mode()
    def forward() -> Tensor:
        result: Tensor = model(batch.images)
        return result

    if arguments.peak:
        print(peak_of(forward if arguments.peak == "forward" else ours(model, batch)[arguments.peak]))
        return
    print(
        f"{arguments.arch}, {arguments.size} pixels, batch {arguments.batch}, one thread, torch {torch.__version__}\n"
    )
    peers = arguments.peers.split(",")
    print("| method | " + " | ".join(peers) + " | our peak, MiB |")
    print("|---" * (len(peers) + 2) + "|")
    print("| forward pass |" + " 1 |" * len(peers) + f" {peak(arguments, 'forward')} |")
    rows: dict[str, dict[str, float]] = {}
    for library in peers:
        try:
            runs = PEERS[library](model, batch)
        except ImportError as error:
            print(f"({library} is not installed: {error})", file=sys.stderr)
            continue
        for name, run in runs.items():
            rows.setdefault(name, {})[library] = ratio(run, forward, arguments.rounds)
    for name, ratios in rows.items():
        steps = SAMPLED.get(name, 15 if name == "noise family" else 1)
        label = f"{name}, per {'step' if name == 'integrated_gradients' else 'sample'}" if steps > 1 else name
        texts = [f"{ratios[library] / steps:.2f}" if library in ratios else "" for library in peers]
        print(f"| {label} | " + " | ".join(texts) + f" | {peak(arguments, name)} |")


if __name__ == "__main__":
    main()
