"""Flags whose every mistake ends in one message and exit code 2, never a traceback."""

import ast
import difflib
import errno
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from absl import flags

from jaxpeft.config import Config, leaves, may_be_none, set_leaf
from jaxpeft.errors import DISK_ERRORS, InputError

NONE = re.compile(r"--?config\.([\w.]+)=None")  # absl's parsers of numbers know no None; validation knows who may be
OUT_OF_MEMORY = (
    "out of memory: take a smaller train.batch_size (and train.accumulate for the difference) or data.max_length, "
    "model.remat=True or model.dtype=bfloat16"
)
DISK_FULL = "no space left on the device of the workdir; what was written before is whole"
PATTERNS = re.compile(r"(--?config\.[\w.]+_pattern)=(.*)", re.DOTALL)
NUMBERS = re.compile(r"(--?config\.population\.(?:alphas|learning_rates|head_learning_rates))=(.*)", re.DOTALL)


def parse(argv: Sequence[str]) -> list[str]:
    """absl's parser for `app.run`: what a user can get wrong in flags or in a config file is reported here."""
    argv = list(argv)
    try:
        _check_config_file(argv)
        rest = flags.FLAGS([_quoted(argument) for argument in argv if _clears(argument) is None])
        last = {found[1]: argument for argument in argv if (found := re.match(r"--?config\.([\w.]+)=", argument))}
        for name, argument in last.items():
            if _clears(argument) is None:
                continue
            if flags.FLAGS.config is None:
                raise InputError(f"--config.{name} changes a config, and --config=FILE.py names none")
            set_leaf(flags.FLAGS.config, name, None)
        return rest
    except flags.Error as error:
        report_and_exit(InputError(str(error)))
    except InputError as error:
        report_and_exit(error)
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        # ml_collections lets these out for an override of no field, or of the wrong type.
        report_and_exit(InputError(f"a --config override does not fit: {_first_line(error)}"))


def _clears(argument: str) -> str | None:
    """The field that an argument sets to None, where that is no text: a field of text alone may be called so."""
    found = NONE.fullmatch(argument)
    return found[1] if found and may_be_none(found[1]) else None


def _quoted(argument: str) -> str:
    """Lists that ml_collections would take for broken Python, or for numbers, as one string: `a=1,b=2`, `1e-4,3e-4`."""
    if found := NUMBERS.fullmatch(argument):
        return f"{found[1]}={found[2]!r}"
    found = PATTERNS.fullmatch(argument)
    if found is None:
        return argument
    try:
        ast.literal_eval(found[2])
    except (ValueError, SyntaxError):
        return f"{found[1]}={found[2]!r}"
    return argument


def report_and_exit(error: InputError) -> NoReturn:
    """The message on standard error; exit code 2."""
    sys.exit(report(error))


def report(error: BaseException) -> int:
    """Tells of an error: what a user can mend in one message, anything else with its traceback. Returns exit codes."""
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        error = InputError(f"{error.filename or 'a file'}: {error.strerror}; what was written before is whole")
    elif is_disk_full(error):
        error = InputError(DISK_FULL)
    elif is_out_of_memory(error):
        error = InputError(OUT_OF_MEMORY)
    if isinstance(error, InputError):
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    traceback.print_exception(error)
    return 1


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the host's or a device's memory did not suffice."""
    if is_disk_full(error):
        return False
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)  # so say all runtimes of XLA


def is_disk_full(error: BaseException) -> bool:
    """Whether a checkpoint found no room: its writer says RESOURCE_EXHAUSTED too, and the system's error behind it."""
    return os.strerror(errno.ENOSPC) in str(error)


def _check_config_file(argv: Sequence[str]) -> None:
    """Runs the config file once by itself: ml_collections would pass over a missing one and trace a broken one."""
    names = [argument.split("=", 1)[1] for argument in argv if argument.startswith(("--config=", "-config="))]
    names += [argv[i + 1] for i, argument in enumerate(argv[:-1]) if argument in ("--config", "-config")]
    for name in names:
        _check_overrides(_run_config_file(name), argv)


def _run_config_file(name: str) -> Config:
    path = Path(name)
    if not path.is_file():
        raise InputError(f"--config={name}: no such file")
    namespace: dict[str, object] = {"__name__": "config_check", "__file__": str(path)}
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), namespace)
        get_config = namespace.get("get_config")
        config = get_config() if callable(get_config) else None
    except Exception as error:
        raise InputError(f"--config={name} cannot be run: {type(error).__name__}: {_first_line(error)}") from None
    if not callable(get_config):
        raise InputError(f"--config={name}: expected a function get_config() that returns a jaxpeft.config.Config")
    if not isinstance(config, Config):
        raise InputError(
            f"--config={name}: get_config() returned {type(config).__name__}, expected a jaxpeft.config.Config"
        )
    return config


def _check_overrides(config: Config, argv: Sequence[str]) -> None:
    """Names every `--config.a.b` that is no field, with the field that was probably meant."""
    known = list(leaves(config))
    given = [found[1] for argument in argv if (found := re.match(r"--?config\.([^=]+)", argument))]
    problems = []
    for name in given:
        if name not in known and not any(field.startswith(name + ".") for field in known):
            close = difflib.get_close_matches(name, known, n=1)
            problems.append(f"--config.{name}: the config has no such field" + "".join(f"; {one}?" for one in close))
    if problems:
        raise InputError(*problems)


def _first_line(error: BaseException) -> str:
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return text.splitlines()[0] if text else type(error).__name__
