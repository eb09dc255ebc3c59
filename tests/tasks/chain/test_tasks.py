"""Identities and requirements of tasks, without running them."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import luigi
import pytest
from luigi.scheduler import Scheduler
from luigi.task_register import Register
from luigi.task_status import DONE
from support.class_folder import write_class_folder
from support.voc_folder import CLASSES, write_voc_folder
from support.workplace import Configure, changed_settings

import tasks
from roar_pipeline import settings_parser, stages
from roar_pipeline.cache.ownership import FAMILIES
from roar_pipeline.errors import InputError
from tasks.chain.survey import Survey
from tasks.configuration.settings import settings
from tasks.runtime import gpus, resources, terminal


@pytest.fixture
def configure(tmp_path: Path) -> Iterator[Configure]:
    """Change the settings of the default experiment."""
    with changed_settings() as change:
        change("paths", data=tmp_path)
        yield change


NO_MODELS: tuple[dict[str, str | None], ...] = ({"model": "none"}, {"model": None}, {})


def cell(**changes: object) -> tasks.Retrain:
    return tasks.Retrain(**{"model": "sswa", "method": "gradcam", "percent": 50, "seed": 0, **changes})


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("retrain", "lr", 0.5),
        ("retrain", "augment", "flip"),
        ("student", "epochs", 9),
        ("teacher", "precision", "bfloat16"),
        ("distillation", "drop", 0.5),
        ("maps", "explain", "top1"),
        ("removal", "tie_seed", 4),
        ("dataset", "height", 64),
        ("scenes", "seed", 1),
    ],
)
def test_a_setting_that_changes_results_changes_the_fingerprint(
    configure: Configure, section: str, key: str, value: object
) -> None:
    before = cell()
    identity = before.fingerprint
    configure(section, **{key: value})
    assert cell().fingerprint != identity
    assert cell().directory != before.directory


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("execution", "threads", 2),
        ("execution", "device", "cpu"),
        ("execution", "retries", 9),
        ("grid", "percents", "1, 2"),
        ("report", "examples", 0),
        ("paths", "data", "/elsewhere"),
        ("metrics", "void", "background"),
        ("metrics", "f1_threshold", 0.622),
        ("retrain", "momentum", 0.5),
        ("teacher", "milestones", "3"),
    ],
)
def test_a_setting_that_changes_no_result_does_not(configure: Configure, section: str, key: str, value: object) -> None:
    identity = cell().fingerprint
    configure(section, **{key: value})
    assert cell().fingerprint == identity


def test_a_raised_version_changes_all_results_built_on_it(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell_before, images_before = cell().fingerprint, tasks.PrepareImages().fingerprint
    Register.clear_instance_cache()
    monkeypatch.setattr(tasks.DumpMaps, "version", 99)
    assert cell().fingerprint != cell_before
    assert tasks.PrepareImages().fingerprint == images_before


def test_the_clean_cell_belongs_to_no_model_and_controls_neither(configure: Configure) -> None:
    clean = tasks.Retrain(percent=0, seed=0)
    assert cell(percent=0).fingerprint == clean.fingerprint
    with pytest.raises(InputError, match="To keep 0 or 100 % is to show nothing or all"):
        cell(percent=0, direction="keep")
    assert [type(t).__name__ for t in clean.requires()] == ["PrepareImages"]
    random = cell(model="none", method="random")
    assert cell(model="teacher", method="random").directory == random.directory
    assert {type(t).__name__ for t in terminal.closure(random).values()} == {
        "Retrain",
        "RankPixels",
        "DumpMaps",
        "PrepareImages",
        "GenerateScenes",
    }


def test_no_model_is_none_as_text_and_none_in_python(configure: Configure) -> None:
    """It has the same task id, label and command, however it is given."""
    by_text, by_value, by_default = (tasks.Retrain(percent=50, method="random", **m) for m in NO_MODELS)
    assert by_text is by_value is by_default
    assert by_text.model is None
    assert by_text.to_str_params()["model"] == "none"
    assert tasks.Retrain.from_str_params(by_text.to_str_params()) is by_text
    assert "--model" not in by_text.command()
    assert tasks.Retrain(percent=0).to_str_params()["method"] == "none"
    with pytest.raises(InputError, match="unknown attribution method 'none'"):
        tasks.RankPixels(method="none")


def test_a_student_is_named_by_loss_and_reduction(configure: Configure) -> None:
    assert cell(model="sswa/4").fingerprint == cell(model="sswa").fingerprint
    assert cell(model="sswa/8").fingerprint != cell(model="sswa").fingerprint
    plain = tasks.DistillStudent(loss="plain", seed=0)
    assert not any(isinstance(t, tasks.FineTuneTeacher) for t in plain.requires())
    identity = plain.fingerprint
    configure("distillation", alpha=0.1)
    assert tasks.DistillStudent(loss="plain", seed=0).fingerprint == identity
    swa, sswa = (tasks.DistillStudent(loss=loss, seed=0).fingerprint for loss in ("swa", "sswa"))
    configure("distillation", drop=0.1)
    assert tasks.DistillStudent(loss="swa", seed=0).fingerprint == swa
    assert tasks.DistillStudent(loss="sswa", seed=0).fingerprint != sswa
    with pytest.raises(InputError, match="reduction 3 does not divide"):
        tasks.DistillStudent(loss="swa", reduction=3)
    configure("student", reduction=8)
    assert tasks.DistillStudent(loss="ewa", reduction=4).directory.name.startswith("loss=ewa,reduction=4,seed=0__")


def test_seeds_are_paired_or_crossed(configure: Configure) -> None:
    configure("grid", seeds="0, 1", percents="30", models="sswa", methods="gradcam", longer_percents="none")
    report = tasks.Report()
    assert report.grid_tasks.replicates == [(0, 0), (1, 1)]
    names = sorted(t.directory.name.split("__")[0] for t in report.requires() if isinstance(t, tasks.Retrain))
    assert names == [
        "method=gradcam,model=sswa-4,model_seed=0,percent=30,direction=remove,seed=0",
        "method=gradcam,model=sswa-4,model_seed=1,percent=30,direction=remove,seed=1",
        "method=random,percent=30,direction=remove,seed=0",
        "method=random,percent=30,direction=remove,seed=1",
        "percent=0,seed=0",
        "percent=0,seed=1",
        "percent=100,seed=0",
        "percent=100,seed=1",
    ]
    configure("grid", model_seeds="5")
    crossed = tasks.Report()
    assert crossed.grid_tasks.replicates == [(5, 0), (5, 1)]
    assert len([t for t in crossed.requires() if isinstance(t, tasks.FineTuneTeacher)]) == 0
    assert {t.explained_seed for t in crossed.requires() if isinstance(t, tasks.Retrain) and t.model == "sswa"} == {5}


def work_of_a_survey(seeds: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int, int, int]:
    """Return the numbers of results of a grid, and of its survey's calls to parse settings, get inputs, make a task."""
    counts = dict.fromkeys(("parse", "requires", "tasks"), 0)

    def counted(name: str, function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            counts[name] += 1
            return function(*args, **kwargs)

        return call

    Register.clear_instance_cache()
    with monkeypatch.context() as patch:
        patch.setattr(settings_parser, "parse", counted("parse", settings_parser.parse))
        patch.setattr(luigi.Task, "_requires", counted("requires", luigi.Task._requires))
        patch.setattr(Register, "__call__", counted("tasks", Register.__call__))
        report = tasks.Report(seeds=",".join(map(str, range(seeds))), directions="remove,keep")
        survey = Survey(report)
        for entry in survey.entries:
            survey.why(entry)
            entry.task.demand()
    return len(survey.entries), counts["parse"], counts["requires"], counts["tasks"]


def test_the_work_on_a_grid_grows_with_its_results_and_no_faster(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings()
    few, many = (work_of_a_survey(seeds, monkeypatch) for seeds in (3, 24))
    assert many[0] > 7 * few[0]
    assert few[1] == many[1] <= 2, "the settings are parsed once, not for every seed"
    for results, _, requires, tasks_made in (few, many):
        assert requires <= 1.1 * results + 10, "the inputs of a result are looked up once"
        assert tasks_made <= 3.5 * results + 20, "a result's own task, and those of its inputs"


def test_a_report_is_its_grid_from_file_or_command_line(configure: Configure) -> None:
    fingerprint = tasks.Report(percents="30, 50", models="teacher").fingerprint
    configure("grid", percents="30, 50", models="teacher")
    assert tasks.Report().fingerprint == fingerprint


def test_a_moved_data_set_is_the_same_and_a_changed_one_is_not(configure: Configure, tmp_path: Path) -> None:
    root = write_voc_folder(tmp_path / "voc")
    keys = {"classes": ", ".join(CLASSES), "height": 16, "width": 16}
    configure("dataset", root=root, **keys)
    before = tasks.PrepareImages().fingerprint
    moved = root.rename(tmp_path / "moved ü")
    configure("dataset", root=moved)
    assert tasks.PrepareImages().fingerprint == before
    annotation = moved / "Annotations" / "train_0.xml"
    annotation.write_text(annotation.read_text().replace("circle", "square"))
    configure("dataset", root=moved)
    assert tasks.PrepareImages().fingerprint != before


def test_a_folder_of_classes_is_identified_by_what_counts_for_it(configure: Configure, tmp_path: Path) -> None:
    root = write_class_folder(tmp_path / "classes", {"train": 3, "test": 2})
    configure("dataset", root=root)
    before = tasks.PrepareImages()
    assert before.directory.name.startswith("set=")
    moved = root.rename(tmp_path / "moved")
    for same in ({"root": moved}, {"kind": "folder"}, {"segmentation_split": "other"}):
        configure("dataset", **same)
        assert tasks.PrepareImages().fingerprint == before.fingerprint, same
    for other in ({"holdout": 0.4}, {"holdout_seed": 1}, {"classes": "dog, cat, bird"}):
        configure("dataset", **other)
        assert tasks.PrepareImages().fingerprint != before.fingerprint, other
        configure("dataset", holdout=0.1, holdout_seed=0, classes="")


def test_data_without_masks_have_no_localization(configure: Configure, tmp_path: Path) -> None:
    assert tasks.Report().grid_tasks.localizations
    configure("dataset", root=write_class_folder(tmp_path / "classes", {"train": 3, "test": 2}))
    assert not tasks.Report().grid_tasks.localizations
    with pytest.raises(InputError, match="Localization needs masks, and the data set has none"):
        tasks.EvaluateLocalization(model="teacher", method="gradcam")


def test_kept_photographs_are_part_of_the_images_and_none_are_not(configure: Configure) -> None:
    images = tasks.PrepareImages()
    before = images.fingerprint
    assert "train_side" not in images.identity_settings()["dataset"]
    configure("dataset", train_side=0)
    assert tasks.PrepareImages().fingerprint == before
    configure("teacher", augment="resized_crop")
    configure("dataset", train_side=48)
    assert tasks.PrepareImages().identity_settings()["dataset"]["train_side"] == 48
    assert tasks.PrepareImages().fingerprint != before


def test_cells_are_not_batched(configure: Configure) -> None:
    """A process per cell costs next to nothing, see benchmarks/scheduler.py."""
    assert not cell().batchable
    assert tasks.DumpMaps(model="sswa", method="gradcam").batchable


def test_a_stage_call_is_plain_data(configure: Configure) -> None:
    """The call of every family survives pickling, and contains no task."""
    calls = {task.task_family: task.call() for task in terminal.closure(tasks.Report(partial=False)).values()}
    assert calls.keys() == set(FAMILIES)
    for family, call in calls.items():
        content = pickle.dumps(call)
        assert pickle.loads(content) == call, family
        assert b"luigi" not in content.replace(b"luigi --module", b""), family
        assert b"tasks.chain" not in content, family
        assert callable(getattr(stages, call.stage)), family


def test_python_callers_get_the_same_checks(configure: Configure) -> None:
    with pytest.raises(InputError, match="unknown model"):
        cell(model="resnet")
    with pytest.raises(InputError, match=r"1\.\.99"):
        cell(percent=101)
    with pytest.raises(InputError, match=r"one model twice: sswa, sswa/4"):
        tasks.Report(models="sswa, sswa/4")


def test_seconds_left_follow_the_finished_tasks_of_the_family(configure: Configure, tmp_path: Path) -> None:
    done, waiting = cell(percent=10), [cell(percent=p) for p in (20, 30, 40)]
    assert terminal.seconds_left([done, *waiting], [done, *waiting], 2) is None
    done.directory.mkdir(parents=True)
    (done.directory / "manifest.json").write_text(
        json.dumps({"seconds": 10.0, "fingerprint": done.fingerprint, "identity": {}, "files": {}})
    )
    assert terminal.seconds_left([done, *waiting], waiting, 2) == pytest.approx(15)


def test_gpu_slots(monkeypatch: pytest.MonkeyPatch, configure: Configure) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    assert gpus.visible_gpus() == ["3", "5"]
    assert tasks.Retrain(percent=0).resources["gpu"] == 1
    assert "gpu" not in tasks.PrepareImages().resources
    assert resources.resources_of_machine()["gpu"] == 2
    configure("resources", gpu=6)
    assert resources.resources_of_machine()["gpu"] == 6
    configure("execution", device="cpu")
    assert "gpu" not in tasks.Retrain(percent=0).resources
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus.visible_gpus() == []
    configure("execution", device="auto")
    assert "gpu" not in tasks.Retrain(percent=0).resources


def test_two_processes_get_two_gpus(tmp_path: Path) -> None:
    code = (
        "import os, sys; from tasks.runtime.gpus import claim_gpu\n"
        "with claim_gpu():\n    print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "0,1", "TMPDIR": str(tmp_path)}

    def claim() -> "subprocess.Popen[str]":
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True, env=environment)

    first, second = claim(), claim()
    assert first.stdout and second.stdout
    assert sorted([first.stdout.readline(), second.stdout.readline()]) == ["0\n", "1\n"]
    third = claim()
    time.sleep(1)  # until the third process has started and found no free slot
    assert third.stdout
    os.set_blocking(third.stdout.fileno(), False)
    assert third.stdout.readline() == ""
    first.kill()
    os.set_blocking(third.stdout.fileno(), True)
    assert third.stdout.readline() in ("0\n", "1\n")
    for process in (first, second, third):
        process.kill()
        process.communicate()


def test_methods_are_batched_and_each_has_its_own_identity(configure: Configure) -> None:
    one = {"model": "sswa", "seed": "0"}
    batch = tasks.DumpMaps.from_str_params({**one, "method": ["gradcam", "lrp", "vargrad"]})
    assert batch.method == ("gradcam", "lrp", "vargrad")
    assert [p.label_parameters()["method"] for p in batch.single_tasks()] == ["gradcam", "lrp", "vargrad"]
    before = {p.method[0]: p.fingerprint for p in batch.single_tasks()}
    configure("maps", samples=5)
    after = {
        p.method[0]: p.fingerprint for p in tasks.DumpMaps.from_str_params({**one, "method": [*before]}).single_tasks()
    }
    assert [name for name in before if before[name] != after[name]] == ["vargrad"]


def test_a_custom_function_has_a_process_of_its_own(configure: Configure) -> None:
    """Its side effects, such as on a library's functions, reach no other method."""
    custom = "support.dumped:fails_of_the_last_class"
    methods = ("gradcam", custom, "lrp", f"{custom}+blur", "sobel", "random")
    processes = [("gradcam", "lrp"), (custom, f"{custom}+blur"), ("sobel",), ("random",)]
    several = tasks.DumpMaps(model="sswa", method=methods, seed=0)
    assert [task.method for task in several.requires()] == processes
    assert all(task.requires()[0] == tasks.PrepareImages() for task in several.requires())
    scheduler = Scheduler()
    scheduler.add_task_batcher(worker="it", task_family="DumpMaps", batched_args=["method"], max_batch_size=20)
    for task in several.single_tasks():
        scheduler.add_task(
            worker="it", task_id=task.task_id, family="DumpMaps", params=task.to_str_params(), batchable=task.batchable
        )
    batches = set()
    while (work := scheduler.get_work(worker="it"))["task_id"] or "batch_task_ids" in work:
        batch = tasks.DumpMaps.from_str_params(work["task_params"])
        batches.add(tuple(sorted(batch.method)))
        for task_id in work.get("batch_task_ids", [work["task_id"]]):
            scheduler.add_task(worker="it", task_id=task_id, status=DONE)
    assert batches == set(processes)


def test_a_control_with_a_variant_is_a_control(configure: Configure) -> None:
    blurred = cell(model="teacher", method="sobel+blur")
    assert blurred.directory.name.startswith("method=sobel+blur,percent=50")
    assert not any(isinstance(t, tasks.FineTuneTeacher) for t in terminal.closure(blurred).values())


def test_controls_probes_and_longer_cells_of_the_grid(configure: Configure) -> None:
    configure(
        "grid",
        models="teacher, sswa",
        methods="gradcam, center, sobel",
        percents="30, 60",
        probe_percents="60",
        longer_percents="30, 90",
    )
    required = tasks.Report().requires()
    cells = [t for t in required if isinstance(t, tasks.Retrain) and t.longer == 1]
    curves = {(t.model, t.method) for t in cells if not t.is_shared}
    assert curves == {
        *((None, control) for control in ("random", "center", "sobel")),
        ("teacher", "gradcam"),
        ("teacher", "gradcam+shuffled"),
        ("sswa", "gradcam"),
    }
    assert len(cells) == 2 + 6 * 2
    assert [(t.model, t.method, t.percent) for t in required if isinstance(t, tasks.ProbeMasks)] == [
        (None, "sobel", 60),
        ("teacher", "gradcam", 60),
        ("sswa", "gradcam", 60),
    ]
    longer = [t for t in required if isinstance(t, tasks.Retrain) and t.longer > 1]
    assert [(t.model, t.method, t.percent) for t in longer] == [
        (None, "random", 30),
        (None, "center", 30),
        ("teacher", "gradcam", 30),
    ]
    assert longer[0].recipe.epochs == 2 * settings().retrain.epochs
    assert longer[0].title.endswith(" longer=2")
    assert not any(t.method == "gradcam+shuffled" for t in required if isinstance(t, tasks.EvaluateLocalization))


def test_longer_training_is_the_recipe_with_more_epochs(configure: Configure) -> None:
    longer = cell(longer=2)
    assert longer.fingerprint != cell().fingerprint
    configure("retrain", epochs=2 * settings().retrain.epochs)
    assert cell().fingerprint == longer.fingerprint


def test_random_is_drawn_for_every_seed_and_other_controls_are_not(configure: Configure) -> None:
    random = [tasks.RankPixels(method="random", seed=seed) for seed in (0, 1)]
    assert random[0].fingerprint != random[1].fingerprint
    assert random[0].arguments()["tie_seed"] != random[1].arguments()["tie_seed"]
    maps = [ranking.deps()[1] for ranking in random]
    assert maps[0].arguments()["tie_seed"] == random[0].arguments()["tie_seed"]
    assert cell(model="none", method="random", seed=1).deps()[1].fingerprint == random[1].fingerprint
    center = [tasks.RankPixels(method="center", seed=seed) for seed in (0, 1)]
    assert center[0].fingerprint == center[1].fingerprint
    assert center[0].arguments() == center[1].arguments()
    gradcam = [tasks.RankPixels(model="sswa", method="gradcam", seed=seed) for seed in (0, 1)]
    assert gradcam[0].arguments()["tie_seed"] != gradcam[1].arguments()["tie_seed"]


def test_shuffled_pixels_are_ranked_by_the_methods_own_maps(configure: Configure) -> None:
    own, shuffled = (tasks.RankPixels(model="sswa", method=m) for m in ("gradcam", "gradcam+shuffled"))
    assert own.fingerprint != shuffled.fingerprint
    assert own.deps()[1].fingerprint == shuffled.deps()[1].fingerprint
    assert (own.arguments()["shuffle_seed"], shuffled.arguments()["shuffle_seed"] is None) == (None, False)
    with pytest.raises(InputError, match=r"has no maps of its own: .* Dump gradcam instead"):
        tasks.DumpMaps(model="sswa", method="gradcam+shuffled")
    with pytest.raises(InputError, match="nothing to localize"):
        tasks.EvaluateLocalization(model="sswa", method="gradcam+shuffled")


def test_masks_that_do_not_depend_on_the_image_are_not_probed(configure: Configure) -> None:
    for changes in ({"method": "random"}, {"method": "center"}, {"method": "gradcam+shuffled"}, {"percent": 100}):
        parameters = {"model": "sswa", "method": "gradcam", "percent": 50, **changes}
        with pytest.raises(InputError, match="There is nothing to probe"):
            tasks.ProbeMasks(**parameters)


def test_the_cell_that_shows_nothing_belongs_to_all_curves(configure: Configure) -> None:
    invisible = cell(percent=100)
    assert invisible.fingerprint == tasks.Retrain(percent=100).fingerprint
    assert invisible.directory.name.startswith("percent=100,seed=0__")
    assert invisible.arguments()["levels_path"] is None
    assert invisible.fingerprint != tasks.Retrain(percent=0).fingerprint


def test_a_finished_teacher_is_identified_by_its_file_and_architecture(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"weights")
    (tmp_path / "copy.pth").write_bytes(b"weights")
    (tmp_path / "other.pth").write_bytes(b"other weights")
    trained = tasks.FineTuneTeacher(seed=0).fingerprint
    configure("teacher", arch="resnet20", weights=tmp_path / "weights.pth")
    finished = tasks.FineTuneTeacher(seed=0)
    assert finished.fingerprint != trained
    teacher = finished.identity["settings"]["teacher"]
    assert teacher == {"arch": "resnet20", "width": 16, "weights": hashlib.sha256(b"weights").hexdigest()}
    assert finished.arguments()["teacher"].weights == str(tmp_path / "weights.pth")
    assert tasks.FineTuneTeacher(seed=5).fingerprint == finished.fingerprint, "a seed changes nothing"
    (required,) = (t for t in tasks.DistillStudent(loss="swa", seed=5).deps() if isinstance(t, tasks.FineTuneTeacher))
    assert required.directory == finished.directory
    for section, keys, is_same in (
        ("teacher", {"epochs": 99}, True),
        ("teacher", {"weights": tmp_path / "copy.pth"}, True),
        ("teacher", {"width": 8}, False),
        ("teacher", {"width": 16, "weights": tmp_path / "other.pth"}, False),
    ):
        configure(section, **keys)
        assert (tasks.FineTuneTeacher(seed=0).fingerprint == finished.fingerprint) is is_same, keys


def test_a_finished_teacher_whose_file_is_missing(configure: Configure, tmp_path: Path) -> None:
    configure("teacher", weights=tmp_path / "nothing.pth")
    with pytest.raises(InputError, match=r"weights = .*nothing\.pth: there is no file .* finished teacher's weights"):
        tasks.FineTuneTeacher(seed=0)


def test_an_architecture_identifies_itself_by_what_it_reads(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    source = tmp_path / "nets_of_ones_own.py"
    source.write_text("def net(classes): ...\n")
    configure("retrain", arch="squeezenet1_1")
    fixed = cell().fingerprint
    configure("retrain", width=9, pool=2, dropout=0.4)
    assert cell().fingerprint == fixed
    configure("retrain", arch="resnet20")
    sized = cell().fingerprint
    configure("retrain", pool=3, dropout=0.3)
    assert cell().fingerprint == sized
    configure("retrain", width=10)
    assert cell().fingerprint != sized
    configure("retrain", arch="nets_of_ones_own:net")
    own = cell().fingerprint
    source.write_text("def net(classes): return None\n")
    configure("retrain", lr=0.04)
    assert cell().fingerprint != own


def test_a_student_of_fixed_widths_cannot_be_reduced(configure: Configure) -> None:
    configure("student", arch="resnet18", reduction=1)
    tasks.DistillStudent(loss="swa", seed=0)
    with pytest.raises(
        InputError, match=r"reduction 8 divides widths, and those of \[student\] arch = resnet18 are fixed"
    ):
        tasks.DistillStudent(loss="swa", reduction=8, seed=0)
