"""What all figures of a report share: what a figure is, the colour of each method and the shape of each model."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from jaxpeft.study import chart, names
from jaxpeft.study.findings import Findings, TaskFindings
from jaxpeft.study.systems import System

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Table = list[list[Any]]  # a heading and rows


@dataclasses.dataclass(frozen=True)
class Figure:
    """One figure: `name` is its anchor and its CSV's, `keys` are (sign, CSS colour, text)."""

    name: str
    title: str
    lede: str  # what to see, for a reader in a hurry
    drawings: list[str]
    keys: list[tuple[str, str, str]]
    table: Table


@dataclasses.dataclass(frozen=True)
class Palette:
    """The colour of each method and the shape of each model."""

    methods: list[str]
    models: list[str]
    shapes: list[str]  # models' domains, or the models where they are of one domain
    by_domain: bool

    @classmethod
    def of(cls, found: Findings) -> "Palette":
        """Full fine-tuning, LoRA and IA3 have the same colours in every report."""
        systems = [row.system for one in found.tasks for row in one.rows]
        systems += [point.cell.system for one in found.tasks for points in one.curves.values() for point in points]
        used = dict.fromkeys(system.method for system in systems)
        known = [name for name in names.METHODS if name in used]
        models = list(dict.fromkeys(system.model for system in systems))
        domains = list(dict.fromkeys(names.domain(system.ref) for system in systems))
        by_domain = len(domains) > 1 and "unknown" not in domains
        methods = [*known, *(name for name in used if name not in known)]
        return cls(methods, models, domains if by_domain else models, by_domain)

    def colour(self, method: str) -> str:
        """For matplotlib."""
        return chart.SERIES[self.methods.index(method) % len(chart.SERIES)]

    def marker(self, system: System) -> str:
        """For matplotlib."""
        return chart.MARKERS[self._shape(system) % len(chart.MARKERS)]

    def _shape(self, system: System) -> int:
        return self.shapes.index(names.domain(system.ref) if self.by_domain else system.model)

    def keys(self, systems: Iterable[System]) -> list[tuple[str, str, str]]:
        """What the colours mean, then what the shapes mean where there are several."""
        systems = list(systems)
        methods = [one for one in self.methods if any(system.method == one for system in systems)]
        keys = [
            ("●", f"var(--c{self.methods.index(one) % len(chart.SERIES) + 1})", names.method(one)) for one in methods
        ]
        shapes = sorted({self._shape(system) for system in systems})
        if len(shapes) > 1:
            say = str if self.by_domain else names.model
            suffix = " texts" if self.by_domain else ""
            keys += [
                (chart.SIGNS[one % len(chart.SIGNS)], "var(--muted)", say(self.shapes[one]) + suffix) for one in shapes
            ]
        return keys


def draw_point(axes: "Axes", x: float, score: Any, colour: str, marker: str) -> None:
    """A score with its interval."""
    if score.low is not None:
        axes.plot([x, x], [score.low, score.high], color=colour, linewidth=1.4, alpha=0.55, solid_capstyle="round")
    axes.plot(x, score.value, marker, color=colour, markersize=6.5, markeredgecolor=chart.PAPER, markeredgewidth=0.7)


def majority_line(axes: "Axes", one: TaskFindings) -> None:
    """What is reached without a model, where that is near enough to be seen beside the scores."""
    low, high = axes.get_ylim()
    room = high - low if axes.get_autoscaley_on() else 0.0
    if one.majority is not None and low - room < one.majority < high:
        axes.axhline(one.majority, color=chart.MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
        axes.annotate(
            "without a model", (1, one.majority), xycoords=("axes fraction", "data"), xytext=(0, 2),
            textcoords="offset points", ha="right", va="bottom", fontsize=7.5, color=chart.MUTED,
        )  # fmt: skip


def log_axis(axes: "Axes", values: Sequence[float], ticks: Sequence[float], show: Callable[..., str]) -> None:
    """A logarithmic axis across with words at `ticks` alone, and no narrower than a factor of three."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = min(values), max(values)
    room = max((high / low) ** 0.08, (3 * low / high) ** 0.5)
    axes.set_xscale("log")
    axes.set_xlim(low / room, high * room)
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if low / room <= tick <= high * room]))
    axes.xaxis.set_major_formatter(FuncFormatter(show))
    axes.xaxis.set_minor_locator(NullLocator())
