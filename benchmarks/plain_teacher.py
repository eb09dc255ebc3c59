"""Is a teacher as accurate as the same network trained by a plain PyTorch loop?

The loop below shares no code with the pipeline's: network, normalization, flips, order, schedule and scores are written
with PyTorch alone. Both read the same images.h5 (one label per image) and the same [teacher]: a vgg11_small with adamw,
one_cycle, and flip or no augmentation. Their seeds are different random numbers, so accuracies are compared by their
mean and spread.

``python -m benchmarks.plain_teacher data/runs/PrepareImages/*/images.h5 [--config configs/cifar10.cfg] [--seeds 3]``
"""

import argparse
import configparser
import dataclasses
import statistics
import tempfile
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import nn

from roar_pipeline import stages
from roar_pipeline.cache.files import read_json
from roar_pipeline.config import Execution, Settings, Teacher
from roar_pipeline.errors import InputError
from roar_pipeline.settings_parser import parse


def plain_accuracy(path: Path, recipe: Teacher, seed: int, device: torch.device) -> float:
    """Train a network by a plain loop and return its accuracy on the test images."""
    torch.manual_seed(seed)
    with h5py.File(path) as file:
        splits = [torch.from_numpy(file[f"{name}/images"][:]).permute(0, 3, 1, 2) for name in ("train", "test")]
        labels = [torch.from_numpy(file[f"{name}/labels"][:].argmax(axis=1)) for name in ("train", "test")]
    pixels = splits[0].numpy() / np.float32(255)
    mean, std = (torch.tensor(f(pixels, axis=(0, 2, 3), dtype=np.float64)).float() for f in (np.mean, np.std))
    train, test = (((s / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)).to(device) for s in splits)
    train_labels, test_labels = (part.to(device) for part in labels)

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]

    w, pool = recipe.width, nn.MaxPool2d(2)
    layers = [*block(3, w), pool, *block(w, 2 * w), pool, *block(2 * w, 4 * w), *block(4 * w, 4 * w), pool]
    layers += [*block(4 * w, 8 * w), *block(8 * w, 8 * w), pool, nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Dropout(recipe.dropout), nn.Linear(8 * w, int(test_labels.max()) + 1)).to(device)

    steps = len(train) // recipe.batch
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=recipe.epochs * steps)
    criterion = nn.CrossEntropyLoss()
    for _ in range(recipe.epochs):
        for index in torch.randperm(len(train))[: steps * recipe.batch].split(recipe.batch):
            images = train[index]
            if recipe.augment == "flip":
                mirrored = torch.rand(len(index)) < 0.5
                images[mirrored] = images[mirrored].flip(3)
            optimizer.zero_grad()
            criterion(model(images), train_labels[index]).backward()
            optimizer.step()
            scheduler.step()
    model.eval()
    with torch.no_grad():
        predicted = torch.cat([model(images).argmax(dim=1) for images in test.split(500)])
    return float((predicted == test_labels).float().mean())


def own_accuracy(path: Path, recipe: Teacher, seed: int, execution: Execution) -> float:
    """Train a teacher as the pipeline does and return its accuracy on the test images."""
    with tempfile.TemporaryDirectory() as folder:
        stages.train_teacher(
            Path(folder), images_path=path, teacher=recipe, seed=seed, fingerprint="", execution=execution
        )
        return float(read_json(Path(folder) / "metrics.json")["test"]["accuracy"])


def read_teacher(path: Path) -> Teacher:
    """Return the teacher's settings of a configuration file.

    Raises:
        InputError: the plain loop does not train such a teacher.
    """
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(path, encoding="utf-8")
    ours = {field.name for field in dataclasses.fields(Settings)}
    recipe = parse({name: dict(parser[name]) for name in parser.sections() if name in ours}).teacher
    plain = {"arch": "vgg11_small", "pool": 1, "optimizer": "adamw", "schedule": "one_cycle", "remainder": "drop"}
    plain |= {"checkpoint": "last", "precision": "float32", "weights": "none"}
    if any(getattr(recipe, key) != value for key, value in plain.items()) or recipe.augment not in ("none", "flip"):
        raise InputError(f"{path}: the plain loop trains a [teacher] with {plain} and augment = none or flip.")
    return recipe


def main() -> None:
    """Print the accuracies of both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, help="images.h5")
    parser.add_argument("--config", type=Path, default=Path("configs/cifar10.cfg"))
    parser.add_argument("--epochs", type=int, help="instead of the teacher's")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    recipe = read_teacher(arguments.config)
    recipe = dataclasses.replace(recipe, epochs=arguments.epochs or recipe.epochs)
    execution = Execution(device=arguments.device)
    torch.set_num_threads(execution.threads)
    rows: dict[str, list[float]] = {"plain loop": [], "teacher": []}
    for seed in range(arguments.seeds):
        rows["plain loop"].append(plain_accuracy(arguments.images, recipe, seed, torch.device(arguments.device)))
        rows["teacher"].append(own_accuracy(arguments.images, recipe, seed, execution))
    print("| trained by | accuracy of every seed, % | mean | s.d. |\n|---|---|---|---|")
    for name, values in rows.items():
        spread = f"{100 * statistics.stdev(values):.2f}" if len(values) > 1 else ""
        each = ", ".join(f"{100 * value:.2f}" for value in values)
        print(f"| {name} | {each} | {100 * statistics.mean(values):.2f} | {spread} |")


if __name__ == "__main__":
    main()
