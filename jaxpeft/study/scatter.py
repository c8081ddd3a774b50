"""Figures of quality against size and against cost, with the systems that no other one beats in both."""

import dataclasses
from collections.abc import Callable, Sequence

from jaxpeft.study import chart, names
from jaxpeft.study.costs import Cost
from jaxpeft.study.findings import Findings, Row, TaskFindings
from jaxpeft.study.palette import Figure, Palette, Table, draw_point, log_axis, majority_line


@dataclasses.dataclass(frozen=True)
class Across:
    """What a scatter of scores has across."""

    name: str
    title: str
    lede: str
    label: str
    column: str
    value: Callable[[Cost], float | None]
    show: Callable[..., str]
    steps: Sequence[float]  # values that read well
    front: bool  # draw the systems that no other one beats in both


SIZE = Across(
    name="size",
    title="Quality against trained parameters",
    lede="Further left trains less, higher up scores better; bars are intervals of 95 %.",
    label="trained parameters, adapter and head",
    column="trainable_params",
    value=lambda cost: cost.trained,
    show=chart.count,
    steps=chart.ROUND_COUNTS,
    front=False,
)
COST = Across(
    name="cost",
    title="Quality against cost",
    lede="The stepped line is the Pareto front: no system of the study is both faster to train and better than one on "
    "it. Rings mark those systems.",
    label="training time, without compilation and evaluation",
    column="train_s",
    value=lambda cost: cost.seconds,
    show=chart.seconds,
    steps=chart.ROUND_SECONDS,
    front=True,
)


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Places of the (cost, score) that none beats in both: the cheapest first. Of two that are equal, the first."""
    front: list[int] = []
    for place in sorted(range(len(points)), key=lambda place: (points[place][0], -points[place][1])):
        if not front or points[place][1] > points[front[-1]][1]:
            front.append(place)
    return front


def scatter(found: Findings, palette: Palette, across: Across) -> Figure | None:
    """A drawing for each task that has two systems; None where none has."""
    drawings, systems = [], []
    table: Table = [["task", "model", "method", across.column, "metric", "score", "low", "high", "on_front"]]
    for one in found.tasks:
        points = [(value, row) for row in one.rows if (value := across.value(row.cost))]
        if len(points) < 2 or len({value for value, _ in points}) < 2:
            continue
        front = pareto([(value, row.score.value) for value, row in points]) if across.front else []
        drawings.append(_draw_scatter(one, points, front, palette, across))
        systems += [row.system for _, row in points]
        for place, (value, row) in enumerate(points):
            who = [one.task.slug, row.system.model, row.system.method_title, value, one.task.metric]
            on_front = int(place in front) if across.front else None
            table.append([*who, row.score.value, row.score.low, row.score.high, on_front])
    if not drawings:
        return None
    return Figure(across.name, across.title, across.lede, drawings, palette.keys(systems), table)


def _draw_scatter(
    one: TaskFindings, points: list[tuple[float, Row]], front: list[int], palette: Palette, across: Across
) -> str:
    metric = names.metric(one.task.metric)
    told = "; ".join(f"{row.system.title} {row.score.value:.3f} at {across.show(value)}" for value, row in points)
    title = f"{one.task.title}: {metric} against {across.label}"
    with chart.drawing(f"{across.name}-{one.task.slug}", title, f"{told}.") as made:
        axes = made.axes
        if front:
            xs, ys = zip(*[(points[place][0], points[place][1].score.value) for place in front], strict=True)
            axes.step(xs, ys, where="post", color=chart.MUTED, linewidth=1.0, zorder=1)
            axes.plot(xs, ys, "o", markersize=11, color="none", markeredgecolor=chart.MUTED, markeredgewidth=0.8)
        for value, row in points:
            draw_point(axes, value, row.score, palette.colour(row.system.method), palette.marker(row.system))
        values = [value for value, _ in points]
        log_axis(axes, values, chart.round_between(min(values) / 2, max(values) * 2, across.steps), across.show)
        majority_line(axes, one)
        axes.set(title=one.task.title, xlabel=across.label, ylabel=metric)
    return made.svg
