"""What explains the differences, as the report has it: a sentence, and a table for each experiment and task."""

from collections.abc import Sequence
from typing import Any

from jaxpeft.study import names
from jaxpeft.study.cells import NOTHING, Cell, Strip, Table
from jaxpeft.study.factors import INTERACTIONS, SEEDS, Explained, Share


def factors_sentence(explained: Sequence[Explained]) -> str:
    """What the experiment with the most runs says, in a sentence; empty where none can be taken apart."""
    whole = [one for one in explained if one.shares]
    if not whole:
        return ""
    one = max(whole, key=lambda one: one.runs)
    first, *others = sorted(one.shares, key=lambda share: -share.part.share)
    others = [share for share in others if share.part.share >= 0.005]
    rest = f"; {', '.join(f'{_named(share)} {_percent(share.part.share)}' for share in others)}" if others else ""
    return (
        f"Of how scores differ on {one.task.title} in the experiment “{one.experiment}”, {_named(first)} "
        f"{'explain' if first.title.endswith('s') else 'explains'} {_percent(first.part.share)}{_within(first)}{rest}."
    )


def left_out(explained: Sequence[Explained]) -> str:
    """The experiments that could not be taken apart, and why."""
    told = [f"“{one.experiment}” on {one.task.title}: {one.left_out}" for one in explained if one.left_out]
    needed = "as many seeds in every combination of settings, and scores that differ"
    return f"Left out, since this needs {needed}: {'; '.join(told)}." if told else ""


def factors_table(one: Explained) -> Table:
    """The shares of one experiment on one task, the factors first."""
    rows = [_row(share) for share in one.shares]
    rows += [_row(share, below="overlaps with rank and alpha") for share in one.overlapping]
    raw: list[list[Any]] = [["experiment", "task", "metric", "factor", "overlaps", "levels", "degrees_of_freedom"]]
    raw[0] += ["share", "low", "high", "eta_squared", "seeds", "runs"]
    for share in (*one.shares, *one.overlapping):
        part, overlaps = share.part, int(share in one.overlapping)
        line = [one.experiment, one.task.slug, one.task.metric, share.name, overlaps, share.levels, part.freedom]
        raw.append([*line, part.share, part.low, part.high, part.eta_squared, one.seeds, one.runs])
    seeds = "one seed each" if one.seeds == 1 else f"{one.seeds} seeds each"
    caption = (
        f"Shares of the variance of {names.metric(one.task.metric)} on the test split, {one.runs} runs, {seeds}. "
        "A setting’s share is what it does on average over the others, less what chance would give it; interactions "
        f"are what settings do together beyond that. {one.note}"
    )
    headings = ["Factor", "Levels", "Share of the variance", "95 % interval"]
    slug = "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in one.experiment)
    return Table(f"factors_{slug}_{one.task.slug}", caption.strip(), headings, rows, raw)


def _row(share: Share, below: str = "") -> list[Cell]:
    part = share.part
    known = part.low is not None and part.high is not None
    strip = Strip(max(part.share, 0.0), part.low, part.high, None)
    return [
        Cell(share.title[:1].upper() + share.title[1:], below=below),
        Cell(NOTHING if share.levels is None else str(share.levels), number=True),
        Cell(_percent(part.share), number=True, strong=part.low is not None and part.low > 0 and not _is_rest(share)),
        Cell(f"{_percent(part.low)} to {_percent(part.high)}" if known else NOTHING, number=True, strip=strip),
    ]


def _is_rest(share: Share) -> bool:
    return share.name.endswith(SEEDS)


def _named(share: Share) -> str:
    return f"the {share.title}" if share.name in (INTERACTIONS, SEEDS) or _is_rest(share) else share.title


def _within(share: Share) -> str:
    low, high = share.part.low, share.part.high
    if low is None or high is None:
        return " of the variance"
    return f" of the variance (95 % interval {_percent(low)} to {_percent(high)})"


def _percent(share: float | None) -> str:
    """0.614 -> `61 %`; what is below 0 by chance is 0."""
    return NOTHING if share is None else f"{100 * max(share, 0.0):.0f} %"
