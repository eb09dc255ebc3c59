"""The resources that the scheduler reserves per stage, and the batch of maps that fits into their memory."""

import dataclasses
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.class_folder import write_class_folder
from support.voc_folder import write_list, write_voc_folder
from support.workplace import Configure, Workplace, changed_settings

import tasks
from roar_pipeline import config
from roar_pipeline.datasets import kinds
from roar_pipeline.estimates import memory
from roar_pipeline.estimates.cost import Size
from roar_pipeline.models import LOSSES
from tasks.configuration.settings import settings
from tasks.runtime import resources

VOC = {
    "dataset": {"train_split": "train", "validation_split": "val", "test_split": "val", "segmentation_split": "val"},
    "teacher": {"arch": "vgg16_bn", "width": 64, "pool": 7, "optimizer": "sgd", "batch": 64, "checkpoint": "best"},
    "retrain": {"arch": "vgg11_bn", "width": 64, "pool": 7, "optimizer": "sgd", "batch": 64, "precision": "bfloat16"},
}
VOC["dataset"] |= {"height": 227, "width": 227}
VOC["student"] = {**VOC["teacher"], "reduction": 4, "augment": "resized_crop"}


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """Change the settings of the default experiment, on a machine with 64 GB and without a GPU."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(memory, "array_limit", lambda share: int(64e9 * share))
    with changed_settings() as change:
        change("paths", data=tmp_path)
        yield change


@pytest.fixture
def voc(configure: Configure, tmp_path: Path) -> Configure:
    """Settings like those of configs/voc2012.cfg, and lists of as many images; there are no images."""
    for name, count in (("train", 5717), ("val", 5823)):
        write_list(tmp_path / "VOC", name, [f"{name}{number}" for number in range(count)])
    write_list(tmp_path / "VOC", "val", [f"val{number}" for number in range(1449)], kind="Segmentation")
    for section, keys in VOC.items():
        configure(section, **keys)
    configure("dataset", root=tmp_path / "VOC")
    return configure


def demands() -> dict[str, int]:
    """Return the memory of every stage in 10^6 bytes."""
    student = settings().student
    return {
        "teacher": resources.teacher_demand().memory_mb,
        **{loss: resources.student_demand(student, loss).memory_mb for loss in LOSSES},
        "maps": resources.maps_demand("teacher").memory_mb,
        "students maps": resources.maps_demand("sswa").memory_mb,
        "cell": resources.cell_demand().memory_mb,
        "light": resources.light_demand().memory_mb,
    }


def test_the_default_experiment_runs_two_at_a_time_on_4_gb(configure: Configure) -> None:
    memory = demands()
    expected = {"teacher": 956, "plain": 937, "sswa": 987, "maps": 1025, "cell": 966, "light": 416}
    assert {name: memory[name] for name in expected} == pytest.approx(expected, rel=0.02)
    assert max(memory.values()) <= 0.9 * 4000 / 2


def test_the_memory_of_pascal_voc(voc: Configure) -> None:
    """Steps of 8, 16 and 32 images were measured, see test_memory; these have 64."""
    expected = {
        "teacher": 18964,
        "plain": 6732,
        **dict.fromkeys(("naive_kd", "ewa", "swa", "sswa"), 10653),
        "maps": 6865,
        "students maps": 6772,
        "cell": 10406,
        "light": 1072,
    }
    assert demands() == pytest.approx(expected, rel=0.02)
    assert resources.maps_settings("teacher").batch == 11
    assert "gpu" not in resources.stage_resources(resources.teacher_demand())


def test_the_sizes_of_a_data_set(configure: Configure, tmp_path: Path) -> None:
    write_voc_folder(tmp_path / "small", {"train": 6, "val": 3, "test": 4}, height=24, width=32)
    names = {"train_split": "train", "validation_split": "val", "test_split": "test", "segmentation_split": "test"}
    configure("dataset", root=tmp_path / "small", height=16, width=12, classes="circle, square, big star", **names)
    assert resources.data_size() == Size(6, 4, 16, 12, 3, validation=3, masks=4)
    configure("teacher", augment="resized_crop")
    configure("dataset", validation_split="test", segmentation_split="", train_side=20)
    assert resources.data_size() == Size(6, 4, 16, 12, 3, validation=0, masks=0, photograph_bytes=6 * 3 * 20 * 27)
    (tmp_path / "small/ImageSets/Main/test.txt").write_text("")
    configure("dataset", train_side=0)
    assert resources.data_size().test == 0, "the stage that reads the list says what is wrong with it"


def test_the_sizes_of_data_sets_of_other_kinds(configure: Configure, tmp_path: Path) -> None:
    configure("dataset", root=write_class_folder(tmp_path / "classes", {"train": 10, "test": 4}), height=16, width=12)
    assert resources.data_size() == Size(27, 12, 16, 12, 3, validation=3, is_single_label=True)
    configure("dataset", kind="own", root="no_such:function", classes="a, b")
    assert resources.data_size() == Size(50_000, 10_000, 16, 12, 2, validation=5_000, is_single_label=True)


def test_the_kind_says_whether_an_image_has_one_label(configure: Configure, tmp_path: Path) -> None:
    assert not resources.data_size().is_single_label, "the generated set is in VOC layout"
    configure("dataset", root=write_class_folder(tmp_path / "classes"), test_split="test")
    size = resources.data_size()
    assert (size.is_single_label, size.train, size.classes) == (True, 30, 3)
    own = config.Dataset(root="module:function", kind="own")
    assert kinds.is_single_label(Path(own.root), own)
    assert not kinds.is_single_label(Path(own.root), dataclasses.replace(own, labels="several"))


def test_the_memory_of_a_stage_follows_its_settings(configure: Configure) -> None:
    small = tasks.FineTuneTeacher().resources["memory_mb"], tasks.Retrain(percent=0).resources["memory_mb"]
    configure("teacher", batch=512)
    assert tasks.FineTuneTeacher().resources["memory_mb"] > small[0] + 400
    assert tasks.Retrain(percent=0).resources["memory_mb"] == small[1]
    student, sixteenth = (tasks.DistillStudent(loss="sswa", reduction=r).resources["memory_mb"] for r in (0, 16))
    assert sixteenth < student
    assert tasks.PrepareImages().resources["memory_mb"] == 400


def test_methods_of_one_model_reserve_the_same_memory(configure: Configure) -> None:
    """Luigi batches only tasks with equal resources."""
    names = ("gradcam", "rap", "smoothgrad")
    (reserved,) = {tasks.DumpMaps(model="teacher", method=(name,)).resources["memory_mb"] for name in names}
    assert reserved == resources.maps_demand("teacher").memory_mb
    assert tasks.DumpMaps(method=("random",)).resources["memory_mb"] == resources.light_demand().memory_mb


def test_images_that_stay_on_disk_need_no_memory(voc: Configure) -> None:
    """All but some batches: of 1.8 GB of images, and for a cell of 0.6 GB of levels besides."""
    held, image_bytes = demands(), 3 * (5717 + 5823) * 227**2
    voc("execution", memory_share=0.04)
    assert demands() == held
    voc("execution", memory_share=0.01)
    saved = {name: held[name] - value for name, value in demands().items()}
    batches = 4 * 64 * 3 * 227**2
    assert saved["maps"] == pytest.approx((image_bytes - batches) / 1e6, abs=2)
    assert saved["cell"] == pytest.approx(4 / 3 * (image_bytes - batches) / 1e6, abs=2)
    assert saved["light"] == 0


def test_the_batch_of_maps_follows_the_memory_and_is_their_identity(configure: Configure) -> None:
    def dump() -> tasks.DumpMaps:
        return tasks.DumpMaps(model="teacher", method=("gradcam",))

    before = dump()
    assert before.identity["settings"]["maps"]["batch"] == 64
    configure("maps", memory_mb=8000)
    assert dump().fingerprint == before.fingerprint, "as many fit as before"
    configure("maps", memory_mb=40)
    lowered = dump()
    batch = lowered.identity["settings"]["maps"]["batch"]
    assert 1 < batch < 64
    assert resources.maps_settings("teacher").batch == batch
    assert resources.maps_settings("sswa").batch == 64, "a smaller network"
    configure("maps", memory_mb=4000, batch=batch)
    assert dump().fingerprint == lowered.fingerprint, "the same maps, however the batch came about"
    configure("maps", batch=1000, memory_mb=10**6)
    assert dump().identity["settings"]["maps"]["batch"] == 1000


def test_a_dump_gets_the_lowered_batch(configure: Configure) -> None:
    configure("maps", memory_mb=40)
    dump = tasks.DumpMaps(model="teacher", method=("gradcam",))
    assert dump.call().arguments["maps"].batch == dump.identity["settings"]["maps"]["batch"] < 64


def test_a_stage_that_needs_more_memory_than_the_machine_has_runs_alone_with_a_warning(voc: Configure) -> None:
    voc("resources", memory_mb=9000)
    demand = resources.teacher_demand()
    assert resources.stage_resources(demand)["memory_mb"] == 9000
    tasks_ = [DemandingTask("FineTuneTeacher", demand), DemandingTask("FineTuneTeacher", demand)]
    (warning,) = resources.shortages([*tasks_, DemandingTask("Report", resources.light_demand())])
    need = f"{demand.memory_mb / 1e3:.1f}"
    assert f"FineTuneTeacher needs about {need} GB of memory, and tasks may take 9.0 GB" in warning
    assert warning.endswith("it runs alone, and may be killed. Lower [teacher] batch, or [execution] memory_share.")


class DemandingTask:
    """A task with a family and a demand."""

    def __init__(self, family: str, demand: resources.Demand) -> None:
        self.task_family, self._demand = family, demand

    def demand(self) -> resources.Demand:
        return self._demand


def test_a_run_and_a_forecast_warn_once(workplace: Workplace) -> None:
    workplace.configure(resources={"memory_mb": 200})
    expected = r"PrepareImages needs about 0.4 GB of memory, and tasks may take 0.2 GB on this machine: it runs alone"
    code, output = workplace.luigi("PrepareImages")
    assert code == 0, output
    assert output.count(expected) == 1, output
    code, output = workplace.run(sys.executable, "-m", "tasks", "forecast")
    assert code == 0
    assert re.search(r"FineTuneTeacher needs about 0.9 GB of memory, .* Lower \[teacher\] batch, or", output)
