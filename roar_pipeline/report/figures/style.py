"""Style, colors and file format of all figures.

Figures are drawn on ``Figure`` objects without global state. Files hold no date and no version, so that equal numbers
give equal bytes. The colors of Okabe and Ito (2008) differ under the common color vision deficiencies; every model has
the same color in all figures.
"""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from roar_pipeline.cache.files import write_bytes

__all__ = ["INK", "PALE", "color", "saved_figure"]

_COLORS = {
    "teacher": "#0072B2",
    "plain": "#7A7A7A",
    "naive_kd": "#D55E00",
    "ewa": "#E69F00",
    "swa": "#009E73",
    "sswa": "#CC79A7",
}
_OTHER_COLORS = ("#56B4E9", "#8C564B", "#B8A800")
INK, PALE = "#222222", "#777777"

_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": PALE,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": PALE,
    "ytick.color": PALE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "pdf.fonttype": 42,
}


@contextlib.contextmanager
def saved_figure(*paths: Path, dpi: int = 200) -> Iterator[Figure]:
    """Yield a figure in the common style, and save it to the paths atomically."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure()
        yield figure
        for path in paths:
            undated = {"CreationDate": None, "Producer": None, "Creator": None}
            metadata: Any = undated if path.suffix == ".pdf" else {"Software": None}
            content = io.BytesIO()
            figure.savefig(content, dpi=dpi, format=path.suffix[1:], metadata=metadata)
            write_bytes(path, content)


def color(model: str | None) -> str:
    """Return a model's color; black for a control."""
    if model is None:
        return "#000000"
    loss = model.partition("/")[0]
    return _COLORS.get(loss) or _OTHER_COLORS[sum(map(ord, loss)) % len(_OTHER_COLORS)]
