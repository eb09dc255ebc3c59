"""The HTML templates of the pages; text from data, settings and logs is escaped."""

import datetime
from pathlib import Path
from typing import Any

import jinja2

from roar_pipeline.cache.states import KINDS
from tasks.web.grid import label

__all__ = ["STATIC", "Templates"]

STATIC = {
    path.name: path.read_bytes() for path in sorted((Path(__file__).parent / "static").iterdir()) if path.is_file()
}
"""Style, script and icon by file name."""


class Templates:
    """The templates of the folder beside this module."""

    def __init__(self) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals |= {"KINDS": KINDS, "label": label}
        self._environment.filters["clock"] = _clock

    def render(self, name: str, **values: Any) -> str:
        """Return a page."""
        return self._environment.get_template(f"{name}.html.jinja").render(**values)

    def macros(self, name: str) -> Any:
        """Return a template's macros, as functions that return HTML."""
        return self._environment.get_template(f"{name}.html.jinja").module


def _clock(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
