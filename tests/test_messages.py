"""Bad input: one clear message, the right exit code, and finished work stays."""

import re

import pytest
from conftest import Workplace
from voc_folder import CLASSES, write_list, write_voc_folder

BAD_INPUT, TASK_FAILED = 40, 30


def refused(place: Workplace, *arguments: str) -> str:
    """Run a task that must be refused before anything starts, and return what is said."""
    code, output = place.luigi(*arguments)
    assert code == BAD_INPUT, output
    assert "Traceback" not in output
    assert not (place.folder / "data" / "runs").exists()
    return output


@pytest.mark.parametrize("percent", ["101", "-1", "30.5", "thirty", "10,,20"])
def test_percent(workplace: Workplace, percent: str) -> None:
    output = refused(workplace, "Retrain", "--method", "random", f"--percent={percent}")
    assert f"percent must be a whole number in 1..99, 0 for the clean cell, or 100, got '{percent}'" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("DumpMaps", "--method", "nonsense"), "unknown attribution method 'nonsense'. Known: gradcam"),
        (("DumpMaps", "--method", "gradcam"), "method gradcam needs a model"),
        (("Retrain", "--percent", "30"), "percent 30 removes pixels: give --method"),
        (("Retrain", "--method", "random"), "requires the 'percent' parameter to be set"),
        (("DistillStudent", "--loss", "ewa", "--reduction", "-1"), "reduction must be a whole number from 1, got '-1'"),
        (("DistillStudent", "--loss", "ewa", "--reduction", "3"), "reduction 3 does not divide"),
        (("Retrain", "--percent", "0", "--model-seed", "x"), "model_seed must be a whole number from 0, got 'x'"),
        (("Report", "--seeds", ","), "seeds needs at least one"),
        (("report",), "report is a section of the settings, no task. Tasks: .*Report"),
        (
            ("Retrain", "--model", "swaa", "--method", "gradcam", "--percent", "30"),
            "unknown model 'swaa'. Known: teacher",
        ),
        (("DistillStudent", "--loss", "mse"), "unknown loss 'mse'. Known: plain, naive_kd, ewa, swa, sswa"),
        (("FineTuneTeacher", "--seed", "one"), "seed must be a whole number from 0, got 'one'"),
        (("Retrain", "--method", "random", "--percent", "3", "--direction", "add"), "unknown direction 'add'"),
        (("Report", "--models", "none"), "models needs at least one"),
        (("Report", "--percents", "0"), re.escape("[grid] percents = 0: 0 is below 1")),
    ],
)
def test_arguments(workplace: Workplace, arguments: tuple[str, ...], message: str) -> None:
    assert re.search(message, refused(workplace, *arguments))


def test_all_mistakes_of_the_configuration_at_once(workplace: Workplace) -> None:
    workplace.configure(
        teacher={"learning_rate": 0.1},
        retrian={"lr": 0.1},
        grid={"seeds": "x", "models": "foo", "methods": "bar", "percents": ""},
        retrain={"augment": "resized_crop"},
        dataset={"classes": "; a comment"},
        Retrain={"persent": 3},
        worker={"force_multiprocesing": "true"},
    )
    output = refused(workplace, "Report")
    assert "[teacher] has no key 'learning_rate'. Known: arch, width" in output
    assert "unknown section [retrian]. Known: " in output
    assert "[grid] seeds = x: not a whole number" in output
    assert "[grid] unknown model 'foo'. Known: teacher" in output
    assert "[grid] unknown attribution method 'bar'. Known: gradcam" in output
    assert "[grid] percents needs at least one" in output
    assert "[retrain] augment = resized_crop would resize" in output
    assert "[dataset] classes = ; a comment: a comment needs a line of its own" in output
    assert "[worker] has no key 'force_multiprocesing'" in output
    assert "[Retrain] has no key 'persent'. Known: model, method, percent" in output


def test_a_data_set_that_is_not_there(workplace: Workplace) -> None:
    workplace.configure(dataset={"root": str(workplace.folder / "nowhere")})
    output = refused(workplace, "Report")
    assert "nowhere" in output
    assert "[dataset] root" in output


def test_a_configuration_file_that_is_not_there(workplace: Workplace) -> None:
    (workplace.folder / "overlay.cfg").unlink()
    output = refused(workplace, "Report")
    assert "LUIGI_CONFIG_PATH names" in output
    assert "there is no such file" in output


def test_exit_codes_do_not_need_the_shipped_configuration(workplace: Workplace) -> None:
    (workplace.folder / "luigi.cfg").unlink()
    root = write_voc_folder(workplace.folder / "voc")
    (root / "JPEGImages" / "train_1.jpg").write_bytes(b"")
    workplace_keys = {"root": str(root), "classes": ", ".join(CLASSES)}
    text = "[dataset]\n" + "".join(f"{k} = {v}\n" for k, v in workplace_keys.items())
    (workplace.folder / "overlay.cfg").write_text(text, encoding="utf-8")
    code, output = workplace.luigi("PrepareImages")
    assert code == TASK_FAILED, output


def test_half_a_data_set(workplace: Workplace) -> None:
    root = write_voc_folder(workplace.folder / "voc")
    (root / "ImageSets" / "Main" / "val.txt").unlink()
    workplace.configure(dataset={"root": str(root), "classes": ", ".join(CLASSES)})
    assert "val.txt" in refused(workplace, "PrepareImages")


def test_localization_without_masks(workplace: Workplace) -> None:
    workplace.configure(dataset={"segmentation_split": ""})
    output = refused(workplace, "EvaluateLocalization", "--method", "random")
    assert "segmentation_split is empty" in output


def test_bad_images_fail_their_task_and_say_which(workplace: Workplace) -> None:
    root = write_voc_folder(workplace.folder / "voc")
    (root / "JPEGImages" / "train_1.jpg").write_bytes((root / "JPEGImages" / "train_1.jpg").read_bytes()[:300])
    write_list(root, "val", ["val_0", "not_there"])
    workplace.configure(dataset={"root": str(root), "classes": ", ".join(CLASSES)})
    code, output = workplace.luigi("PrepareImages")
    assert code == TASK_FAILED
    assert "Traceback" not in output
    assert "train_1.jpg" in output
    assert "not_there" in output
    assert not workplace.results("PrepareImages")


def test_a_failed_cell_leaves_the_others_alone(chain: Workplace) -> None:
    """A learning rate that explodes fails its cells; what is done stays, and the rest of the batch is tried."""
    before = chain.counts()
    code, output = chain.luigi("Retrain", "--method", "random", "--percent", "30,60", "--retrain-lr", "1e38")
    assert code == TASK_FAILED
    assert "Traceback" not in output
    assert "Lower lr" in output
    assert chain.counts() == before


def test_a_damaged_input_is_named_and_not_read(chain: Workplace) -> None:
    (directory,) = chain.results("FineTuneTeacher")
    content = (directory / "model.pt").read_bytes()
    try:
        (directory / "model.pt").write_bytes(b"x" * len(content))
        code, output = chain.luigi("DumpMaps", "--model", "teacher", "--method", "gradcam", "--maps-batch", "7")
        assert code == TASK_FAILED
        assert "Traceback" not in output
        assert f"{directory} is damaged: the content of model.pt has changed" in output
        assert "python -m tasks verify --full --repair" in output
    finally:
        (directory / "model.pt").write_bytes(content)
