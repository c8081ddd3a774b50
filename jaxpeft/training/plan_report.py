"""What `--mode=plan` prints."""

from collections.abc import Iterator

from jaxpeft.training.plan import Plan
from jaxpeft.training.plan_memory import MOST
from jaxpeft.training.report import aligned


def plan_table(plan: Plan) -> str:
    """A plan as text for a terminal: parameters, memory, batches that fit, work and time, and what is assumed."""
    parts = [_heading(plan), _parameters(plan), _memory(plan)]
    if plan.fit is not None:
        parts.append("\n".join(_fit(plan)))
    parts.append(_work(plan))
    parts.append("\n".join(["assumed", *(f"- {note}" for note in plan.assumptions)]))
    return "\n\n".join(parts) + "\n"


def _heading(plan: Plan) -> str:
    config, settings = plan.config, plan.config.train
    passes = "" if settings.accumulate == 1 else f" x {settings.accumulate} passes"
    return (
        f"{config.name}: {config.peft.method} on {config.model.ref} in {config.model.dtype}, {plan.classes} classes, "
        f"batches of {settings.batch_size}{passes} (evaluation {settings.eval_batch_size}) x {config.data.max_length} "
        f"tokens, {plan.devices} device{'s' * (plan.devices > 1)}"
    )


def _parameters(plan: Plan) -> str:
    total = sum(plan.counts.values())
    rows = [["parameters", "count", "share"]]
    rows += [[label, f"{count:,}", f"{count / total:.3%}"] for label, count in plan.counts.items()]
    return aligned([*rows, ["total", f"{total:,}", ""]])


def _memory(plan: Plan) -> str:
    totals = sum(plan.training.values()), sum(plan.evaluation.values())
    unit, size = ("GiB", 2**30) if max(totals) >= 10 * 2**30 else ("MiB", 2**20)

    def cells(*values: int) -> list[str]:
        return [f"{value / size:,.2f}" for value in values]

    rows = [[f"memory of a device, {unit}", "training", "evaluation"]]
    rows += [[role, *cells(plan.training[role], plan.evaluation[role])] for role in plan.training]
    return aligned([*rows, ["total", *cells(*totals)]])


def _fit(plan: Plan) -> Iterator[str]:
    assert plan.fit is not None
    yield f"largest batches in {plan.fit.source}"
    for field, batch in plan.fit.batches.items():
        more = " or more" if batch >= MOST * plan.devices else ""
        yield f"{field:21}  {batch:,}{more}" if batch else f"{field:21}  none: a single text takes more"


def _work(plan: Plan) -> str:
    work = plan.work
    rows = [["work", "TFLOP", "time"]]
    named = {
        "a step at full length": work.step,
        f"an epoch: {plan.examples:,} examples, {work.steps_per_epoch:,} steps": work.epoch,
        f"the run: {work.steps:,} steps": work.run,
    }
    rows += [[name, f"{flops / 1e12:,.3f}", _duration(flops / plan.rate)] for name, flops in named.items()]
    return aligned(rows)


def _duration(seconds: float) -> str:
    """`0.123 s`, `45 s`, `12 min`, `3.4 h`, `2.1 days`: two or three digits."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.3g} s"
