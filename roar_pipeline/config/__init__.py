"""The settings: one frozen dataclass per section of ``luigi.cfg``, with defaults, units and checks.

A field is part of the identity of every stage that reads its section. The fields of ``Execution``, ``Grid`` and
``Paths`` are not: they decide where, how and how much is computed, never the value of a result. A field declared with
``added=True`` came after results existed: it is left out of an identity while it has its default.
"""

from dataclasses import dataclass, field

from roar_pipeline.config.data import Dataset, Scenes
from roar_pipeline.config.explanations import Maps, Removal
from roar_pipeline.config.machine import Execution, Paths
from roar_pipeline.config.networks import Distillation, Network, Retrain, Student, Teacher, Training
from roar_pipeline.config.reporting import Grid, Metrics, Report

__all__ = [
    "Dataset",
    "Distillation",
    "Execution",
    "Grid",
    "Maps",
    "Metrics",
    "Network",
    "Removal",
    "Report",
    "Retrain",
    "Scenes",
    "Settings",
    "Student",
    "Teacher",
    "Training",
]


@dataclass(frozen=True)
class Settings:
    """All sections."""

    paths: Paths = field(default_factory=Paths)
    dataset: Dataset = field(default_factory=Dataset)
    scenes: Scenes = field(default_factory=Scenes)
    teacher: Teacher = field(default_factory=Teacher)
    student: Student = field(default_factory=Student)
    distillation: Distillation = field(default_factory=Distillation)
    maps: Maps = field(default_factory=Maps)
    removal: Removal = field(default_factory=Removal)
    retrain: Retrain = field(default_factory=Retrain)
    metrics: Metrics = field(default_factory=Metrics)
    grid: Grid = field(default_factory=Grid)
    report: Report = field(default_factory=Report)
    execution: Execution = field(default_factory=Execution)
