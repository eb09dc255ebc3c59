"""The grid's page in parts: a browser first gets all parts, afterwards those that have changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roar_pipeline.cache.states import KINDS
from tasks.web.grid import Block, Square, blocks, stages
from tasks.web.templates import Templates
from tasks.web.watch import Snapshot, Watch

__all__ = ["ROW_PREFIXES", "Drawing", "Painter"]

ROW_PREFIXES = ("stages", "row-", "made-")
"""Prefixes of the ids of parts that are rows of a table."""
_LIST_LENGTH = 20
"""Results that a list names at most."""
_URGENT = ("failed", "damaged", "interrupted")
"""States that need attention, the most urgent first."""


@dataclass(frozen=True)
class Drawing:
    """The page at one moment."""

    parts: Mapping[str, str]
    """HTML of a part by its id, in the order of the page."""
    changed: Mapping[str, int]
    """The revision in which a part changed last, by its id."""
    revision: int
    """The latest revision in ``changed``."""

    def since(self, revision: int) -> dict[str, str]:
        """Return the parts that changed after a revision."""
        return {id_: html for id_, html in self.parts.items() if self.changed[id_] > revision}


class Painter:
    """Draws the parts of a grid's page, and stores in which revision a part changed last."""

    def __init__(self, templates: Templates, watch: Watch) -> None:
        self.blocks: Sequence[Block] = blocks(watch.cells)
        self._macros = templates.macros("parts")
        self._parts: dict[str, str] = {}
        self._changed: dict[str, int] = {}
        self._drawn_revision = -1
        """Revision of the latest snapshot that was drawn."""

    def draw(self, snapshot: Snapshot) -> Drawing:
        """Draw the totals of a snapshot, and the rows with results that changed since the previous one."""
        self._draw_totals(snapshot)
        for number, block in enumerate(self.blocks):
            if self._has_changed(snapshot, block.squares):
                self._draw_block(snapshot, number, block)
        for stage in stages(snapshot):
            if stage["squares"] and self._has_changed(snapshot, stage["squares"]):
                self._put(snapshot, f"made-{stage['family']}", self._macros.made, stage, snapshot.facts)
        self._drawn_revision = snapshot.revision
        return Drawing(dict(self._parts), dict(self._changed), max(self._changed.values()))

    def _draw_totals(self, snapshot: Snapshot) -> None:
        states = [facts["state"] for facts in snapshot.facts.values()]
        totals = {kind: states.count(kind) for kind in KINDS}
        self._put(snapshot, "title", self._macros.title, totals)
        self._put(snapshot, "sum", self._macros.done_bar, totals)
        self._put(snapshot, "stages", self._macros.stages_table, stages(snapshot))
        running = [(digits, facts) for digits, facts in snapshot.facts.items() if facts["state"] == "running"]
        self._put(snapshot, "running", self._macros.running, running, _LIST_LENGTH)
        urgent = [(digits, facts) for digits, facts in snapshot.facts.items() if facts["state"] in _URGENT]
        urgent.sort(key=lambda pair: _URGENT.index(pair[1]["state"]))
        self._put(snapshot, "attention", self._macros.attention, urgent, _LIST_LENGTH)
        for kind, number in totals.items():
            self._put(snapshot, f"count-{kind}", self._macros.count, number)

    def _draw_block(self, snapshot: Snapshot, number: int, block: Block) -> None:
        done = sum(snapshot.facts[square.digits]["state"] == "done" for square in block.squares)
        self._put(snapshot, f"tally-{number}", self._macros.tally, done, len(block.squares))
        for position, (name, cells) in enumerate(block.rows.items()):
            if self._has_changed(snapshot, [square for of_cell in cells.values() for square in of_cell]):
                self._put(snapshot, f"row-{number}-{position}", self._macros.row, block, name, snapshot.facts)

    def _has_changed(self, snapshot: Snapshot, squares: Sequence[Square]) -> bool:
        return any(snapshot.changed[square.digits] > self._drawn_revision for square in squares)

    def _put(self, snapshot: Snapshot, id_: str, macro: Any, *values: Any) -> None:
        """Draw a part; its revision stays if its HTML does."""
        html = macro(id_, *values)
        if self._parts.get(id_) != html:
            self._parts[id_], self._changed[id_] = html, snapshot.revision
