"""How long results will take: against measured times, and from results of other settings and stages."""

import configparser
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from roar_pipeline import config
from roar_pipeline.estimates.cost import Cost, Size, cost_of
from roar_pipeline.estimates.forecasting import Need, Scope, estimate, reference_seconds, wall_seconds
from roar_pipeline.plain_settings import finished_keys, training_keys
from roar_pipeline.settings_parser import parse

ROOT = Path(__file__).parents[2]
DEFAULT = Size(1500, 800, 32, 32, 10, validation=400, masks=800)
VOC = Size(5717, 5823, 227, 227, 20, masks=1449)


def read(*names: str) -> config.Settings:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / name for name in names)
    known = {field.name for field in dataclasses.fields(config.Settings)}
    return parse({name: dict(parser[name]) for name in parser.sections() if name in known})


def scope_of(settings: config.Settings, size: Size) -> Scope:
    def explained(model: str) -> Cost:
        chosen = settings.teacher if model == "teacher" else settings.student
        network = config.Network(chosen.arch, chosen.width, chosen.pool, chosen.dropout)
        reduction = 1 if model == "teacher" else settings.student.reduction
        return cost_of(network, size.classes, size.height, size.width, reduction=reduction)

    return Scope(size, explained)


def training(family: str, settings: config.Settings, **parameters: str) -> dict[str, Any]:
    section = {"FineTuneTeacher": "teacher", "DistillStudent": "student", "Retrain": "retrain"}[family]
    recipe = training_keys(getattr(settings, section))
    return {"stage": family, "parameters": parameters, "settings": {section: recipe}, "inputs": ["images"]}


def dump(method: str, **keys: int) -> dict[str, Any]:
    parameters = {"model": "teacher", "method": method}
    return {"stage": "DumpMaps", "parameters": parameters, "settings": {"maps": keys}, "inputs": ["images"]}


def manifest(identity: Mapping[str, Any], seconds: float, device: str = "cpu") -> dict[str, Any]:
    files = {"metrics.json": {"bytes": 500}}
    return {"identity": identity, "seconds": seconds, "finished": "2026", "files": files, "device": device}


def test_the_teacher_of_voc_takes_days_on_one_core() -> None:
    """87 h were measured; by width and pixels alone, blind to the architecture, it would be 7 h."""
    settings = read("luigi.cfg", "configs/voc2012.cfg")
    identity = training("FineTuneTeacher", settings)
    seconds = reference_seconds("FineTuneTeacher", identity, scope_of(settings, VOC))
    assert 60 < seconds / 3600 < 120


@pytest.mark.parametrize(
    ("family", "parameters", "measured"),
    [("FineTuneTeacher", {}, 8.5), ("DistillStudent", {"loss": "swa"}, 6.5), ("Retrain", {}, 9.6)],
)
def test_the_default_experiment(family: str, parameters: dict[str, str], measured: float) -> None:
    settings = read("luigi.cfg")
    identity = training(family, settings, **parameters)
    seconds = reference_seconds(family, identity, scope_of(settings, DEFAULT))
    assert measured / 2 < seconds < 2 * measured


def test_training_goes_by_multiply_adds() -> None:
    """Of the network, images and epochs: 3 per image and epoch, 1 per prediction and per image seen by the teacher."""
    settings = read("luigi.cfg", "configs/voc2012.cfg")
    scope = scope_of(settings, VOC)

    def seconds(family: str, chosen: config.Settings, **parameters: str) -> float:
        return reference_seconds(family, training(family, chosen, **parameters), scope)

    def with_epochs(epochs: int) -> config.Settings:
        student = dataclasses.replace(settings.student, epochs=epochs)
        return dataclasses.replace(settings, student=student)

    few, many = with_epochs(10), with_epochs(20)
    own, taught_by = scope.explained("sswa").multiply_adds, scope.explained("teacher").multiply_adds
    more = seconds("DistillStudent", many, loss="plain") - seconds("DistillStudent", few, loss="plain")
    assert more == pytest.approx(10 * (3 * 5717 + 5823) * own / 70e9 + 10 * 89 * 3e-3)
    taught = seconds("DistillStudent", few, loss="swa") - seconds("DistillStudent", few, loss="plain")
    assert taught == pytest.approx(10 * 5717 * taught_by / 70e9)
    plain = dataclasses.replace(few, student=dataclasses.replace(few.student, augment="none"))
    once = seconds("DistillStudent", plain, loss="swa") - seconds("DistillStudent", plain, loss="plain")
    assert once == pytest.approx(5717 * taught_by / 70e9)


def test_maps_go_by_the_methods_cost() -> None:
    scope = scope_of(read("luigi.cfg"), DEFAULT)

    def seconds(method: str, **keys: int) -> float:
        return reference_seconds("DumpMaps", dump(method, **keys), scope) - 1.5

    unit = seconds("gradcam")
    assert unit == pytest.approx(1.5 * (2700 + 800) * scope.explained("teacher").multiply_adds / 70e9)
    assert seconds("rap+blur") == pytest.approx(4.4 * unit)
    assert seconds("smoothgrad", samples=15) == pytest.approx(2.1 * 15 * unit)
    assert seconds("anything_noisy", samples=15, steps=25) == pytest.approx(2.1 * 15 * 25 * unit)
    control = reference_seconds("DumpMaps", {"parameters": {"method": "sobel"}, "settings": {}}, scope)
    assert control == pytest.approx(1.5 + 2700 * 32 * 32 / 2e7)


def test_localization_goes_by_pairs_and_pixels() -> None:
    def seconds(size: Size) -> float:
        scope = scope_of(read("luigi.cfg"), size)
        return reference_seconds("EvaluateLocalization", {"parameters": {}, "settings": {}}, scope) - 1.5

    assert seconds(VOC) == pytest.approx(1.5 * 1449 * (1e-3 + 227**2 / 5e6))
    assert seconds(dataclasses.replace(VOC, masks=0)) == 0


def test_one_label_per_image_is_one_map_per_image() -> None:
    """Instead of one and a half; trainings take what they take."""

    def work(family: str, identity: dict[str, Any], *, is_single_label: bool) -> float:
        size = dataclasses.replace(DEFAULT, is_single_label=is_single_label)
        return reference_seconds(family, identity, scope_of(settings, size)) - 1.5

    settings = read("luigi.cfg")
    localization = {"parameters": {}, "settings": {}}
    for family, identity, share in [
        ("DumpMaps", dump("gradcam"), 1 / 1.5),
        ("EvaluateLocalization", localization, 1 / 1.5),
        ("Retrain", training("Retrain", settings), 1),
    ]:
        one, several = (work(family, identity, is_single_label=is_one) for is_one in (True, False))
        assert one == pytest.approx(share * several), family


def test_results_of_other_stages_tell_this_machines_pace() -> None:
    settings = read("luigi.cfg")
    scope = scope_of(settings, DEFAULT)
    teacher, cell = training("FineTuneTeacher", settings), training("Retrain", settings)
    need = Need("Retrain", cell, "images")
    work = {"teacher": reference_seconds("FineTuneTeacher", teacher, scope)}
    work["cell"] = reference_seconds("Retrain", cell, scope)
    guess = estimate(need, {}, scope, "cpu")
    assert (guess.seconds, guess.similar) == (work["cell"], 0)
    slow = {"FineTuneTeacher": [manifest(teacher, 3 * work["teacher"])]}
    scaled = estimate(need, slow, scope, "cpu")
    assert scaled.seconds == pytest.approx(3 * work["cell"])
    assert (scaled.similar, scaled.scaled, scaled.from_others) == (1, True, True)
    assert estimate(need, slow, scope, "cuda").similar == 0, "what a CPU took says nothing of a GPU"
    other = training("Retrain", dataclasses.replace(settings, retrain=dataclasses.replace(settings.retrain, epochs=2)))
    nearer = {**slow, "Retrain": [manifest(other, 2 * reference_seconds("Retrain", other, scope))]}
    assert estimate(need, nearer, scope, "cpu").seconds == pytest.approx(2 * work["cell"])
    same = {**nearer, "Retrain": [*nearer["Retrain"], manifest(cell, 42.0)]}
    exact = estimate(need, same, scope, "cpu")
    assert (exact.seconds, exact.similar, exact.scaled, exact.from_others) == (42.0, 1, False, False)


def test_a_models_file_holds_its_parameters() -> None:
    settings = read("luigi.cfg", "configs/voc2012.cfg")
    scope = scope_of(settings, VOC)
    size = estimate(Need("FineTuneTeacher", training("FineTuneTeacher", settings), "images"), {}, scope, "cpu").size
    assert size == pytest.approx(4 * (scope.explained("teacher").parameters + 5823 * 20), rel=1e-3)
    cell = estimate(Need("Retrain", training("Retrain", settings), "images"), {}, scope, "cpu").size
    assert cell == pytest.approx(4 * 5823 * 20, rel=1e-2)


def test_wall_time_is_bounded_by_the_chain_and_by_the_machine() -> None:
    seconds = {"a": 10.0, "b": 20.0, "c": 6.0}
    chain = {"b": ["a"]}
    assert wall_seconds(seconds, chain, dict.fromkeys(seconds, 0.5)) == 30
    assert wall_seconds(seconds, {}, dict.fromkeys(seconds, 0.5)) == 20
    assert wall_seconds(seconds, {}, dict.fromkeys(seconds, 1.0)) == 36, "each takes all the memory"


def test_a_finished_teacher_costs_its_predictions_alone() -> None:
    trained = read("luigi.cfg")
    teacher = dataclasses.replace(trained.teacher, weights="weights.pth")
    finished = {**training("FineTuneTeacher", trained), "settings": {"teacher": finished_keys(teacher, "0" * 64)}}
    seconds = [
        reference_seconds("FineTuneTeacher", identity, scope_of(trained, DEFAULT))
        for identity in (training("FineTuneTeacher", trained), finished)
    ]
    assert seconds[1] < seconds[0] / 2
    assert seconds[1] > 1.5


@pytest.mark.parametrize("arch", ["resnet20", "resnet18", "nets:net"])
def test_identities_that_leave_out_what_a_network_does_not_read_have_an_estimate(
    arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roar_pipeline.plain_settings.source_digest", lambda reference: "0" * 64)
    settings = read("luigi.cfg")
    settings = dataclasses.replace(settings, retrain=dataclasses.replace(settings.retrain, arch=arch))
    identity = training("Retrain", settings)
    assert "pool" not in identity["settings"]["retrain"]
    assert reference_seconds("Retrain", identity, scope_of(settings, DEFAULT)) > 1
