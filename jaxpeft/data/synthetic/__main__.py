"""Writes a made-up corpus: `python -m jaxpeft.data.synthetic --corpus=mimic3 --out=DIR --documents=1000 --seed=0`."""

import argparse
import sys
from pathlib import Path

from jaxpeft.config import expanded
from jaxpeft.data import synthetic
from jaxpeft.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    """Writes a corpus and says what it wrote. Returns the exit code: 0, or 2 for what the user can fix."""
    parser = argparse.ArgumentParser(prog="python -m jaxpeft.data.synthetic", description=synthetic.__doc__)
    parser.add_argument("--corpus", default="mimic3", help=f"one of {', '.join(synthetic.GENERATORS)}")
    parser.add_argument("--out", type=Path, required=True, help="a folder that is empty, new or written by this")
    parser.add_argument("--documents", type=int, default=1000, help="how many; mimic3: admissions with a label")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args(arguments)
    try:
        synthetic.write(flags.corpus, expanded(flags.out), flags.documents, flags.seed)
    except InputError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    what = synthetic.GENERATORS[flags.corpus].documents
    print(f"{flags.out}: {flags.documents} {what}, in the format of {flags.corpus}, and truth.jsonl")
    return 0


if __name__ == "__main__":
    sys.exit(main())
