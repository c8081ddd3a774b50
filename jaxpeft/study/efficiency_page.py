"""The report's table and figure of efficiency: skill over cost, beside the costs that it is made of."""

from collections.abc import Sequence
from typing import Any

from jaxpeft.study import chart, names
from jaxpeft.study.answer import share
from jaxpeft.study.cells import NOTHING, Cell, Table, numbers, or_nothing, strip_of
from jaxpeft.study.costs import mean_of
from jaxpeft.study.findings import TaskFindings
from jaxpeft.study.palette import Figure, Palette, draw_point, log_axis
from jaxpeft.study.palette import Table as Rows
from jaxpeft.study.standings import Place, Standing, Standings, efficiency_at, skill_at
from jaxpeft.study.statistics import Estimate

_ROUND = tuple(digit * 10.0**power for power in range(-6, 7) for digit in (1, 2, 5))
_TOLD = ("money", "memory_bytes", "storage_bytes", "flops")


def efficiency_table(standings: Standings, currency: str) -> Table:
    """Every system's efficiency over the tasks that have the reference, and its costs."""
    headings = ["System", "Efficiency", "95 % interval", "Skill", "Cost over the reference’s"]
    headings += [currency, "Memory", "On disk", "Operations", "Tasks"]
    columns = ["model", "method", "efficiency", "low", "high", "skill", "relative_cost", f"cost_{currency}"]
    raw: list[list[Any]] = [[*columns, "peak_bytes", "bytes", "flops", "tasks", "reference"]]
    shows = ("{:.2g}".format, chart.size, chart.size, chart.operations)
    ends = [end for one in standings.systems for end in _ends(one.efficiency)]
    rows = []
    for one in standings.systems:
        told = [_mean(one.places, name) for name in _TOLD]
        below = names.model(one.system.model) + (", the reference" if one.is_reference else "")
        rows.append(
            [
                Cell(one.system.method_title, below=below),
                Cell(f"{one.efficiency.value:.3g}", number=True),
                Cell(
                    _interval(one.efficiency), number=True, strip=strip_of(one.efficiency, None, (min(ends), max(ends)))
                ),
                Cell(f"{one.skill.value:.3f}", number=True),
                Cell(share(one.cost), number=True),
                *(Cell(or_nothing(value, show), number=True) for value, show in zip(told, shows, strict=True)),
                Cell(str(len(one.places)), number=True),
            ]
        )
        raw.append([*_who(one), *numbers(one.efficiency), one.skill.value, one.cost, *told])
        raw[-1] += [len(one.places), int(one.is_reference)]
    return Table("efficiency", _caption(standings), headings, rows, raw)


def efficiency_figure(standings: Standings, palette: Palette) -> Figure | None:
    """Skill against relative cost, a drawing for each task that has two systems; None where none has."""
    drawings = []
    table: Rows = [["task", "model", "method", "relative_cost", "skill", "efficiency", "low", "high", "seeds"]]
    for task in standings.tasks:
        places = [(one, place) for one in standings.systems for place in one.places if place.task is task]
        if len(places) < 2:
            continue
        drawings.append(_draw(task, places, palette))
        for one, place in places:
            found = efficiency_at(place)
            table.append([task.task.slug, *_who(one), place.cost, skill_at(place).value, *numbers(found), found.seeds])
    if not drawings:
        return None
    lede = (
        "Dotted lines join equal efficiency: whatever lies on a line to the upper left of another gives more for its "
        "cost. Bars are intervals of 95 % of the scores."
    )
    keys = palette.keys(one.system for one in standings.systems)
    return Figure("efficiency_by_task", "Skill against cost", lede, drawings, keys, table)


def _draw(task: TaskFindings, places: Sequence[tuple[Standing, Place]], palette: Palette) -> str:
    skills = [skill_at(place) for _, place in places]
    told = "; ".join(
        f"{one.system.title} {skill.value:.3f} at {share(place.cost)}"
        for (one, place), skill in zip(places, skills, strict=True)
    )
    title = f"{task.task.title}: skill against cost over the reference’s"
    with chart.drawing(f"efficiency-{task.task.slug}", title, f"{told}.") as made:
        axes = made.axes
        for (one, place), skill in zip(places, skills, strict=True):
            draw_point(axes, place.cost, skill, palette.colour(one.system.method), palette.marker(one.system))
        costs = [place.cost for _, place in places]
        log_axis(axes, costs, chart.round_between(min(costs) / 3, max(costs) * 3, _ROUND), "{:g}".format)
        axes.set_ylim(0, 1.08 * max(end for skill in skills for end in _ends(skill)) or 1.0)
        _draw_levels(axes)
        axes.set(title=task.task.title, xlabel="cost over the reference’s", ylabel="skill")
    return made.svg


def _draw_levels(axes: Any) -> None:
    """Lines of equal efficiency, each named where it leaves the drawing."""
    (left, right), (_, top) = axes.get_xlim(), axes.get_ylim()
    points = [left * (right / left) ** (step / 60) for step in range(61)]
    for level in chart.few([one for one in _ROUND if 0.3 * top / right < one < 0.9 * top / left], 4):
        ends = min(right, top / level)
        line = [x for x in points if x < ends] + [ends]
        axes.plot(line, [level * x for x in line], color=chart.MUTED, linewidth=0.7, linestyle=(0, (1, 2)), zorder=1)
        axes.annotate(
            f"{level:g}", (ends, level * ends), xytext=(-2, -1), textcoords="offset points", ha="right", va="top",
            fontsize=7.5, color=chart.MUTED,
        )  # fmt: skip


def _caption(standings: Standings) -> str:
    left_out = f" Left out: {' '.join(standings.left_out)}" if standings.left_out else ""
    return (
        "Efficiency is skill (the share of the way from the majority answer’s score to 1) over cost (the geometric "
        "mean of money, memory and bytes on disk, each over the reference system’s), on average over the tasks that "
        f"have the reference; intervals are those of the scores, costs are taken as measured.{left_out}"
    )


def _mean(places: Sequence[Place], name: str) -> float | None:
    return mean_of([value for one in places if (value := getattr(one.row.cost, name)) is not None])


def _who(one: Standing) -> list[Any]:
    return [one.system.model, one.system.method_title]


def _ends(found: Estimate) -> list[float]:
    return [end for end in numbers(found) if end is not None]


def _interval(found: Estimate) -> str:
    return NOTHING if found.low is None or found.high is None else f"{found.low:.3g} to {found.high:.3g}"
