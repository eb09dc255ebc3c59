"""What a report is made from, in plain data: the settings, and where each result of the grid is.

A result whose path is None is missing: its stage failed, or is not done yet. The report is then a partial one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from roar_pipeline.config import Settings

__all__ = ["CellInput", "CellKey", "ExampleInput", "LocalizationInput", "ModelInput", "ReportInputs", "Run"]

Run = tuple[int, int | None]
"""Seed of the retrained network, and of the explained model where there is one."""


@dataclass(frozen=True)
class CellKey:
    """The position of one retrained network in the grid.

    The networks of all curves, at 0 and 100 %, have neither model nor method; those of a control have no model.
    """

    model: str | None
    method: str | None
    percent: int
    direction: str
    seed: int
    model_seed: int | None

    @property
    def run(self) -> Run:
        """The seeds that tell the runs of one curve apart."""
        return self.seed, self.model_seed


@dataclass(frozen=True)
class CellInput(CellKey):
    """A retrained network: its result's directory, all its settings by ``section.key``, its fingerprint."""

    directory: Path | None
    settings: Mapping[str, object]
    fingerprint: str

    @property
    def is_missing(self) -> bool:
        """Whether there is no such result."""
        return self.directory is None


@dataclass(frozen=True)
class ModelInput:
    """A trained teacher or student: its ``metrics.json``, with ``scores.npy`` beside it."""

    model: str
    seed: int
    metrics_path: Path | None

    @property
    def is_missing(self) -> bool:
        """Whether there is no such result."""
        return self.metrics_path is None


@dataclass(frozen=True)
class LocalizationInput:
    """A ``localization.json``; those of controls have neither model nor seed."""

    model: str | None
    method: str
    seed: int | None
    path: Path | None

    @property
    def is_missing(self) -> bool:
        """Whether there is no such result."""
        return self.path is None


@dataclass(frozen=True)
class ExampleInput:
    """A row of the example figures: its ``maps.h5`` and ``levels.h5``; controls have no model."""

    model: str | None
    method: str
    maps_path: Path
    levels_path: Path | None

    @property
    def is_missing(self) -> bool:
        """Whether there is no such result."""
        return self.levels_path is None


@dataclass(frozen=True)
class ReportInputs:
    """Everything that a report is made from.

    Attributes:
        settings: of all results; [grid] is what this report covers.
        images_path: images.h5.
        models: every trained model.
        cells: every retrained network.
        probes: the networks that saw the masks alone.
        longer: the cells that were trained twice as long.
        localizations: of every model's maps, and of the controls'.
        examples: the rows of the example figures, in their order.
    """

    settings: Settings
    images_path: Path
    models: tuple[ModelInput, ...]
    cells: tuple[CellInput, ...]
    probes: tuple[CellInput, ...]
    longer: tuple[CellInput, ...]
    localizations: tuple[LocalizationInput, ...]
    examples: tuple[ExampleInput, ...]
