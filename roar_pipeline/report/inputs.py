"""The inputs of a report: the settings, and the path of every result of the grid.

A result whose path is None is missing: its stage failed, or has not run yet. The report is then partial.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from roar_pipeline.config import Settings

__all__ = ["CellInput", "CellKey", "ExampleInput", "LocalizationInput", "ModelInput", "ReportInputs", "Run"]

Run = tuple[int, int | None]
"""Seed of the retrained network; seed of the explained model, None without a model."""


@dataclass(frozen=True)
class CellKey:
    """The position of one retrained network in the grid.

    The networks at 0 and 100 % belong to all curves: they have neither model nor method. A control has no model.
    """

    model: str | None
    method: str | None
    percent: int
    direction: str
    seed: int
    model_seed: int | None

    @property
    def run(self) -> Run:
        """The seeds that identify a run of one curve."""
        return self.seed, self.model_seed


@dataclass(frozen=True)
class CellInput(CellKey):
    """A retrained network: its result's directory, all its settings by ``section.key``, its fingerprint."""

    directory: Path | None
    settings: Mapping[str, object]
    fingerprint: str

    @property
    def is_missing(self) -> bool:
        """Whether the result is missing."""
        return self.directory is None


@dataclass(frozen=True)
class ModelInput:
    """A trained teacher or student: its ``metrics.json``, with ``scores.npy`` beside it."""

    model: str
    seed: int
    metrics_path: Path | None

    @property
    def is_missing(self) -> bool:
        """Whether the result is missing."""
        return self.metrics_path is None


@dataclass(frozen=True)
class LocalizationInput:
    """A ``localization.json``; a control's has neither model nor seed."""

    model: str | None
    method: str
    seed: int | None
    path: Path | None

    @property
    def is_missing(self) -> bool:
        """Whether the result is missing."""
        return self.path is None


@dataclass(frozen=True)
class ExampleInput:
    """A row of the example figures: its ``maps.h5`` and ``levels.h5``; a control has no model."""

    model: str | None
    method: str
    maps_path: Path
    levels_path: Path | None

    @property
    def is_missing(self) -> bool:
        """Whether the result is missing."""
        return self.levels_path is None


@dataclass(frozen=True)
class ReportInputs:
    """Everything that a report is made from.

    Attributes:
        settings: of all results; [grid] says which results this report covers.
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
