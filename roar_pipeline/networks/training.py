"""The training loop, and prediction.

Shapes: N images, K classes, B images of a batch. ``scores`` are logits (N, K). ``labels`` are float multi-hot (N, K),
or class indices (N,) where every image has exactly one label (``losses``).

Order and augmentation, dropout, and a loss's own draws have separate random streams, seeded by (seed, purpose, epoch).
A resumed training therefore equals the uninterrupted one, byte for byte on the CPU.
"""

import contextlib
import ctypes
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from roar_pipeline.config import Execution, Training
from roar_pipeline.errors import InputError
from roar_pipeline.estimates.memory import PREDICT_BATCH
from roar_pipeline.networks.batches import batch_of
from roar_pipeline.networks.checkpoints import Checkpoint, TrainingState
from roar_pipeline.networks.losses import soft_margin
from roar_pipeline.networks.stored import AnyInputs, in_batches
from roar_pipeline.progress import notify
from roar_pipeline.seeds import derived_seed

__all__ = [
    "PREDICT_BATCH",
    "Loss",
    "TrainingData",
    "classification_loss",
    "facts",
    "is_validated",
    "keep_freed_memory",
    "predict",
    "set_up_device",
    "start",
    "train",
    "train_epoch",
]

_log = logging.getLogger("roar")

_MALLOC = {-3: 1 << 30, -1: 2**31 - 1, -2: 64 << 20}
"""M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD of ``mallopt(3)``, in bytes."""

_STEPS_PER_REPORT = 16

_VALIDATIONS = 20
"""Approximate number of validations of a training with ``checkpoint = last``."""

Loss = Callable[[nn.Module, Tensor, Tensor, Tensor, torch.Generator], Tensor]
"""(model, images (B, 3, H, W), labels (B, K) or (B,), index (B,) of the images in the split, generator) -> scalar.

Only the loss uses the generator. It is on the CPU, whatever the device, and is reseeded every epoch. A loss that draws
the same amount at every step therefore draws by (seed, epoch, step) alone.
"""


@dataclass(frozen=True)
class TrainingData:
    """What a network trains on: labels in memory and on the device, images there as well or on disk."""

    inputs: AnyInputs
    """N images or photographs."""
    labels: Tensor
    """Multi-hot (N, K), float; or class indices (N,), int64."""


def set_up_device(execution: Execution) -> torch.device:
    """Choose the device and the thread count of this process.

    Raises:
        InputError: CUDA is requested and not available.
    """
    torch.set_num_threads(execution.threads)
    keep_freed_memory()
    if execution.device == "cuda" and not torch.cuda.is_available():
        raise InputError("[execution] device = cuda, but torch finds no CUDA device. Use auto or cpu.")
    if execution.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda")


def facts(device: torch.device, execution: Execution) -> dict[str, Any]:
    """Return what a result's last bits depend on beside its settings, for its manifest.

    Another processor's vector width, another number of threads or another GPU adds in another order: the same training
    then ends in slightly other weights.
    """
    on_gpu = device.type == "cuda"
    kind = torch.cuda.get_device_name(device) if on_gpu else torch.backends.cpu.get_cpu_capability()
    return {"device": str(device), "processor": kind, "threads": execution.threads}


def keep_freed_memory() -> None:
    """Let glibc keep large freed blocks, instead of returning them to the kernel at every step.

    Page faults of the activations cost a small net's training on the CPU 15 to 20 % of its time (benchmarks). Without
    glibc this does nothing. Results do not change.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        for parameter, value in _MALLOC.items():
            libc.mallopt(parameter, value)


def classification_loss(of_labels: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """Return the ``Loss`` that is ``of_labels`` (scores, labels), a scalar, of the model's scores."""

    def loss(model: nn.Module, images: Tensor, labels: Tensor, index: Tensor, generator: torch.Generator) -> Tensor:
        return of_labels(model(images), labels)

    return loss


_SOFT_MARGIN_LOSS = classification_loss(soft_margin)


def train(
    model: nn.Module,
    data: TrainingData,
    recipe: Training,
    *,
    seed: int,
    checkpoint: Checkpoint,
    loss: Loss = _SOFT_MARGIN_LOSS,
    validate: Callable[[nn.Module], dict[str, Any]] | None = None,
    best_by: str = "map_samples",
) -> list[dict[str, Any]]:
    """Train the model in place and return its history, one row per epoch: ``epoch``, ``loss``, ``validation``.

    Args:
        model: on the device of the data.
        data: N inputs and their labels.
        recipe: epochs, optimizer, schedule and the rest.
        seed: of order, augmentation, dropout and what the loss draws.
        checkpoint: written after every epoch; training resumes from it if it exists.
        loss: of every step.
        validate: called after the epochs that ``is_validated`` selects; other epochs have None in their row. With
            ``checkpoint = best`` the weights of the epoch with the highest ``best_by`` are kept.
        best_by: a key of what ``validate`` returns.

    Raises:
        InputError: the loss is not finite after an epoch, or there are fewer than two images.
    """
    images = len(data.inputs)
    if images < 2:
        raise InputError(f"Training needs at least two images, got {images}.")
    state = start(model, images, recipe)
    if (saved := checkpoint.read()) is not None:
        state.load_state_dict(saved)
    with _global_generators_restored(data.inputs.device):
        for epoch in range(state.epoch, recipe.epochs + 1):
            started = time.monotonic()
            value = train_epoch(state, data, recipe, loss, seed=seed)
            pace = images / (time.monotonic() - started)
            if not np.isfinite(value):
                raise InputError(f"The training loss became {value} in epoch {epoch}. Lower lr (now {recipe.lr}).")
            validation = validate(model) if validate and is_validated(epoch, recipe) else None
            state.history.append({"epoch": epoch, "loss": value, "validation": validation})
            if recipe.checkpoint == "best" and _is_best(state.history, best_by):
                state.keep_weights()
            checkpoint.write(state.state_dict())
            line = _progress_line(epoch, recipe.epochs, value, pace)
            _log.debug("%s%s", line, f", validation {validation}" if validation else "")
            notify(epoch / recipe.epochs, line, state.history)
    if state.best is not None:
        model.load_state_dict(state.best)
    return state.history


def start(model: nn.Module, images: int, recipe: Training) -> TrainingState:
    """Return the state of a training on so many images before its first step."""
    optimizer = _optimizer(model, recipe)
    return TrainingState(model, optimizer, _scheduler(optimizer, recipe, steps=_steps(images, recipe)))


def is_validated(epoch: int, recipe: Training) -> bool:
    """Tell whether a training measures its validation scores after ``epoch`` (1, 2, ...).

    With ``checkpoint = best`` every epoch is, as any may be the best. With ``last``, where the scores only serve the
    training curve, every ceil(epochs / 20)-th epoch and the last: all of 6 epochs; of 350 every 18th and the last, 20
    in all.
    """
    interval = 1 if recipe.checkpoint == "best" else -(-recipe.epochs // _VALIDATIONS)
    return epoch % interval == 0 or epoch == recipe.epochs


def train_epoch(state: TrainingState, data: TrainingData, recipe: Training, loss: Loss, *, seed: int) -> float:
    """Train the epoch that comes next and return its loss, the mean over the images trained on.

    With ``remainder = drop`` the incomplete last batch is skipped. With ``keep`` it is used, as in PyTorch's
    ``DataLoader``, unless it is a single image, which batch normalization may not take.
    """
    started = time.monotonic()
    epoch, inputs, device = state.epoch, data.inputs, data.inputs.device
    torch.manual_seed(derived_seed(seed, "dropout", epoch))
    generator = torch.Generator().manual_seed(derived_seed(seed, "order", epoch))
    loss_generator = torch.Generator().manual_seed(derived_seed(seed, "loss", epoch))
    order = torch.randperm(len(inputs), generator=generator)
    batch = min(recipe.batch, len(inputs))
    steps = _steps(len(inputs), recipe)
    total = torch.zeros((), device=device)
    state.model.train()
    order = order[: steps * batch]
    for step, (index, held, rows) in enumerate(in_batches(inputs, order, batch)):
        images = batch_of(held, rows, recipe.augment, generator)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            value = loss(state.model, images, data.labels[index], index, loss_generator)
        state.optimizer.zero_grad(set_to_none=True)
        value.backward()
        state.optimizer.step()
        state.scheduler.step()
        total += value.detach() * (len(index) / batch)
        if step % _STEPS_PER_REPORT == 0:
            pace = (step + 1) * batch / (time.monotonic() - started)
            # Reading this epoch's loss would wait for the GPU.
            line = _progress_line(epoch, recipe.epochs, state.last_loss, pace)
            notify((epoch - 1 + (step + 1) / steps) / recipe.epochs, line)
    return float(total / (len(order) / batch))


def _progress_line(epoch: int, epochs: int, loss: float | None, pace: float) -> str:
    loss_text = "" if loss is None else f", loss {loss:.4f}"
    return f"epoch {epoch}/{epochs}{loss_text}, {pace:,.0f} images/s"


def predict(model: nn.Module, inputs: AnyInputs, batch: int = PREDICT_BATCH) -> np.ndarray:
    """Return the scores, float32 (N, K), of all images; the model's mode is restored."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            batches = in_batches(inputs, torch.arange(len(inputs)), batch)
            scores = torch.cat([model(batch_of(held, rows)) for _, held, rows in batches])
    finally:
        model.train(was_training)
    result: np.ndarray = scores.float().cpu().numpy()
    return result


def _steps(images: int, recipe: Training) -> int:
    """Return the steps of an epoch."""
    full, remaining = divmod(images, recipe.batch)
    return max(1, full + (recipe.remainder == "keep" and remaining > 1))


def _optimizer(model: nn.Module, recipe: Training) -> torch.optim.Optimizer:
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    return torch.optim.SGD(model.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, fused=True)


def _scheduler(optimizer: torch.optim.Optimizer, recipe: Training, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Return a schedule whose unit is the step, not the epoch."""
    if recipe.schedule == "one_cycle":
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=max(1, recipe.epochs * steps))
    milestones = [epoch * steps for epoch in recipe.milestones] if recipe.schedule == "steps" else []
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, recipe.gamma)


def _is_best(history: list[dict[str, Any]], metric: str) -> bool:
    """Tell whether the last epoch beats all before it in a validation score."""
    values = [(row["validation"] or {}).get(metric) or 0.0 for row in history]
    return values[-1] > max(values[:-1], default=-1.0)


@contextlib.contextmanager
def _global_generators_restored(device: torch.device) -> Iterator[None]:
    """Restore torch's global generators, which dropout draws from, at the end."""
    with torch.random.fork_rng([torch.cuda.current_device()] if device.type == "cuda" else []):
        yield
