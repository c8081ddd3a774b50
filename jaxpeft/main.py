"""Runs one experiment: flags -> config -> one of train, evaluate, predict, export, merge, plan.

python -m jaxpeft.main --config=configs/lora_bert.py --config.train.epochs=3
python -m jaxpeft.main --config=FILE.py --coordinator=HOST:PORT --processes=N --process=I  # BUILD.md: several machines
python -m jaxpeft.main --mode=evaluate --workdir=DIR
python -m jaxpeft.main --mode=predict --workdir=DIR --input=notes.jsonl --output=labelled.jsonl
python -m jaxpeft.main --mode=export --workdir=DIR   # the adapter in Hugging Face PEFT's format
python -m jaxpeft.main --mode=merge --workdir=DIR    # the whole model in Hugging Face's layout
python -m jaxpeft.main --mode=plan --config=configs/lora_bert.py --card=t4-16g  # what it would take; runs nothing
"""

import time

STARTED = time.time()  # before the slow imports: a cold start is measured from here

import functools  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from pathlib import Path  # noqa: E402

from absl import app, flags, logging  # noqa: E402
from ml_collections import config_flags  # noqa: E402

from jaxpeft.command_line import is_disk_full, is_out_of_memory, parse, report, report_and_exit  # noqa: E402
from jaxpeft.errors import DISK_ERRORS, InputError  # noqa: E402
from jaxpeft.runtime import keep_freed_memory  # noqa: E402

CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment: a Python file with get_config().")
MODE = flags.DEFINE_enum("mode", "train", ["train", "evaluate", "predict", "export", "merge", "plan"], "What to do.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; train: runs/<name> if left out.")
DATA = flags.DEFINE_string("data", None, "evaluate: where the data is now, if it moved.")
BASE = flags.DEFINE_string("base", None, "All but train and plan: where the base model is now, if it moved.")
ALLOW_OTHER_BASE = flags.DEFINE_bool("allow_other_base", False, "Go on with a base whose tensors differ.")
SPLIT = flags.DEFINE_enum("split", "test", ["train", "validation", "test"], "evaluate: which split.")
INPUT = flags.DEFINE_string("input", None, "predict: a .jsonl or .csv file.")
OUTPUT = flags.DEFINE_string("output", None, "predict: the .jsonl or .csv file to write; export, merge: the folder.")
CARD = flags.DEFINE_string("card", None, "plan: the largest batches for this card, such as a100-80g.")
MEMORY_GIB = flags.DEFINE_float("memory_gib", None, "plan: the largest batches for so much memory of a device.")
RATE_TFLOPS = flags.DEFINE_float("rate_tflops", None, "plan: what a step reaches on a device; measured if left out.")
COORDINATOR = flags.DEFINE_string("coordinator", None, "train on several processes: HOST:PORT of process 0.")
PROCESSES = flags.DEFINE_integer("processes", None, "How many there are; 1: this one alone, whatever started it.")
PROCESS = flags.DEFINE_integer("process", None, "Which of them this is, from 0.")


def main(argv: Sequence[str]) -> None:
    """Dispatches on --mode; every user error becomes one message and exit code 2."""
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.ERROR)  # jax and orbax tell of every backend and save; --verbosity=0 shows it
    try:
        if len(argv) > 1:
            raise InputError(f"unexpected argument {argv[1]!r}: flags begin with --")
        _refuse_stray_flags()
        _refuse_several_processes()
        MODES[MODE.value]()
    except InputError as error:
        report_and_exit(error)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        sys.exit(report(error))
    except Exception as error:
        if not (is_out_of_memory(error) or is_disk_full(error)):
            raise
        sys.exit(report(error))


def _refuse_stray_flags() -> None:
    """Raises InputError for flags that the mode does not read: a run on other data than they name would mislead."""
    readers = (
        ((BASE, ALLOW_OTHER_BASE), ("evaluate", "predict", "export", "merge")),
        ((DATA, SPLIT), ("evaluate",)),
        ((COORDINATOR, PROCESSES, PROCESS), ("train",)),
        ((INPUT,), ("predict",)),
        ((OUTPUT,), ("predict", "export", "merge")),
        ((CARD, MEMORY_GIB, RATE_TFLOPS), ("plan",)),
    )
    stray = {flag.name: modes for own, modes in readers for flag in own if flag.present and MODE.value not in modes}
    if stray:
        told = (f"--{name} is for --mode={' or '.join(modes)}" for name, modes in stray.items())
        of_config = MODE.value == "train" and {"data", "base"} & stray.keys()
        hint = "; train reads data.path and model.ref of the config" if of_config else ""
        raise InputError(f"--mode={MODE.value}: {', '.join(told)}{hint}")


def _refuse_several_processes() -> None:
    """Raises InputError where a cluster started several of a mode that works alone: each would write the same files."""
    from jaxpeft.training.processes import in_cluster

    if MODE.value != "train" and in_cluster():
        raise InputError(f"--mode={MODE.value} is for one process, and this is one of several: start it by itself")


def _config():
    from jaxpeft.config import settle
    from jaxpeft.validate import validate

    if CONFIG.value is None:
        raise InputError(f"--mode={MODE.value} needs --config=FILE.py, for example --config=configs/lora_bert.py")
    config = settle(CONFIG.value)  # first: what is one entry of a list, and what two, is told here
    validate(config, for_plan=MODE.value == "plan")
    return config


def _train() -> None:
    from jaxpeft.training.processes import joined
    from jaxpeft.training.run import train
    from jaxpeft.training.workdir import Workdir

    config = _config()
    with joined(COORDINATOR.value, PROCESSES.value, PROCESS.value, report):
        train(config, Workdir(_path(WORKDIR) or Path("runs", config.name)), started=STARTED)


def _plan() -> None:
    from jaxpeft.training.plan import plan
    from jaxpeft.training.plan_report import plan_table

    found = plan(_config(), card=CARD.value, memory_gib=MEMORY_GIB.value, rate_tflops=RATE_TFLOPS.value)
    print(plan_table(found))


def _path(flag: flags.FlagHolder[str | None]) -> Path | None:
    """What a flag names, if anything: a shell leaves the tilde of `--workdir=~/runs` to the program."""
    return None if flag.value is None else Path(os.path.expanduser(flag.value))


def _run(kind):
    if CONFIG.value is not None:
        raise InputError(f"--mode={MODE.value} goes by the config.json of the workdir: leave --config out")
    workdir = _path(WORKDIR)
    if workdir is None:
        raise InputError(f"--mode={MODE.value} needs --workdir=DIR, the folder of a finished run")
    return kind(workdir, base=BASE.value, allow_other_base=ALLOW_OTHER_BASE.value)


def _evaluate() -> None:
    from jaxpeft.training.report import evaluation_table
    from jaxpeft.training.restore import Restored

    print(evaluation_table(_run(Restored).evaluate(SPLIT.value, DATA.value)))


def _predict() -> None:
    from jaxpeft.training.restore import Restored, predict_file

    source, target = _path(INPUT), _path(OUTPUT)
    if source is None or target is None:
        raise InputError("--mode=predict needs --input=FILE and --output=FILE")
    run = _run(Restored)
    count = predict_file(run, source, target)
    print(f"{count} rows written to {target}")
    if run.cut:
        data = run.config.data
        print(
            f"{run.cut} of them are longer than data.max_length, {data.max_length} tokens: their answers rest on what "
            f"data.long_text={data.long_text} keeps",
            file=sys.stderr,
        )


def _export() -> None:
    from jaxpeft.training.export import export
    from jaxpeft.training.restore import Finished

    _write(export, _run(Finished))


def _merge() -> None:
    from jaxpeft.training.export import merge
    from jaxpeft.training.restore import Finished

    run = _run(functools.partial(Finished, unquantised=True))  # codes have no room for an update
    _write(merge, run)
    if (kind := run.result["quantise"]) != "none":
        print(f"merged into the base as its checkpoint has it; the run's scores are of the base in {kind}")


def _write(writer, run) -> None:
    print(f"written to {writer(run.config, run.system, run.trainable, run.workdir, _path(OUTPUT))}")


MODES = {
    "train": _train,
    "evaluate": _evaluate,
    "predict": _predict,
    "export": _export,
    "merge": _merge,
    "plan": _plan,
}

if __name__ == "__main__":
    keep_freed_memory()
    sys.exit(app.run(main, flags_parser=parse))
