"""Speed and memory on one GPU beside torch + PEFT: random weights of released sizes, batches of 480 tokens, bfloat16.

    python -m benchmarks.gpu --json=benchmarks/results/gpu.json                   # every part, the weightiest first
    python -m benchmarks.gpu --json=benchmarks/results/gpu.json --only=train      # those whose names begin so
    python -m benchmarks.gpu --json=FILE --toy                                    # each part in small, on any CPU

Needs jax, flax, optax, numpy, tokenizers, torch, transformers and peft; no network, no weights, no other files. A part
takes four minutes at most; its rows are in the JSON as soon as they are measured, and are not measured again by the
next call. What fails leaves its error as a row.

Each side has a process of its own, and the sides of a table take turns. Both train the same LoRA (rank 8, the head
too) from the same token ids, a quarter of the texts padded, with AdamW, clipping and dropout; the host assembles each
batch and moves it, and runs ahead of the device, as in real training. `utilisation` is what the matrices need by
formula (models/flops.py; nothing for what is recomputed) over the time and the rate of a plain bfloat16 product of the
model's own sizes, which takes turns with them. Attention weights drop at the model's own rate in one table, which
cuDNN's flash attention cannot do and XLA computes, and not at all in the other, where both kinds are measured.
"""

import argparse
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import random_attention, random_models
from benchmarks.random_models import Case
from benchmarks.turns import Report, Side, Work, alternate, failed

PART_SECONDS = 230.0
OURS, TORCH, COMPILED, PRODUCT = "jaxpeft", "torch + PEFT", "torch + PEFT, compiled", "plain product"
MODELS = ("bert-base", "tinybert", "distilbert", "mobilebert")
# Notes/s of the paper's recorded runs, its GPU not stated: training with LoRA and full, and prediction. arXiv
# 2402.10597's BioBERT, TinyBioBERT, BioDistilBERT, BioMobileBERT and Llama, mortality, 480 tokens.
PAPER: Mapping[str, Mapping[str, float]] = {
    "bert-base": {"lora": 55, "full": 45, "predict": 129},
    "tinybert": {"lora": 271, "full": 224, "predict": 491},
    "distilbert": {"lora": 102, "full": 87, "predict": 242},
    "mobilebert": {"lora": 89, "full": 74, "predict": 209},
    "llama-2-7b": {"lora": 6.9},
}
# JAX shares the card with torch's processes, so it takes what it needs as it needs it.
ENVIRONMENT = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclasses.dataclass(frozen=True)
class Table:
    """Sides that are compared. `apart`: one after the other, since they do not fit on a card together."""

    name: str
    model: str
    sides: Mapping[str, tuple[Any, ...]]  # name -> what makes its work, and the arguments
    apart: bool = False
    paper: float | None = None


def of(model: str, batch: int, length: int, toy: bool, **settings: Any) -> Callable[..., Case]:
    """A case, its kind of attention left open."""
    if toy:
        batch, length = 2, 16
    return functools.partial(Case, model, batch, length, toy=toy, **settings)


def torch_training(case: Case, compiled: bool) -> Work:
    """In its own process, which alone imports torch."""
    from benchmarks import random_peer

    return random_peer.training(case, compiled)


def torch_prediction(case: Case, compiled: bool) -> Work:
    """In its own process, which alone imports torch."""
    from benchmarks import random_peer

    return random_peer.prediction(case, compiled)


def training(model: str, toy: bool) -> Iterator[Table]:
    """LoRA, with attention weights dropped and not."""
    for name, rate in (("attention dropout", None), ("no attention dropout", 0.0)):
        case = of(model, 32, 480, toy, rate=rate)
        rows = {
            OURS: (random_models.training, case("auto")),
            TORCH: (torch_training, case("sdpa"), False),
            COMPILED: (torch_training, case("sdpa"), True),
            PRODUCT: (random_models.product, case("auto")),
        }
        if rate is None:
            rows[f"{TORCH}, plain attention"] = (torch_training, case("eager"), False)
        else:
            rows[f"{OURS}, XLA attention"] = (random_models.training, case("xla"))
        yield Table(f"train, {name}", model, rows, paper=PAPER[model]["lora"])


def llama(name: str, toy: bool) -> Iterator[Table]:
    """LoRA on the 7 billion of Llama 2: as it is, with layers that are recomputed, and beside a compiled peer."""
    case = functools.partial(of("llama-2-7b", 4, 480, toy), remat=name == "recomputing")
    rows = {OURS: (random_models.training, case("auto"))}
    if name == "compiled":
        rows[COMPILED] = (torch_training, case("sdpa"), True)
    else:
        rows |= {TORCH: (torch_training, case("sdpa"), False), PRODUCT: (random_models.product, case("auto"))}
    yield Table(f"train, {name}", "llama-2-7b", rows, apart=True, paper=PAPER["llama-2-7b"]["lora"])


def population(toy: bool) -> Iterator[Table]:
    """Eight runs in one step beside a single run."""
    for model, batch, length in (("tinybert", 32, 480), ("bert-base", 8, 128), ("tinybert", 8, 128)):
        case = of(model, batch, length, toy)("auto")
        rows = {
            "8 members": (random_models.population, case, 8),
            OURS: (random_models.training, case),
            PRODUCT: (random_models.product, case),
        }
        yield Table(f"population, {batch} x {length}", model, rows)


def attention(toy: bool) -> Iterator[Table]:
    """XLA beside cuDNN and torch, forward and backward, without dropout."""
    for model, batch in (("bert-base", 32), ("llama-2-7b", 4), ("mobilebert", 32)):
        case = of(model, batch, 480, toy)
        rows = {f"{OURS}, {kind}": (random_attention.ours, case(kind)) for kind in ("cudnn", "xla")}
        yield Table("attention", model, rows | {TORCH: (random_attention.torchs, case("sdpa"))})


def prediction(model: str, toy: bool) -> Iterator[Table]:
    """Forward passes of 64 texts."""
    case = of(model, 64, 480, toy)
    rows = {
        OURS: (random_models.prediction, case("auto")),
        TORCH: (torch_prediction, case("sdpa"), False),
        COMPILED: (torch_prediction, case("sdpa"), True),
        PRODUCT: (random_models.product, case("auto")),
    }
    yield Table("predict", model, rows, paper=PAPER[model]["predict"])


def waiting(toy: bool) -> Iterator[Table]:
    """How long the device waits for batches, from a profile of the smallest model's training."""
    for model in ("tinybert", "bert-base"):
        yield Table("waiting", model, {OURS: (random_models.traced_training, of(model, 32, 480, toy)("auto"))})


PARTS: Mapping[str, Callable[[bool], Iterator[Table]]] = {
    "train-bert-base": functools.partial(training, "bert-base"),
    "llama": functools.partial(llama, "as it is"),
    "llama-recomputing": functools.partial(llama, "recomputing"),
    "llama-compiled": functools.partial(llama, "compiled"),
    "train-tinybert": functools.partial(training, "tinybert"),
    "train-distilbert": functools.partial(training, "distilbert"),
    "attention": attention,
    "population": population,
    "waiting": waiting,
    "predict-bert-base": functools.partial(prediction, "bert-base"),
    "predict-tinybert": functools.partial(prediction, "tinybert"),
    "train-mobilebert": functools.partial(training, "mobilebert"),
    "predict-distilbert": functools.partial(prediction, "distilbert"),
    "predict-mobilebert": functools.partial(prediction, "mobilebert"),
}


def measure(table: Table, *, rounds: int, seconds: float, until: float) -> list[dict[str, Any]]:
    """A row a side."""
    groups = [{name: make} for name, make in table.sides.items()] if table.apart else [table.sides]
    found: dict[str, dict[str, Any]] = {}
    for number, group in enumerate(groups):
        now = time.monotonic()
        end = now + (until - now) / (len(groups) - number)  # each group has its share of what is left
        running = {name: Side(*make, environment=ENVIRONMENT) for name, make in group.items()}
        found |= alternate(running, rounds=min(rounds, 3) if table.apart else rounds, seconds=seconds, until=end)
    return [{"side": name, **row} for name, row in compared(found, table.paper).items()]


def compared(found: Mapping[str, dict[str, Any]], paper: float | None) -> dict[str, dict[str, Any]]:
    """Rows with their shares of a plain product's rate, and what ours is over each."""
    measured = {name: row for name, row in found.items() if not failed(row)}
    ours, product = measured.get(OURS), measured.get(PRODUCT)
    rows = {}
    for name, row in found.items():
        rows[name] = dict(row)
        if name not in measured:
            continue
        if paper is not None and name != PRODUCT:
            rows[name]["paper_examples_per_s"] = paper
        if name == PRODUCT:
            rows[name]["operations_per_s"] = row["operations"] / row["step_s"]
            continue
        if ours is not None:
            rows[name]["ours_over_this"] = ours["examples_per_s"] / row["examples_per_s"]
            if product is not None:
                an_example = (row if row["operations"] else ours)["operations"] / row["examples"]
                rate = product["operations"] / product["step_s"]
                rows[name]["utilisation"] = an_example * row["examples_per_s"] / rate
    return rows


def shown(row: Mapping[str, Any]) -> str:
    """One line of the table."""
    if failed(row):
        return f"{row['side']:32}  {row.get('error', row.get('left_out'))[:150]}"
    peak, used = row.get("peak_bytes"), row.get("utilisation")
    parts = (
        f"{row['examples_per_s']:10.1f}",
        f"[{row['range'][0]:.1f}, {row['range'][1]:.1f}]".rjust(18),
        (f"{peak / 2**30:8.2f}" if peak else "").rjust(8),
        (f"{used:6.1%}" if used else "").rjust(6),
        (f"{row['ours_over_this']:6.2f}" if "ours_over_this" in row else "").rjust(6),
    )
    return f"{row['side']:32}  {'  '.join(parts)}  {row.get('paper_examples_per_s', '')}"


def main() -> None:
    """Measures each part; prints tables and writes one JSON as it goes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="PART", help=f"its beginning: {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--toy", action="store_true", help="everything in small, to try the program")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn")
    parser.add_argument("--part_seconds", type=float, default=PART_SECONDS, help="at most, of a part")
    arguments = parser.parse_args()
    parts = [name for name in PARTS if name.startswith(arguments.only)]
    if not parts:
        parser.error(f"--only={arguments.only}: there are {', '.join(PARTS)}")
    report = Report(arguments.json, toy=arguments.toy, rounds=arguments.rounds, seconds=arguments.seconds)
    for part in parts:
        until = time.monotonic() + arguments.part_seconds
        tables = list(PARTS[part](arguments.toy))
        for number, table in enumerate(tables):
            keys = {"part": part, "table": table.name, "model": table.model}
            print(f"\n{part}: {table.model}, {table.name}", "examples/s  [range]  peak GiB  utilisation  ours / this")
            if report.has(**keys):
                print("measured already")
                continue
            now = time.monotonic()
            end = now + (until - now) / (len(tables) - number)  # each table has its share of what is left
            rows = measure(table, rounds=arguments.rounds, seconds=arguments.seconds, until=end)
            report.add(rows, **keys)
            print(*map(shown, rows), sep="\n", flush=True)


if __name__ == "__main__":
    main()
