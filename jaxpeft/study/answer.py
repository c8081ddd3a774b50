"""The study's question answered in a sentence or two that its statistics support, and what they do not say."""

from jaxpeft.study.findings import Findings, MethodFindings, reference_settings, reference_title
from jaxpeft.study.statistics import Estimate

MINUS = "−"


def answer(found: Findings) -> str:
    """One to three sentences of plain text."""
    if not found.finished:
        return "No run has finished yet, so there is nothing to answer."
    if not found.tasks:
        return "No finished run has a score on its test split, so there is nothing to answer."
    if not found.methods:
        said = "No two methods were run on the same model and task, so no method can be told from another."
        return f"{said} {_leaders(found)}".strip()
    most = max(one.pairs for one in found.methods)
    leader = next(one for one in found.methods if one.pairs == most)  # the best of those with the most evidence
    return " ".join(filter(None, [_verdict(found, leader), _pairs(leader), _leaders(found)]))


def caveats(found: Findings) -> list[str]:
    """What a reader must know before believing a number, most important first."""
    fewest, most = found.seeds
    said = []
    if fewest == 1:
        who = "Every system was" if most == 1 else "Some systems were"
        said.append(
            f"{who} trained with one seed. Those intervals and tests are over test patients or documents alone: "
            "they compare trained models, not methods, and another seed may turn an order round."
        )
    if fewest > 1:
        seeds = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        said.append(f"Intervals of 95 % hold test patients or documents, and the seeds of training ({seeds} a system).")
    if any(one.task.synthetic for one in found.tasks):
        said.append(
            "Tasks marked “twin” are generated stand-ins for corpora that may not be shared. They compare "
            "methods on generated text; how good a system is on real notes they do not say."
        )
    if few := [one.task.title for one in found.tasks if one.few_clusters]:
        said.append(f"Fewer than 100 test patients or documents, so that intervals are too narrow: {', '.join(few)}.")
    tests = sum(one.pairs for one in found.methods) + sum(max(len(one.rows) - 1, 0) for one in found.tasks)
    if tests > 1:
        said.append(f"Each of {tests} paired tests is at the level of 5 %; nothing corrects for their number.")
    chosen = reference_settings(found.averaged_tasks, found.reference or "")
    if several := [system.title for system, settings in chosen.items() if settings > 1 and found.methods]:
        said.append(f"Methods are compared with the setting that validates best: {', '.join(several)}.")
    if any(one.pairs > 1 for one in found.methods) and len(found.averaged_tasks) > 1:
        said.append(
            "Averages over tasks take their test patients for different ones: where tasks share patients (those of one "
            "corpus do), the intervals of averages are too narrow."
        )
    if missing := [row for one in found.tasks for row in one.rows if row.score.low is None]:
        said.append(f"{_count(len(missing), 'score')} without an interval: predictions are missing or do not give it.")
    if len({device for one in found.tasks for row in one.rows for device in row.cost.devices}) > 1:
        said.append("Runs were made on different devices: compare their seconds with care.")
    unfinished = len(found.runs) - len(found.finished) - len(found.failed)
    if found.failed or unfinished:
        parts = [f"{_count(len(found.failed), 'run')} failed"] if found.failed else []
        parts += [f"{_count(unfinished, 'run')} did not finish"] if unfinished else []
        said.append(f"{' and '.join(parts)}; the rest is what this page is about.")
    return said


def points(value: float) -> str:
    """0.0123 -> `+1.2`: hundredths of a score."""
    return f"{100 * value:+.1f}".replace("-", MINUS)


def interval(found: Estimate) -> str:
    """`−2.0 to −0.4`, in points; empty without one."""
    return "" if found.low is None or found.high is None else f"{points(found.low)} to {points(found.high)}"


def share(value: float) -> str:
    """0.0034 -> `0.34 %`, 0.61 -> `61 %`, 1.4 -> `1.4 times`."""
    if value >= 1.095:
        return f"{value:.1f} times"
    return f"{100 * value:.0f} %" if value >= 0.095 else f"{100 * value:.2g} %"


def _verdict(found: Findings, one: MethodFindings) -> str:
    reference, gap = reference_title(found), one.difference
    size = f"{abs(100 * gap.value):.1f} points"
    if gap.low is None or gap.high is None:
        said = f"{one.title} differs from {reference} by {points(gap.value)} points on average, untested"
    elif gap.low > 0:
        said = f"{one.title} scores {size} above {reference} on average (95 % interval {interval(gap)})"
    elif gap.high < 0:
        said = f"{one.title} scores {size} below {reference} on average (95 % interval {interval(gap)})"
    else:
        said = (
            f"{one.title} is not told apart from {reference}: "
            f"{points(gap.value)} points on average (95 % interval {interval(gap)})"
        )
    parts = [f"{share(one.trained)} of the trained parameters" if one.trained is not None else ""]
    parts.append(f"{share(one.seconds)} of the training time" if one.seconds is not None else "")
    costs = " and ".join(filter(None, parts)).replace("times of", "times")
    said = f"With one seed, {said}" if gap.seeds == 1 else said
    return f"{said}, with {costs}." if costs else f"{said}."


def _pairs(one: MethodFindings) -> str:
    if one.pairs == 1:
        return ""
    undecided = one.pairs - one.better - one.worse
    return (
        f"Over {one.pairs} pairs of a model and a task it is better in {one.better or 'none'}, "
        f"worse in {one.worse or 'none'} and not told apart in {undecided or 'none'}."
    )


def _leaders(found: Findings) -> str:
    """The systems that lead a task by paired tests; of several tasks, on how many one does, and which."""
    tasks = found.averaged_tasks
    led = [row.system for one in tasks for row in one.rows if row.best]
    if len(tasks) == 1 and led:
        return f"The best system is {led[0].title}, ahead of each other one by a paired test."
    compared = [one for one in tasks if len(one.rows) > 1]
    if not compared:
        return ""
    if not led:
        return f"No system is ahead of all others by paired tests{' on any task' if len(compared) > 1 else ''}."
    if len(compared) == 1:
        return ""
    same = len(set(led)) == 1
    who = led[0].title if same else "Some system"
    which = "" if same else ", not the same one on all"
    return f"{who} is ahead of all others by paired tests on {len(led)} of {len(compared)} tasks{which}."


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
