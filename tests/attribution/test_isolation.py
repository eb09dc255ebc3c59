"""A function of one's own may do what it likes: built-in methods beside it come out the same, byte for byte.

Every misdeed below is a function that is lent the model; its maps are those of ``innocent``, or it fails alone.
"""

# ruff: noqa: NPY002
import os
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from support.dumped import dump
from torch import Tensor, nn

from roar_pipeline.attribution import isolation
from roar_pipeline.cache.building import SomeFailedError

BUILT_IN = ("gradcam", "smoothgrad")
MODULE = Path(__name__).stem
_buffer: list[Tensor] = []
_counts: list[int] = []


def innocent(model: Any, images: Tensor, image_index: Tensor, class_index: Tensor) -> Tensor:
    pixels = images[image_index].requires_grad_()
    scores = model(pixels).gather(1, class_index[:, None]).sum()
    return torch.autograd.grad(scores, pixels)[0].abs().sum(1)


def after(misdeed: Callable[..., Any]) -> Callable[..., Tensor]:
    """Return a function that explains and then does the misdeed."""

    def function(model: Any, *where: Tensor) -> Tensor:
        explained = innocent(model, *where)
        misdeed(model, *where)
        return explained

    return function


def _first_norm(model: nn.Module) -> nn.BatchNorm2d:
    return next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))


@torch.no_grad()
def _zero(model: nn.Module, *_: Tensor) -> None:
    for parameter in model.parameters():
        parameter.zero_()


def _replace_by_halves(model: nn.Module, *_: Tensor) -> None:
    model.half()


def _unlearn_mean(model: nn.Module, *_: Tensor) -> None:
    assert _first_norm(model).running_mean is not None
    _first_norm(model).running_mean.fill_(7.0)  # type: ignore[union-attr]


def _hook(model: nn.Module, *_: Tensor) -> None:
    for module in model.modules():
        module.register_forward_hook(lambda module, given, out: out * 2)


def _hook_backward(model: nn.Module, *_: Tensor) -> None:
    next(model.children()).register_full_backward_hook(lambda module, given, out: tuple(g * 0 for g in given))


def _hook_everything(model: nn.Module, *_: Tensor) -> None:
    nn.modules.module.register_module_forward_hook(lambda module, given, out: out * 2)


def _train(model: nn.Module, images: Tensor, *_: Tensor) -> None:
    model.train()
    model(images)


def _freeze(model: nn.Module, *_: Tensor) -> None:
    model.requires_grad_(False)


def _leave_gradients(model: nn.Module, images: Tensor, *_: Tensor) -> None:
    model(images).sum().backward()


def _drop_a_layer(model: nn.Sequential, *_: Tensor) -> None:
    del model[0]


def _replace_forward(model: nn.Module, *_: Tensor) -> None:
    model.forward = lambda images: images.flatten(1)[:, :3] * 0


def _blacken(model: nn.Module, images: Tensor, *_: Tensor) -> None:
    images.zero_()


def _shuffle_pairs(model: nn.Module, images: Tensor, image_index: Tensor, class_index: Tensor) -> None:
    image_index.zero_()
    class_index.zero_()


def _seed(*_: Any) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)


def _draw(*_: Any) -> None:
    _counts.append(int(torch.rand(()) > 2) + int(np.random.rand() > 2) + int(random.random() > 2))


def _hide_environment(*_: Any) -> None:
    os.environ.clear()
    os.environ["OMP_NUM_THREADS"] = "3"


MISDEEDS: dict[str, Callable[..., Any]] = {
    "zeroes parameters": _zero,
    "halves parameters": _replace_by_halves,
    "changes buffers": _unlearn_mean,
    "leaves a forward hook": _hook,
    "leaves a backward hook": _hook_backward,
    "leaves a hook on all modules": _hook_everything,
    "leaves train mode and new statistics": _train,
    "freezes parameters": _freeze,
    "leaves gradients": _leave_gradients,
    "drops a layer": _drop_a_layer,
    "replaces forward": _replace_forward,
    "changes images": _blacken,
    "changes pairs": _shuffle_pairs,
    "seeds generators": _seed,
    "draws from generators": _draw,
    "disables gradients": lambda *_: torch.set_grad_enabled(False),
    "stays in inference mode": lambda *_: _buffer.append(torch.inference_mode().__enter__()),  # type: ignore
    "enables autocast": lambda *_: torch.set_autocast_enabled("cpu", True),
    "changes the default type": lambda *_: torch.set_default_dtype(torch.float64),
    "changes the default device": lambda *_: torch.set_default_device("meta"),
    "changes threads": lambda *_: torch.set_num_threads(3),
    "demands determinism": lambda *_: torch.use_deterministic_algorithms(True, warn_only=True),
    "lowers precision": lambda *_: torch.set_float32_matmul_precision("medium"),
    "disables oneDNN": lambda *_: setattr(torch.backends.mkldnn, "enabled", False),
    "changes cuDNN": lambda *_: setattr(torch.backends.cudnn, "deterministic", True),
    "flushes denormal numbers": lambda *_: torch.set_flush_denormal(True),
    "has numpy raise": lambda *_: np.seterr(all="raise"),
    "silences warnings": lambda *_: warnings.simplefilter("ignore"),
    "changes the environment": _hide_environment,
    "changes the folder": lambda *_: os.chdir("/"),
}
for _number, _misdeed in enumerate(MISDEEDS.values()):
    globals()[f"offender_{_number}"] = after(_misdeed)


def reuses_its_buffer(model: Any, images: Tensor, image_index: Tensor, class_index: Tensor) -> Tensor:
    explained = innocent(model, images, image_index, class_index)
    if not _buffer:
        _buffer.append(torch.empty(16, *explained.shape[1:]))
    _buffer[0][: len(explained)] = explained
    return _buffer[0][: len(explained)]


def returns_a_graph(model: Any, images: Tensor, image_index: Tensor, class_index: Tensor) -> Tensor:
    return innocent(model, images, image_index, class_index) + 0 * model(images).sum()


def draws_its_maps(model: Any, images: Tensor, image_index: Tensor, class_index: Tensor) -> Tensor:
    drawn = torch.rand(len(image_index), *images.shape[2:])
    return drawn + float(np.random.rand()) + random.random()


def exits(model: Any, *where: Tensor) -> Tensor:
    _zero(model)
    raise SystemExit(0)


def raises(model: Any, *where: Tensor) -> Tensor:
    _zero(model)
    torch.set_grad_enabled(False)
    raise KeyError("no such layer")


def returns_nan(model: Any, *where: Tensor) -> Tensor:
    explained = innocent(model, *where)
    explained[-1, 0, 0] = torch.nan
    return explained


def overflows(model: Any, *where: Tensor) -> Tensor:
    return innocent(model, *where).double() + 1e300


def returns_complex(model: Any, *where: Tensor) -> Tensor:
    return torch.fft.fft2(innocent(model, *where))


def returns_booleans(model: Any, *where: Tensor) -> Tensor:
    return innocent(model, *where) > 0


def returns_integers(model: Any, *where: Tensor) -> Tensor:
    return innocent(model, *where).long()


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Keep one test's misdeeds from the next where isolation does not."""
    _buffer.clear()
    with isolation.process_state_restored():
        yield


@pytest.fixture(scope="module")
def undisturbed(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the built-in methods, and of ``innocent``, each dumped without the others' company."""
    folder = tmp_path_factory.mktemp("undisturbed")
    dump(folder / "built in", prepared, *BUILT_IN, batch=8)
    dump(folder / "own", prepared, f"{MODULE}:innocent", batch=8)
    files = {name: (folder / "built in" / name / "maps.h5").read_bytes() for name in BUILT_IN}
    return files | {"own": columns(folder / "own" / f"{MODULE}-innocent")}


def columns(directory: Path) -> bytes:
    """Return all that a dump says: maps, scores and explained classes, of images and of pairs to localize."""
    with h5py.File(directory / "maps.h5") as file:
        return b"".join(np.asarray(values).tobytes() for group in file.values() for values in group.values())


def process_state() -> dict[str, Any]:
    """Return what a misdeed may have changed beside the model and the images."""
    return {
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "type": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "determinism": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "oneDNN": torch.backends.mkldnn.enabled,
        "cuDNN": torch.backends.cudnn.deterministic,
        "denormal numbers": float(torch.tensor(1e-310, dtype=torch.float64) * 1),
        "global hooks": len(nn.modules.module._global_forward_hooks),
        "generators": (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()),  # type: ignore
        "numpy": np.geterr(),
        "warnings": list(warnings.filters),
        "environment": dict(os.environ),
        "folder": Path.cwd(),
    }


def unharmed(folder: Path, undisturbed: dict[str, bytes]) -> bool:
    return all((folder / name / "maps.h5").read_bytes() == undisturbed[name] for name in BUILT_IN)


@pytest.mark.parametrize(
    "function",
    [*(f"offender_{number}" for number in range(len(MISDEEDS))), "reuses_its_buffer", "returns_a_graph"],
    ids=[*MISDEEDS, "reuses its buffer", "returns a graph"],
)
def test_a_function_that_changes_what_it_is_lent(
    function: str, prepared: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    before = process_state()
    dump(tmp_path / "dump", prepared, *BUILT_IN, f"{MODULE}:{function}", batch=8)
    assert unharmed(tmp_path / "dump", undisturbed)
    assert columns(tmp_path / "dump" / f"{MODULE}-{function}") == undisturbed["own"], "it sees the model as it is"
    assert process_state() == before


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("exits", r"raised RuntimeError: it called exit\(0\)"),
        ("raises", "raised KeyError: 'no such layer'"),
        ("returns_nan", r"returned maps that are not finite .*, 1 of 8, the first of image train_2 and class 1\. Mend"),
        ("overflows", "returned maps that are not finite .*too large for float32"),
        ("returns_complex", r"must return maps of floating point numbers.*got torch.complex64.*maps\.abs\(\)"),
        ("returns_booleans", r"must return maps of floating point numbers.*got torch.bool\. Return maps\.float\(\)"),
        ("returns_integers", "must return maps of floating point numbers.*got torch.int64"),
    ],
)
def test_a_function_that_fails_fails_alone_by_name(
    function: str, message: str, prepared: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    name = f"{MODULE}:{function}"
    with pytest.raises(SomeFailedError) as caught:
        dump(tmp_path / "dump", prepared, *BUILT_IN, name, batch=8)
    assert list(caught.value.reasons) == [name]
    with pytest.raises(Exception, match=f"{name} {message}") as reason:
        raise caught.value.reasons[name]
    assert "lr" not in str(reason.value)
    assert unharmed(tmp_path / "dump", undisturbed)


def test_a_function_that_draws_does_so_from_the_images_alone(prepared: Path, tmp_path: Path) -> None:
    name = f"{MODULE}:draws_its_maps"
    first = dump(tmp_path / "first", prepared, name, batch=8)[name]
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    np.testing.assert_array_equal(dump(tmp_path / "second", prepared, name, batch=8)[name], first)
    assert len({map_.tobytes() for map_ in first}) == len(first), "each image has numbers of its own"


def test_importing_a_module_leaves_no_trace(monkeypatch: pytest.MonkeyPatch, prepared: Path, tmp_path: Path) -> None:
    text = "import torch\ntorch.set_default_dtype(torch.float64)\ntorch.set_num_threads(3)\n"
    (tmp_path / "loud_import.py").write_text(f"{text}from {MODULE} import innocent\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = process_state()
    dump(tmp_path / "dump", prepared, "loud_import:innocent")
    assert process_state() == before
