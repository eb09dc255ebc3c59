"""Bad input: one clear message, the right exit code, and finished work stays."""

import re

import pytest
from support.voc_folder import CLASSES, write_list, write_voc_folder
from support.workplace import Workplace

BAD_INPUT, TASK_FAILED = 40, 30


def refused(workplace: Workplace, *arguments: str) -> str:
    """Run a task that must be refused before anything starts, and return what is said."""
    code, output = workplace.luigi(*arguments)
    assert code == BAD_INPUT, output
    assert "Traceback" not in output
    assert not (workplace.folder / "data" / "runs").exists()
    return output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Retrain", "--method", "random", "--percent", "101"), "percent must be a whole number in 1..99"),
        (("Retrian", "--percent", "0"), "There is no task 'Retrian'. Did you mean Retrain? Tasks: "),
        (("Report", "--workers", "abc"), "[core] workers = abc: not a whole number"),
    ],
)
def test_arguments(workplace: Workplace, arguments: tuple[str, ...], message: str) -> None:
    """What ``test_bad_input`` asks in process, of real processes: at a task, before it, and after it."""
    assert message in refused(workplace, *arguments)


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
    """A learning rate that explodes fails its cell; what is done stays."""
    before = chain.counts()
    code, output = chain.luigi("Retrain", "--method", "random", "--percent", "30", "--retrain-lr", "1e38")
    assert code == TASK_FAILED
    assert "Traceback" not in output
    assert re.search("Lower (the )?lr", output)
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
        assert "roar verify --full --repair" in output
    finally:
        (directory / "model.pt").write_bytes(content)
