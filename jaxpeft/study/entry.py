"""What the programs of `jaxpeft.study` have in common: the flag for corpora, exit codes, one message an error."""

import io
import sys
from collections.abc import Callable, Sequence

from absl import flags

from jaxpeft.command_line import report, report_and_exit
from jaxpeft.config import expanded
from jaxpeft.errors import DISK_ERRORS, InputError

INTERRUPTED = 130  # as a shell has it for Ctrl-C


def run(
    argv: Sequence[str], values: flags.FlagValues, doc: str | None, program: Callable[[flags.FlagValues], int]
) -> None:
    """Ends the process with what `program` returns; every user error becomes one message and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that the terminal's encoding lacks ends nothing
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        rest = values(list(argv))
        if values.help:
            print(doc, values.get_help(), sep="\n")
            return
        if len(rest) > 1:
            raise InputError(f"unexpected argument {rest[1]!r}: flags begin with --")
        sys.exit(program(values))
    except InputError as error:
        report_and_exit(error)
    except flags.Error as error:
        report_and_exit(InputError(str(error)))
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        sys.exit(report(error))
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(INTERRUPTED)


def define_common(values: flags.FlagValues) -> None:
    """Flags that every program has."""
    flags.DEFINE_multi_string("corpus", [], "NAME=PATH: a format's corpus, or a study's own name.", flag_values=values)
    flags.DEFINE_bool("help", False, "Show this.", flag_values=values)


def corpora(given: Sequence[str]) -> dict[str, str]:
    """Format -> path, of the values of --corpus. Raises InputError."""
    found: dict[str, str] = {}
    for entry in given:
        name, _, path = entry.partition("=")
        if not path:
            raise InputError(f"--corpus={entry}: expected NAME=PATH, as mimic3=/data/mimic3")
        if not expanded(path).exists():
            raise InputError(f"--corpus={entry}: there is no {path}")
        if name in found:
            raise InputError(f"--corpus={entry}: {name} is named twice, first as {found[name]}; leave one out")
        found[name] = path
    return found
