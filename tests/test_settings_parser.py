import configparser
import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from roar_pipeline import config
from roar_pipeline.errors import InputError
from roar_pipeline.settings_parser import parse

ROOT = Path(__file__).parent.parent


def test_missing_keys_keep_their_defaults() -> None:
    assert parse({}) == config.Settings()
    assert parse({"retrain": {"lr": "0.5"}}).retrain == dataclasses.replace(config.Retrain(), lr=0.5)


def test_lists_take_commas_and_lines() -> None:
    grid = parse({"grid": {"percents": "10, 30,\n50", "models": "teacher\nsswa", "model_seeds": ""}}).grid
    assert (grid.percents, grid.models, grid.model_seeds) == ((10, 30, 50), ("teacher", "sswa"), ())


@pytest.mark.parametrize(("text", "value"), [("true", True), ("No", False), ("1", True)])
def test_flags(text: str, value: bool) -> None:
    assert parse({"retrain": {"save_model": text}}).retrain.save_model is value


def test_all_mistakes_come_at_once_with_what_is_known() -> None:
    sections = {
        "grid": {"seeds": "zero", "percents": "10, 100"},
        "teacher": {"learning_rate": "1", "optimizer": "adam", "lr": "nan", "dropout": "1"},
        "student": {"epochs": "1.5"},
        "retrain": {"save_model": "perhaps"},
        "techer": {},
    }
    with pytest.raises(InputError) as caught:
        parse(sections)
    message = str(caught.value)
    for part in (
        "[grid] seeds = zero: not a whole number",
        "[grid] percents = 10, 100: 100 is above 99",
        "[teacher] has no key 'learning_rate'. Known: arch, width,",
        "[teacher] optimizer = adam: not one of adamw, sgd",
        "[teacher] lr = nan: not a finite number",
        "[teacher] dropout = 1: 1.0 is above 0.99",
        "[student] epochs = 1.5: not a whole number",
        "[retrain] save_model = perhaps: not true or false",
        "unknown section [techer]. Known: paths, dataset,",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("section", "key", "text", "message"),
    [
        ("dataset", "mean", "0.5, 0.5", "three numbers"),
        ("dataset", "std", "0.5, 0, 0.5", "above 0"),
        ("dataset", "train_side", "31", "train_side = 31 is below the 32 x 32 pixels.*Use 32 or more, or 0"),
        ("dataset", "train_side", "64", "photographs that nothing reads.*or train_side = 0"),
        ("dataset", "kind", "folder", r"kind = folder needs root"),
        ("dataset", "kind", "cifar100", r"kind = cifar100 needs root"),
        ("dataset", "kind", "own", r"kind = own needs root = module:function.*\n.*kind = own needs classes"),
        ("dataset", "labels", "several", r"labels = several is for kind = own"),
        ("dataset", "holdout", "0.6", "0.6 is above 0.5"),
        ("grid", "seeds", "1, 1", "something twice"),
        ("grid", "directions", "remove, add", r"\[grid\] directions = remove, add: not one of remove, keep"),
        ("grid", "directions", "", "needs at least one"),
        ("grid", "shuffled", "swaa", r"\[grid\] unknown model 'swaa'"),
        ("dataset", "classes", "a, b, a", r"\[dataset\] classes names something twice: a, b, a"),
        ("student", "milestones", "9, 5", r"\[student\] milestones must rise from one to the next: 9, 5"),
        ("retrain", "augment", "resized_crop", "already removed"),
        ("retrain", "checkpoint", "best", "Use last"),
        ("teacher", "weights", "imagenet", "needs arch"),
    ],
)
def test_contradictions(section: str, key: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse({section: {key: text}})


def test_what_kinds_without_photographs_refuse() -> None:
    own = {"kind": "own", "root": "my_images:items", "classes": "a, b", "train_side": "64"}
    with pytest.raises(InputError, match="train_side keeps photographs for random crops, which kind = own has none of"):
        parse({"dataset": own, "teacher": {"augment": "resized_crop"}})
    assert parse({"dataset": {**own, "train_side": "0", "labels": "several"}}).dataset.kind == "own"


def test_measured_numbers_may_be_equal() -> None:
    assert parse({"dataset": {"mean": "0.5, 0.5, 0.5"}}).dataset.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("section", ["teacher", "student"])
def test_photographs_that_a_training_crops_may_be_kept(section: str) -> None:
    sections = {"dataset": {"train_side": "32", "height": "32"}, section: {"augment": "resized_crop"}}
    assert parse(sections).dataset.train_side == 32


def test_a_sentence_describes_every_key() -> None:
    for section in dataclasses.fields(config.Settings):
        for key in dataclasses.fields(section.type):
            text = key.metadata["text"]
            assert text[0].isupper() and text.endswith(".") and " " in text, f"[{section.name}] {key.name}"


def test_the_shipped_file_shows_the_defaults() -> None:
    """A folder without luigi.cfg has the settings that one reads in it."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "luigi.cfg", encoding="utf-8")
    shown = {name: dict(parser[name]) for name in parser.sections() if name != "core"}
    assert set(shown) == {section.name for section in dataclasses.fields(config.Settings)} - {"report"}
    assert parse(shown) == config.Settings()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"student": {"arch": "resnet18"}}, r"reduction = 4 divides widths, and those of arch = resnet18 are fixed"),
        ({"student": {"arch": "resnet18", "reduction": "1"}}, None),
        ({"student": {"arch": "resnet20"}}, None),
        ({"teacher": {"arch": "resnet56", "weights": "imagenet"}}, "torchvision has none of arch = resnet56"),
        ({"teacher": {"arch": "resnet50", "weights": "imagenet"}}, None),
        ({"teacher": {"arch": "resnet56", "weights": "~/resnet56.pth"}}, None),
        (
            {"teacher": {"arch": "resnet18"}, "maps": {"layer": "last_pool"}},
            "resnet18 has no max-pool",
        ),
        ({"teacher": {"arch": "vgg16"}, "maps": {"layer": "last_pool"}}, None),
        ({"retrain": {"arch": "resnet21"}}, "unknown arch 'resnet21'.*resnet20.*torchvision.*of your own"),
        ({"retrain": {"arch": "no_such_module:net"}}, "names no function of a module that Python finds"),
    ],
)
def test_networks_that_contradict_other_settings(sections: dict[str, dict[str, str]], message: str | None) -> None:
    if message is None:
        parse(sections)
        return
    with pytest.raises(InputError, match=message):
        parse(sections)


def shipped(name: str) -> config.Settings:
    """Parse a file of configs/, laid over luigi.cfg as LUIGI_CONFIG_PATH does."""
    parser = configparser.ConfigParser(interpolation=None)
    assert len(parser.read([ROOT / "luigi.cfg", ROOT / "configs" / name], encoding="utf-8")) == 2
    ours = [section.name for section in dataclasses.fields(config.Settings)]
    return parse({name: dict(parser[name]) for name in ours if name in parser})


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.cfg")), ids=lambda path: path.stem)
def test_shipped_settings_have_no_mistakes(path: Path) -> None:
    assert shipped(path.name).dataset.root


def test_voc_recipe_is_the_authors() -> None:
    """Park et al. 2020 and their code, key by key; ``retrain`` is ours."""
    settings = shipped("voc2012.cfg")
    vgg16: dict[str, Any] = {"arch": "vgg16_bn", "width": 64, "pool": 7, "dropout": 0.5, "precision": "float32"}
    sgd = {"optimizer": "sgd", "lr": 0.1, "weight_decay": 1e-4, "schedule": "steps", "gamma": 0.1}
    batches = {"batch": 64, "remainder": "keep", "augment": "resized_crop", "checkpoint": "best"}
    shared = {**vgg16, **sgd, **batches}
    expected: dict[str, dict[str, Any]] = {
        "dataset": {
            **{"train_split": "train", "validation_split": "val", "test_split": "val", "segmentation_split": "val"},
            **{"height": 227, "width": 227, "train_side": 500},
            **{"mean": (0.4589, 0.4355, 0.4032), "std": (0.2239, 0.2186, 0.2206)},
        },
        "teacher": {**shared, "weights": "imagenet", "epochs": 60, "momentum": 0.9, "milestones": (10, 30, 40)},
        "student": {**shared, "reduction": 4, "epochs": 350, "momentum": 0.0, "milestones": (150, 200, 250)},
        "distillation": {"alpha": 0.9, "temperature": 4.0, "weight": 100.0, "layer": "last_pool", "drop": 0.3},
        "maps": {"layer": "last_relu", "explain": "predicted"},
        "retrain": {"arch": "vgg11_bn", "checkpoint": "last", "augment": "flip", "remainder": "keep"},
        "metrics": {"void": "background"},
        "grid": {
            "models": ("teacher", "naive_kd", "ewa", "swa", "sswa"),
            "methods": ("gradcam", "ebp", "lrp", "rap", "center", "sobel"),
            "seeds": (0, 1, 2, 3, 4),
        },
    }
    for section, keys in expected.items():
        chosen = getattr(settings, section)
        assert {key: getattr(chosen, key) for key in keys} == keys
    assert settings.metrics.f1_threshold == pytest.approx(1 / (1 + math.exp(-0.5)), abs=1e-7)
