r"""The same training on 1, 2 and 4 devices, through `pmap` and through a mesh: examples/s, and the share of linear.

LoRA on a model of random weights; one batch, cut over the devices, so that every number of them computes the same
steps. One device through `jit` is what linear is counted from. Each case has a process of its own; they take turns.

    python -m benchmarks.scaling --json=benchmarks/results/scaling.json                               # what is there
    JAX_PLATFORMS=cpu python -m benchmarks.scaling --fake --json=benchmarks/results/scaling_fake.json

With --fake the devices are parts of one processor, which has no more cores for them: that shows that nothing breaks,
and what cutting a batch costs, but no gain.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from benchmarks.random_models import Case, training
from benchmarks.turns import Report, Side, alternate, failed
from jaxpeft.models.shapes import SHAPES

SECONDS = 600.0  # that all cases together may take


def environment(devices: int, fake: bool) -> dict[str, str]:
    """Variables under which a process sees so many devices."""
    if fake:
        return {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, range(devices))), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


def compared(found: dict[str, dict[str, Any]], devices: dict[str, int]) -> list[dict[str, Any]]:
    """Rows with their share of linear: the rate over that of one device times their number."""
    rows = []
    one = next(iter(found.values()))
    for name, row in found.items():
        rows.append({"case": name, "devices": devices[name], **row})
        if not failed(row) and not failed(one):
            rows[-1]["share_of_linear"] = row["examples_per_s"] / one["examples_per_s"] / devices[name]
    return rows


def main() -> None:
    """Prints one table and writes one JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, nargs="+", default=[2, 4], help="beside one")
    parser.add_argument("--fake", action="store_true", help="parts of one processor")
    parser.add_argument("--model", choices=SHAPES, default="tinybert")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a turn")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    case = Case(arguments.model, arguments.batch, arguments.length, "auto", dtype=arguments.dtype)
    cases = {"jit x 1": ("jit", 1)}
    cases |= {f"{kind} x {count}": (kind, count) for count in arguments.devices for kind in ("pmap", "sharded")}
    sides = {
        name: Side(training, case, kind, environment=environment(count, arguments.fake))
        for name, (kind, count) in cases.items()
    }
    until = time.monotonic() + SECONDS
    found = alternate(sides, rounds=arguments.rounds, seconds=arguments.seconds, until=until)
    rows = compared(found, {name: count for name, (_, count) in cases.items()})
    settings = {name: value for name, value in vars(arguments).items() if name != "json"}
    Report(arguments.json, **settings).add(rows)
    print("case          examples/s  [range]             share of linear")
    for row in rows:
        if failed(row):
            print(f"{row['case']:12}  {row.get('error', row.get('left_out'))}")
            continue
        spread = "[{:.1f}, {:.1f}]".format(*row["range"])
        print(f"{row['case']:12}  {row['examples_per_s']:10.1f}  {spread:18}  {row['share_of_linear']:15.2f}")


if __name__ == "__main__":
    main()
