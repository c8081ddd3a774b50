"""What every picture is drawn on: our colours and style, whatever the user's matplotlib is set to.

matplotlib takes half a second to import, so it is imported where it draws, and only through its object
API: no pyplot, no window, no global state left changed.
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAYOUT: Literal["constrained"] | None = "constrained"
SAVING: dict[str, Any] = {"dpi": 150, "bbox_inches": "tight", "pad_inches": 0.12}
# Okabe and Ito's palette, told apart by colour-blind readers.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#5F6670"
CURVES = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
_LONGEST_NAME = 24  # characters of a label on an axis
_STYLE = {
    "font.size": 9.5,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelcolor": GREY,
    "axes.edgecolor": "#B5BAC0",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "grid.color": "#E6E8EB",
    "text.parse_math": False,  # a label may hold a dollar sign
}


@contextlib.contextmanager
def canvas(size: tuple[float, float], path: str | Path) -> Iterator["Figure"]:
    """A figure of `size` inches in our style, whatever the user's matplotlibrc says, saved to `path` on leaving."""
    with without_font_cache_warning():
        from matplotlib import style
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=size, layout=LAYOUT)
        FigureCanvasAgg(figure)
        yield figure
        figure.savefig(path, **SAVING)


@contextlib.contextmanager
def without_font_cache_warning() -> Iterator[None]:
    """Keep matplotlib's import quiet where HOME is read-only: its font cache then goes to a temporary folder."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def shortened(name: str) -> str:
    """A label that fits on an axis."""
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
