"""One small drawing as SVG to stand inside a page: its colours are the page's own, light or dark.

matplotlib draws in placeholders, which become CSS variables; text stays text, in the page's font. Each drawing is as
wide as a phone, so that a figure of several is a row of them on a desk and a column in a hand.
"""

import contextlib
import io
import math
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from jaxpeft.training.canvas import without_font_cache_warning

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, GRID, PAPER = "#010101", "#020202", "#030303", "#040404"
SERIES = tuple(f"#0a0a{number:02x}" for number in range(1, 11))  # --c1 to --c10 of the page
MARKERS = "os^Dvp*X"
SIGNS = "●■▲◆▼⬟★✖"  # the same in text
WIDTH, HEIGHT = 3.7, 2.75  # inches
_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--rule", PAPER: "--paper"} | {
    colour: f"--c{number}" for number, colour in enumerate(SERIES, start=1)
}
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "jaxpeft",  # the same drawing, the same bytes
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "text.color": INK,
    "axes.titlecolor": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.parse_math": False,  # a name may hold a dollar sign
    "axes.unicode_minus": True,
}


class Drawing:
    """A drawing that is being made: `axes` until the context ends, `svg` from then on."""

    axes: "Axes"
    svg: str = ""


@contextlib.contextmanager
def drawing(name: str, title: str, description: str, height: float = HEIGHT) -> Iterator[Drawing]:
    """Axes to draw on; on leaving, an <svg> with `title` and `description` as its alternative text.

    `name` is the drawing's own within the page: letters, digits, `_` and `-`.
    """
    with without_font_cache_warning():
        from matplotlib import style
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        made = Drawing()
        made.axes = figure.subplots()
        yield made
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        made.svg = _for_page(file.getvalue(), name, title, description)


def count(value: float, _: object = None) -> str:
    """1234567 -> `1.2M`, for axes and tables."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def operations(value: float, _: object = None) -> str:
    """3.2e15 -> `3.2 PFLOP`."""
    for size, unit in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G")):
        if value >= size:
            return f"{value / size:.3g} {unit}FLOP"
    return f"{value:.3g} FLOP"


def seconds(value: float, _: object = None) -> str:
    """90 -> `1.5 min`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} s"


def size(value: float, _: object = None) -> str:
    """310343 -> `303 KiB`."""
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if value >= 1024**power:
            return f"{value / 1024**power:.3g} {unit}"
    return f"{value:.0f} B"


ROUND_COUNTS = tuple(digit * 10.0**power for power in range(13) for digit in (1, 2, 5))
ROUND_SECONDS = (
    1,
    2,
    5,
    10,
    20,
    30,
    *(60 * n for n in (1, 2, 5, 10, 20, 30)),
    *(3600 * n for n in (1, 2, 5, 12, 24, 72)),
)


def round_between(low: float, high: float, steps: Sequence[float]) -> list[float]:
    """The values of `steps` from low to high; of many the powers of ten, or every second (third, ...) of them."""
    found = [step for step in steps if low <= step <= high]
    tens = [step for step in found if math.log10(step).is_integer()]
    return few(tens if len(found) > 6 and len(tens) > 2 else found)


def few(values: Sequence[float], most: int = 5) -> list[float]:
    """The values, or every second (third, ...) of them where an axis has no room for all."""
    distinct = sorted(set(values))
    return distinct[:: max(1, -(-len(distinct) // most))]


def _for_page(svg: str, name: str, title: str, description: str) -> str:
    """Of a whole SVG file the element alone, with the page's colours and font, and names of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    svg = re.sub(r"(font(?:-family)?: [^;\"]*?)'DejaVu Sans'[^;\"]*", r"\1var(--font)", svg)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{name}-", svg)
    labels = f"{name}-title {name}-about"
    shape = re.search(r'viewBox="[^"]*"', svg)
    about = f'<title id="{name}-title">{_text(title)}</title><desc id="{name}-about">{_text(description)}</desc>'
    opening = f'<svg class="chart" role="img" aria-labelledby="{labels}" {shape[0] if shape else ""}>{about}'
    return re.sub(r"<svg[^>]*>", lambda _: opening, svg, count=1).replace("xlink:href", "href").strip()


def _text(value: str) -> str:
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
