"""Host memory and time to load a base: sharded bfloat16 safetensors of Llama-2-7B's sizes, and a pytorch_model.bin.

Writes random checkpoints, loads each in a new process through the functions that every run uses, and prints the
peak of anonymous memory (mapped files do not count) over the bytes of the loaded tensors, and the time beside that of
just reading the files: into one small buffer, and into new memory of their size, which a loader cannot do without and
which a virtual machine may be slow to give. Once from the disk and once from the system's cache.

    python -m benchmarks.load_memory --scale=4 --json=benchmarks/results/load_memory.json

--scale is the number of layers: 32 is the whole model, which takes its 13 GB on disk and again in memory. Needs torch
to write the .bin.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes  # noqa: F401 (NumPy knows bfloat16 by name)
import numpy as np
import safetensors.numpy

from benchmarks.turns import write_report
from jaxpeft import runtime
from jaxpeft.config import Config
from jaxpeft.models.pretrained import Checkpoint, load, match, read_config
from jaxpeft.training import system

LLAMA_2_7B = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
}
BERT_1GB = {
    "model_type": "bert",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 18,
}
CASES = {  # form of the file -> sizes, type in the file and in memory
    "safetensors": (LLAMA_2_7B, "bfloat16"),
    "zip": (BERT_1GB, "float32"),
    "legacy": (BERT_1GB, "float32"),
}
BUFFER = bytearray(1 << 22)


def abstract(folder: Path) -> Any:
    """The model of a folder, without memory."""
    return system.abstract(Config(), read_config(folder), 2)


def random_tensors(folder: Path, dtype: str) -> Iterator[tuple[str, np.ndarray]]:
    """Every tensor of the folder's model, its head's included: numbers of both signs around 0.01."""
    generator = np.random.default_rng(0)
    bits, mask, exponent = (np.uint16, 0x807F, 0x3C00) if dtype == "bfloat16" else (np.uint32, 0x807FFFFF, 0x3C000000)
    model = abstract(folder)
    _, leaves = system.peft.flatten(model)
    for tensor in model.tensors():
        shape = leaves[tensor.path].shape
        one = shape[1:] if tensor.stacked else shape
        for name in tensor.names(shape[0]):
            values = np.frombuffer(generator.bytes(int(np.prod(one)) * np.dtype(bits).itemsize), bits)
            yield name, (values & mask | exponent).view(dtype).reshape(one[::-1] if tensor.transpose else one)


def write(folder: Path, form: str, sizes: dict[str, Any], dtype: str, shard_bytes: int) -> None:
    """A model folder; safetensors are cut into shards of about `shard_bytes`."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(sizes))
    if form != "safetensors":
        import torch

        state = {name: torch.from_numpy(values) for name, values in random_tensors(folder, dtype)}
        torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=form == "zip")
        return
    index: dict[str, str] = {}
    shard: dict[str, np.ndarray] = {}

    def flush() -> None:
        name = f"model-{len(set(index.values())) + 1:05}.safetensors"
        safetensors.numpy.save_file(shard, folder / name)
        index.update(dict.fromkeys(shard, name))
        shard.clear()

    for name, values in random_tensors(folder, dtype):
        shard[name] = values
        if sum(one.nbytes for one in shard.values()) >= shard_bytes:
            flush()
    if shard:
        flush()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))


def loaded(folder: Path, dtype: str) -> None:
    """In a process of its own: loads at the word of the other, which watches the memory meanwhile."""
    model = abstract(folder)
    jnp.zeros(()).block_until_ready()  # the backend is there
    print("ready", flush=True)
    sys.stdin.readline()
    started = time.perf_counter()
    checkpoint = Checkpoint(folder, model)
    new = match(model, checkpoint.shapes()).new
    load(
        model, checkpoint, new, jax.random.key(0), dtype_of=lambda path: jnp.dtype("float32" if path in new else dtype)
    )
    seconds = time.perf_counter() - started
    size = sum(leaf.nbytes for leaf in system.peft.flatten(model)[1].values())
    print(json.dumps({"load_s": seconds, "tensor_bytes": size}), flush=True)
    sys.stdin.readline()


def anonymous_bytes(process: int) -> int:
    """Anonymous resident memory of a process."""
    with open(f"/proc/{process}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))


def watch(folder: Path, dtype: str) -> dict[str, float]:
    """Loads a folder in a new process; its memory is looked at from here every two milliseconds."""
    command = [sys.executable, "-m", "benchmarks.load_memory", f"--load={folder}", f"--dtype={dtype}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise SystemExit("the loading process failed")
        os.set_blocking(process.stdout.fileno(), False)
        baseline = peak = anonymous_bytes(process.pid)
        process.stdin.write("\n")
        process.stdin.flush()
        while not (line := process.stdout.readline()) and process.poll() is None:
            peak = max(peak, anonymous_bytes(process.pid))
            time.sleep(0.002)
        process.stdin.write("\n")
        process.stdin.flush()
    if not line:
        raise SystemExit("the loading process failed")
    return {**json.loads(line), "peak_bytes": peak - baseline}


def evict(folder: Path) -> None:
    """Asks the system to forget the files' pages, so that the next reading comes from the disk."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_seconds(folder: Path) -> float:
    """The time to read all files into one small buffer."""
    started = time.perf_counter()
    for path in folder.iterdir():
        with path.open("rb", buffering=0) as file:
            while file.readinto(BUFFER):
                pass
    return time.perf_counter() - started


def read_into_memory(folder: Path) -> None:
    """In a process of its own, like a load: reads all files, each into new memory of its size."""
    started = time.perf_counter()
    kept = [np.fromfile(path, np.uint8) for path in folder.iterdir()]
    print(json.dumps({"seconds": time.perf_counter() - started, "bytes": sum(map(len, kept))}))


def measure(form: str, folder: Path) -> Iterator[dict[str, Any]]:
    """From the disk, then from the cache."""

    def fresh(source: str) -> Path:
        if source == "disk":
            evict(folder)
        return folder

    for source in ("disk", "cache"):
        small = read_seconds(fresh(source))
        command = [sys.executable, "-m", "benchmarks.load_memory", f"--read={fresh(source)}"]
        memory = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["seconds"]
        found = watch(fresh(source), CASES[form][1])
        ratio = found["peak_bytes"] / found["tensor_bytes"]
        yield {"form": form, "from": source, **found, "peak_over_tensors": ratio, "read_s": small, "read_new_s": memory}


def main() -> None:
    """The comparison, or one of the processes that it starts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=int, default=4, help="layers of the model of Llama-2-7B's sizes")
    parser.add_argument("--forms", default="safetensors,zip")
    parser.add_argument("--shard", type=float, default=1.0, help="GB a shard")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder if left out")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--dtype", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.load:
        loaded(arguments.load, arguments.dtype)
    elif arguments.read:
        read_into_memory(arguments.read)
    else:
        compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    """Writes, measures and removes each checkpoint; prints one table and writes one JSON."""
    report: dict[str, Any] = {"versions": runtime.versions(), "device": runtime.device(), "scale": arguments.scale}
    report |= {"processor": platform.processor() or platform.machine(), "model": LLAMA_2_7B["model_type"], "rows": []}
    print("form         from    tensors GB  peak GB  peak / tensors  load s  read s  read into new memory s")
    for form in arguments.forms.split(","):
        sizes, dtype = CASES[form]
        folder = Path(tempfile.mkdtemp(dir=arguments.folder)) / form
        try:
            write(folder, form, {"num_hidden_layers": arguments.scale, **sizes}, dtype, int(arguments.shard * 1e9))
            for row in measure(form, folder):
                print(
                    f"{form:11}  {row['from']:6}  {row['tensor_bytes'] / 1e9:10.2f}  {row['peak_bytes'] / 1e9:7.2f}  "
                    f"{row['peak_over_tensors']:14.3f}  {row['load_s']:6.2f}  {row['read_s']:6.2f}  "
                    f"{row['read_new_s']:22.2f}",
                    flush=True,
                )
                report["rows"].append(row)
        finally:
            shutil.rmtree(folder.parent)
        write_report(arguments.json, report)


if __name__ == "__main__":
    main()
