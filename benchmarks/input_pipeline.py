r"""Does the device wait for its data? A profile of a training run, and the tokenising of many notes.

training: a real run (LoRA on MiniLM, made-up notes of MIMIC-III's format) under jax's profiler; `share` is the part of
its steps' time that the device waits for its next batch, see `device_trace`. Evaluation and compilation are left out,
the checkpoint of each minute is not.

tokenising: notes of 400 words, beside `datasets.map` with the same fast tokenizer, batched, in one process and in one
a core, as its users would. Both read and cut the same notes and leave the tokens on the disk. Each pass is a process of
its own; sides take turns. `peak_bytes` is the anonymous memory of the process and its children over what it had when
the notes were there. (The tokenizer has threads of its own, on every core, except in map's several processes.)

    python -m benchmarks.input_pipeline --json=benchmarks/results/input_pipeline.json

Needs transformers and datasets.
"""

import argparse
import functools
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.device_trace import traced, waiting
from benchmarks.load_memory import anonymous_bytes
from benchmarks.turns import Report, rates
from jaxpeft import runtime
from jaxpeft.config import Config
from jaxpeft.data.rows import Rows
from jaxpeft.data.tokenise import text_encoder
from jaxpeft.models.pretrained import resolve
from jaxpeft.training.run import train
from jaxpeft.training.workdir import Workdir

WORDS, KINDS = 400, 20_000  # of a note, and how many different ones there are
LENGTH = 480  # tokens that are kept of a note
LOOKS = 0.02  # seconds between two looks at the memory


def trained(steps: int, max_length: int) -> dict[str, Any]:
    """What the device did in a run of so many steps, evaluated at its end."""
    config = Config(name="waiting")
    config.train.steps = config.train.eval_every = steps
    config.data.max_length, config.data.synthetic.documents = max_length, 400
    with tempfile.TemporaryDirectory() as folder, traced(waiting) as found:
        result = train(config, Workdir(Path(folder) / "run"), started=time.time())
    rate = result["timing"]["examples_per_s"]
    return {"steps": steps, "max_length": max_length, "examples_per_s": rate, **found[0]}


def notes(count: int) -> list[str]:
    """Words of the vocabulary, the few first of which are most of the text, as in any language."""
    encoder = text_encoder(resolve(Config().model.ref), lowercase="auto", max_length=LENGTH)
    words = np.array(sorted(word for word in encoder.tokenizer.get_vocab() if word.isalpha()))
    generator = np.random.default_rng(0)
    generator.shuffle(words)
    words = words[:KINDS]
    chances = 1 / np.arange(1, len(words) + 1)
    cumulative = np.cumsum(chances / chances.sum())
    return [" ".join(words[np.searchsorted(cumulative, generator.random(WORDS))]) for _ in range(count)]


def ours(texts: list[str], folder: Path) -> Callable[[], int]:
    """As a run does it, its cache included."""
    encoder = text_encoder(resolve(Config().model.ref), lowercase="auto", max_length=LENGTH)
    return lambda: len(encoder.encode(Rows(text=texts), folder / "tokens").ids)


def mapped(texts: list[str], folder: Path, *, processes: int | None) -> Callable[[], int]:
    """`datasets.map` over a data set on the disk; None = in this process, its default: the tokenizer has threads."""
    import datasets
    import pyarrow.compute
    import transformers

    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(resolve(Config().model.ref) / "tokenizer.json"))
    tokenizer.backend_tokenizer.no_padding()
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict({"text": texts}).save_to_disk(str(folder / "notes"))
    stored = datasets.load_from_disk(str(folder / "notes"))

    def run() -> int:
        def tokens(batch: Mapping[str, list[str]]) -> Mapping[str, Any]:
            return tokenizer(batch["text"], truncation=True, max_length=LENGTH)

        found = stored.map(tokens, batched=True, remove_columns=["text"], num_proc=processes)
        lengths = pyarrow.compute.list_value_length(found.data.column("input_ids"))  # no Python numbers in the clock
        return pyarrow.compute.sum(lengths).as_py()

    return run


CORES = len(os.sched_getaffinity(0))
SIDES: Mapping[str, Callable[[list[str], Path], Callable[[], int]]] = {
    "jaxpeft": ours,
    "datasets.map, in its process": functools.partial(mapped, processes=None),
    f"datasets.map, {CORES} processes": functools.partial(mapped, processes=CORES),
}


def work(side: str, count: int, pipe: Connection) -> None:
    """In a process of its own: tokenises at the word of the other, which watches the memory meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        run = SIDES[side](notes(count), Path(folder))
        pipe.send("ready")
        pipe.recv()
        started, worked = time.perf_counter(), processor_seconds()
        tokens = run()
        pipe.send((time.perf_counter() - started, processor_seconds() - worked, tokens))
        pipe.recv()


def processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def tokenised(side: str, count: int) -> tuple[float, float, int, int]:
    """Seconds by the clock and of the processor, tokens and peak bytes of one pass."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=work, args=(side, count, theirs))  # no daemon: map starts processes
    process.start()
    theirs.close()
    pipe.recv()
    assert process.pid is not None
    baseline = peak = memory_of_family(process.pid)
    pipe.send("go")
    while not pipe.poll(LOOKS):
        peak = max(peak, memory_of_family(process.pid))
    seconds, worked, tokens = pipe.recv()
    pipe.send("end")
    process.join()
    return seconds, worked, tokens, peak - baseline


def memory_of_family(process: int) -> int:
    """Anonymous resident bytes of a process and its children."""
    total = 0
    try:
        total += anonymous_bytes(process)
        for task in Path(f"/proc/{process}/task").iterdir():
            total += sum(memory_of_family(int(child)) for child in (task / "children").read_text().split())
    except (OSError, StopIteration):  # it has just ended
        pass
    return total


def tokenising(count: int, rounds: int) -> list[dict[str, Any]]:
    """A row a side."""
    passes: dict[str, list[tuple[float, float, int, int]]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side, found in passes.items():
            found.append(tokenised(side, count))
    rows = []
    for side, found in passes.items():
        seconds, worked, tokens, peaks = zip(*found, strict=True)
        a_processor_second = count / statistics.median(worked)
        row = {"side": side, "notes": count, **rates(count, list(seconds)), "per_processor_s": a_processor_second}
        rows.append(row | {"tokens": tokens[0], "peak_bytes": max(peaks)})
    return rows


def main() -> None:
    """Prints two tables and writes one JSON as it goes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--max_lengths", type=int, nargs="+", default=[64, 480])
    parser.add_argument("--notes", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    runtime.keep_freed_memory()
    report = Report(arguments.json, steps=arguments.steps, words=WORDS)
    for length in arguments.max_lengths:
        if not report.has(part="training", max_length=length):
            report.add([trained(arguments.steps, length)], part="training", max_length=length)
    if not report.has(part="tokenising", notes=arguments.notes):
        report.add(tokenising(arguments.notes, arguments.rounds), part="tokenising")
    print("at most tokens  steps  examples/s  waiting s  busy s   share  longest ms")
    for row in report.rows:
        if row["part"] == "training":
            times = (
                f"{row['waiting_s']:9.3f}  {row['busy_s']:6.1f}  {row['share']:6.2%}  {row['longest_s'] * 1e3:10.1f}"
            )
            print(f"{row['max_length']:14}  {row['steps']:5}  {row['examples_per_s']:10.1f}  {times}")
    print("\nside                      notes/s  [range]         /processor s      tokens  peak MiB")
    for row in report.rows:
        if row["part"] == "tokenising":
            low, high = row["range"]
            spread = f"[{low:.0f}, {high:.0f}]"
            rate = row["examples_per_s"]
            more = f"{row['per_processor_s']:12.0f}  {row['tokens']:10,}  {row['peak_bytes'] / 2**20:8,.0f}"
            print(f"{row['side']:24}  {rate:7.0f}  {spread:14}  {more}")


if __name__ == "__main__":
    main()
