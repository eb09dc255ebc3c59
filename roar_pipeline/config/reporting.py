"""What is covered, scored and shown: [grid], [metrics] and [report]."""

from dataclasses import dataclass
from typing import Literal

from roar_pipeline.config.fields import setting
from roar_pipeline.methods import check_method
from roar_pipeline.models import check_model

__all__ = ["Grid", "Metrics", "Report"]


@dataclass(frozen=True)
class Metrics:
    """How predictions and maps are scored."""

    f1_threshold: float = setting(0.5, "The probability from which F1 counts a class as predicted.", low=0, high=1)
    void: Literal["ignore", "background"] = setting("ignore", "Pixels of value 255 in a mask: ignore, or background.")


@dataclass(frozen=True)
class Grid:
    """What the report covers."""

    models: tuple[str, ...] = setting(
        ("teacher", "naive_kd", "ewa", "swa", "sswa"),
        "The explained models: teacher, a student's loss, or loss/reduction, e.g. teacher, sswa, sswa/8.",
        check=check_model,
        required=True,
    )
    methods: tuple[str, ...] = setting(
        ("gradcam", "center", "sobel"),
        "The attribution methods and controls, e.g. gradcam, sobel; random is always added.",
        check=check_method,
        required=True,
    )
    shuffled: tuple[str, ...] = setting(
        ("teacher",),
        "The models whose maps are also given to other images, as a control of every method; or none.",
        check=check_model,
    )
    percents: tuple[int, ...] = setting(
        (30, 50), "The percentages of pixels that are removed, or kept.", low=1, high=99, required=True
    )
    probe_percents: tuple[int, ...] = setting(
        (50,), "Those percents at which a network is also trained on the masks alone; or none.", low=1, high=99
    )
    longer_percents: tuple[int, ...] = setting(
        (50,),
        "Those percents at which the cells of the first model, of random and of center are also trained twice as long; "
        "or none.",
        low=1,
        high=99,
    )
    directions: tuple[Literal["remove", "keep"], ...] = setting(
        ("remove",), "The directions: remove (ROAR), keep (KAR), or remove, keep.", required=True
    )
    seeds: tuple[int, ...] = setting((0,), "The seeds of the retrained networks, e.g. 0, 1, 2.", low=0, required=True)
    model_seeds: tuple[int, ...] = setting(
        (),
        "The seeds of teachers and students, crossed with all seeds; empty: seed s explains the models of seed s.",
        low=0,
    )


@dataclass(frozen=True)
class Report:
    """What the report shows."""

    examples: int = setting(4, "The number of example images with their maps.", low=0)
    bootstrap: int = setting(1000, "The resamples of the test images for 95 % intervals; 0: no intervals.", low=0)
    par_margin: float = setting(
        5.0, "Two models are on par if their means over a curve differ by less than these percentage points.", low=0.1
    )
