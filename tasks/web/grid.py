"""The layout of the grid's page: a block per method and direction, a row per model, a column per percentage."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from roar_pipeline.cache.states import KINDS
from roar_pipeline.report.labels import model_label
from tasks.chain.retraining import Retrain
from tasks.chain.survey import FAMILIES
from tasks.web.watch import DIGITS, Snapshot

__all__ = ["Block", "Square", "blocks", "label", "layout_digest", "stages"]

_CLEAN = "Clean"
_CONTROLS = "Clean and controls"
_ENDS = {0: _CLEAN, 100: "Nothing visible"}
_LINE = 10
"""Squares of a cell side by side at most."""
_WIDE = 12
"""Squares of a row at most, if values are to fit into them."""


@dataclass(frozen=True)
class Square:
    """A square that stands for a result."""

    digits: str
    run: str
    """Seeds of a cell's run, or the parameters of another stage's result."""


@dataclass
class Block:
    """A table of squares: ``rows[name][percent]`` holds a square per run."""

    title: str
    direction: str
    percents: list[int] = field(default_factory=list)
    rows: dict[str, dict[int, list[Square]]] = field(default_factory=dict)

    def add(self, row: str, percent: int, square: Square) -> None:
        """Add a run to a cell."""
        self.rows.setdefault(row, {}).setdefault(percent, []).append(square)
        if percent not in self.percents:
            self.percents = sorted([*self.percents, percent])

    def lines(self, row: str, percent: int) -> list[list[Square]]:
        """Return the squares of a cell, line by line."""
        squares = self.rows[row].get(percent, [])
        return [squares[start : start + _LINE] for start in range(0, len(squares), _LINE)]

    @property
    def is_wide(self) -> bool:
        """Whether values fit into the squares."""
        return all(sum(map(len, cells.values())) <= _WIDE for cells in self.rows.values())

    @property
    def squares(self) -> list[Square]:
        """The squares of all cells."""
        return [square for cells in self.rows.values() for of_cell in cells.values() for square in of_cell]


def blocks(cells: Iterable[Retrain]) -> list[Block]:
    """Return the blocks of these cells, sorted by direction, controls first; shared cells are in the first block."""
    cells = sorted(cells, key=lambda cell: (cell.longer, cell.explained_seed, cell.seed))
    order = {"remove": 0, "keep": 1}
    directions = sorted({cell.direction for cell in cells if not cell.is_shared}, key=lambda name: order[name])
    grouped: dict[tuple[str, str], Block] = {}
    for cell in sorted(cells, key=lambda cell: (not cell.is_shared, cell.has_model)):
        direction = directions[0] if cell.is_shared and directions else cell.direction
        title = cell.method_name.unshuffled.title if cell.has_model else _CONTROLS
        block = grouped.setdefault((direction, title), Block(title, direction))
        block.add(_row(cell), cell.percent, Square(cell.fingerprint[:DIGITS], _run(cell)))
    return sorted(grouped.values(), key=lambda block: order[block.direction])


def _row(cell: Retrain) -> str:
    if cell.is_shared:
        return _ENDS[cell.percent]
    method = cell.method_name
    name = model_label(cell.explained_model) if cell.has_model else method.title
    shuffled = ", shuffled" if method.is_shuffled and method.needs_model else ""
    return f"{name}{shuffled}" + (f", {cell.longer} x epochs" if cell.longer > 1 else "")


def _run(cell: Retrain) -> str:
    if cell.has_model and cell.explained_seed != cell.seed:
        return f"model seed {cell.explained_seed}, seed {cell.seed}"
    return f"seed {cell.seed}"


def layout_digest(cells: Iterable[Retrain]) -> str:
    """Return a digest of the cells, which differs between grids."""
    return hashlib.sha256("".join(cell.fingerprint for cell in cells).encode()).hexdigest()[:DIGITS]


def label(run: str, facts: Mapping[str, Any]) -> str:
    """Return a run with its state: ``seed 0: done, mAP 83.8 %``."""
    text = f"{run}: {facts['state']}"
    if facts.get("score") is not None:
        text += f", {facts['metric']} {100 * facts['score']:.1f} %"
    if facts["state"] == "running" and facts["share"] is not None:
        text += f", {100 * facts['share']:.0f} %"
    return text


def stages(snapshot: Snapshot) -> Sequence[dict[str, Any]]:
    """Return family, results by state, total, and squares of every stage; the cells' squares are in the blocks."""
    counts = snapshot.counts
    squares: dict[str, list[Square]] = {family: [] for family in FAMILIES}
    for digits, facts in snapshot.facts.items():
        if facts["family"] != Retrain.__name__:
            parameters = facts["title"].removeprefix(facts["family"]).strip()
            squares[facts["family"]].append(Square(digits, parameters or facts["family"]))
    return [
        {
            "family": family,
            "counts": [counts[family].get(kind, 0) for kind in KINDS],
            "total": sum(counts[family].values()),
            "squares": squares[family],
        }
        for family in FAMILIES
        if family in counts
    ]
