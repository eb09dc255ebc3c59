import dataclasses

import pytest

from roar_pipeline import config
from roar_pipeline.errors import InputError


def test_missing_keys_keep_their_defaults() -> None:
    assert config.parse({}) == config.Settings()
    assert config.parse({"retrain": {"lr": "0.5"}}).retrain == dataclasses.replace(config.Retrain(), lr=0.5)


def test_lists_take_commas_and_lines() -> None:
    grid = config.parse({"grid": {"percents": "10, 30,\n50", "models": "teacher\nsswa", "model_seeds": ""}}).grid
    assert (grid.percents, grid.models, grid.model_seeds) == ((10, 30, 50), ("teacher", "sswa"), ())


@pytest.mark.parametrize(("text", "value"), [("true", True), ("No", False), ("1", True)])
def test_flags(text: str, value: bool) -> None:
    assert config.parse({"retrain": {"save_model": text}}).retrain.save_model is value


def test_all_mistakes_come_at_once_with_what_is_known() -> None:
    sections = {
        "grid": {"seeds": "zero", "percents": "10, 100"},
        "teacher": {"learning_rate": "1", "optimizer": "adam", "lr": "nan", "dropout": "1"},
        "student": {"epochs": "1.5"},
        "retrain": {"save_model": "perhaps"},
        "techer": {},
    }
    with pytest.raises(InputError) as caught:
        config.parse(sections)
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
        ("dataset", "train_side", "47", "train_side = 47 is below the 48 x 48 pixels.*Use 48 or more, or 0"),
        ("dataset", "train_side", "64", "photographs that nothing reads.*or train_side = 0"),
        ("grid", "seeds", "1, 1", "something twice"),
        ("grid", "directions", "add", "not one of remove, keep"),
        ("retrain", "augment", "resized_crop", "already removed"),
        ("retrain", "checkpoint", "best", "Use last"),
        ("teacher", "weights", "imagenet", "needs arch"),
    ],
)
def test_contradictions(section: str, key: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        config.parse({section: {key: text}})


@pytest.mark.parametrize("section", ["teacher", "student"])
def test_photographs_that_a_training_crops_may_be_kept(section: str) -> None:
    sections = {"dataset": {"train_side": "32", "height": "32"}, section: {"augment": "resized_crop"}}
    assert config.parse(sections).dataset.train_side == 32


def test_fingerprint_is_canonical() -> None:
    assert config.fingerprint({"a": 1, "b": [2, "ü"]}) == config.fingerprint({"b": [2, "ü"], "a": 1})
    assert config.fingerprint({"a": 1}) != config.fingerprint({"a": 1.5})
    assert config.fingerprint({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def test_every_key_says_what_it_is() -> None:
    for section in dataclasses.fields(config.Settings):
        for key in dataclasses.fields(section.type):
            assert len(key.metadata["text"]) > 5, f"[{section.name}] {key.name}"
