"""How much of a SmoothGrad map depends on its noise seed?

A teacher is trained on generated scenes, and its test images' top-scoring classes are explained under two noise seeds.
The script prints the share of the tenth of pixels with the highest values that both maps have in common, mean over the
images; two unrelated rankings share a tenth. Integrated gradients draw no noise: two numbers of steps are compared.

``python -m benchmarks.noise [--train 3000] [--images 100]``
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from roar_pipeline import config
from roar_pipeline.attribution import engine
from roar_pipeline.datasets import images
from roar_pipeline.datasets.scenes import CLASSES
from roar_pipeline.networks import batches, classifiers
from roar_pipeline.stages import generate_scenes, prepare_images, train_teacher

SAMPLES = (15, 50, 150)
SEEDS = (0, 1)
STEPS = (25, 100)
STATISTICS = ("smoothgrad", "smoothgrad_sq", "vargrad")
CHEAP = tuple(prefix + name for prefix in ("", "guided_") for name in STATISTICS)
COSTLY = tuple(f"integrated_gradients_{name}" for name in STATISTICS)
"""Methods that need ``steps`` gradients per sample: compared with the fewest samples only."""


def trained(folder: Path, train: int, test: int) -> tuple[torch.nn.Module, engine.Batch, torch.Tensor]:
    """Train the default experiment's teacher, and return it with the test images to explain and black."""
    generate_scenes(folder, scenes=config.Scenes(train=train, validation=1, test=test))
    prepare_images(folder, root=folder / "VOC2012", dataset=config.Dataset(), classes=CLASSES)
    path, execution = folder / "images.h5", config.Execution(device="cpu", threads=1)
    teacher = config.Teacher()
    train_teacher(folder, images_path=path, teacher=teacher, seed=0, fingerprint="benchmark", execution=execution)
    model, info, split = classifiers.load(folder / "model.pt"), images.read_info(path), images.read_split(path, "test")
    device = torch.device("cpu")
    rows = torch.arange(test)
    batch = batches.batch_of(batches.make_inputs(split.images[:], info.mean, info.std, device), rows)
    with torch.inference_mode():
        top = model(batch).argmax(1)
    return model, engine.Batch(batch, split.ids, rows, top.clone()), batches.black_of(info.mean, info.std, device)


def shared_tops(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the share that the top tenths of maps (P, H, W) have in common, mean over the pairs."""
    pixels = first[0].size
    top = round(pixels / 10)
    tops = [np.argsort(-maps.reshape(len(maps), pixels), axis=1, kind="stable")[:, :top] for maps in (first, second)]
    shares = [len(np.intersect1d(*pair)) / top for pair in zip(*tops, strict=True)]
    return float(np.mean(shares))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=3000, help="images to train on")
    parser.add_argument("--images", type=int, default=100, help="test images to explain")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        model, batch, black = trained(Path(name), arguments.train, arguments.images)

    def explain(names: tuple[str, ...], settings: config.Maps) -> dict[str, NDArray[np.float32]]:
        return engine.explain(names, model, batch, settings, black)

    print("| method | " + " | ".join(f"{samples} samples" for samples in SAMPLES) + " |")
    print("|---" * (len(SAMPLES) + 1) + "|")
    shares: dict[str, list[str]] = {}
    for samples in SAMPLES:
        names = CHEAP + COSTLY if samples == SAMPLES[0] else CHEAP
        first, second = (explain(names, config.Maps(samples=samples, noise_seed=seed)) for seed in SEEDS)
        for name in names:
            shares.setdefault(name, []).append(f"{shared_tops(first[name], second[name]):.2f}")
    for name, texts in shares.items():
        print(f"| {name} | " + " | ".join(texts + [""] * (len(SAMPLES) - len(texts))) + " |")
    name = "integrated_gradients"
    few, many = (explain((name,), config.Maps(steps=steps))[name] for steps in STEPS)
    print(f"\n{name}, {STEPS[0]} and {STEPS[1]} steps: {shared_tops(few, many):.2f}")


if __name__ == "__main__":
    main()
