"""The report's figures, in the order of the page. One whose axis the study does not vary is left out."""

from jaxpeft.study.by_task import by_task
from jaxpeft.study.findings import Findings
from jaxpeft.study.palette import Figure, Palette
from jaxpeft.study.rows import calibration, reuse
from jaxpeft.study.scatter import COST, SIZE, scatter
from jaxpeft.study.sweeps import budget, curves


def figures_of(found: Findings) -> list[Figure]:
    """The figures that the study has the runs for, in the order of the page."""
    palette = Palette.of(found)
    made = [
        by_task(found, palette),
        scatter(found, palette, SIZE),
        scatter(found, palette, COST),
        reuse(found, palette),
        curves(found, palette, "rank"),
        curves(found, palette, "few_shot"),
        budget(found, palette),
        calibration(found, palette),
    ]
    return [figure for figure in made if figure is not None]
