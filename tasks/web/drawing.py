"""The grid's page in parts: what a browser gets at first is all of them, and afterwards those that have changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roar_pipeline.cache.states import KINDS
from tasks.web.grid import Block, Square, blocks, stages
from tasks.web.templates import Templates
from tasks.web.watch import Snapshot, Watch

__all__ = ["ROWS", "Drawing", "Painter"]

ROWS = ("stages", "row-", "made-")
"""How the ids of parts begin that are rows of a table."""
_LISTED = 20
"""Results that a list names."""
_TROUBLE = ("failed", "damaged", "interrupted")
"""States that somebody should look at, the most urgent first."""


@dataclass(frozen=True)
class Drawing:
    """The page at one moment."""

    parts: Mapping[str, str]
    """HTML of an element by its id, in the order of the page."""
    changed: Mapping[str, int]
    """The revision in which a part changed last."""
    revision: int
    """The latest of them."""

    def since(self, revision: int) -> dict[str, str]:
        """Return the parts that have changed after a revision."""
        return {id_: html for id_, html in self.parts.items() if self.changed[id_] > revision}


class Painter:
    """Draws the parts of a grid's page, and remembers in which revision each of them changed."""

    def __init__(self, templates: Templates, watch: Watch) -> None:
        self.blocks: Sequence[Block] = blocks(watch.cells)
        self._macros = templates.macros("parts")
        self._parts: dict[str, str] = {}
        self._changed: dict[str, int] = {}
        self._drawn = -1
        """The revision of the snapshot that was drawn last."""

    def draw(self, snapshot: Snapshot) -> Drawing:
        """Draw a snapshot: what it sums up, and the rows of results that have changed since the last one."""
        self._draw_sums(snapshot)
        for number, block in enumerate(self.blocks):
            if self._is_new(snapshot, block.squares):
                self._draw_block(snapshot, number, block)
        for stage in stages(snapshot):
            if stage["squares"] and self._is_new(snapshot, stage["squares"]):
                self._put(snapshot, f"made-{stage['family']}", self._macros.made, stage, snapshot.facts)
        self._drawn = snapshot.revision
        return Drawing(dict(self._parts), dict(self._changed), max(self._changed.values()))

    def _draw_sums(self, snapshot: Snapshot) -> None:
        states = [facts["state"] for facts in snapshot.facts.values()]
        sums = {kind: states.count(kind) for kind in KINDS}
        self._put(snapshot, "title", self._macros.title, sums)
        self._put(snapshot, "sum", self._macros.sum_of, sums)
        self._put(snapshot, "stages", self._macros.stages_table, stages(snapshot))
        running = [(digits, facts) for digits, facts in snapshot.facts.items() if facts["state"] == "running"]
        self._put(snapshot, "running", self._macros.running, running, _LISTED)
        trouble = [(digits, facts) for digits, facts in snapshot.facts.items() if facts["state"] in _TROUBLE]
        trouble.sort(key=lambda each: _TROUBLE.index(each[1]["state"]))
        self._put(snapshot, "attention", self._macros.attention, trouble, _LISTED)
        for kind, number in sums.items():
            self._put(snapshot, f"count-{kind}", self._macros.count, number)

    def _draw_block(self, snapshot: Snapshot, number: int, block: Block) -> None:
        done = sum(snapshot.facts[square.digits]["state"] == "done" for square in block.squares)
        self._put(snapshot, f"tally-{number}", self._macros.tally, done, len(block.squares))
        for position, (name, cells) in enumerate(block.rows.items()):
            if self._is_new(snapshot, [square for of_cell in cells.values() for square in of_cell]):
                self._put(snapshot, f"row-{number}-{position}", self._macros.row, block, name, snapshot.facts)

    def _is_new(self, snapshot: Snapshot, squares: Sequence[Square]) -> bool:
        return any(snapshot.changed[square.digits] > self._drawn for square in squares)

    def _put(self, snapshot: Snapshot, id_: str, macro: Any, *values: Any) -> None:
        """Draw a part; one that looks as before keeps its revision."""
        html = macro(id_, *values)
        if self._parts.get(id_) != html:
            self._parts[id_], self._changed[id_] = html, snapshot.revision
