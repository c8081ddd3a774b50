"""Reading NOTEEVENTS.csv, MIMIC-III's table of 4 GB: time and peak memory of the mimic3 reader beside pandas.

Writes made-up tables with the real one's categories, their shares and lengths, and its quoting. Each side reads them in
processes of its own, in turns, from the system's cache. pandas reads NOTEEVENTS into a frame and stops there; the
reader goes all the way to the labelled rows of a target, with the other tables that it needs. The csv module counts
the discharge summaries.

    python -m benchmarks.read_noteevents --gigabytes=1 --json=benchmarks/results/read_noteevents.json

Needs pandas, which comes with datasets.
"""

import argparse
import csv
import importlib.metadata
import json
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.turns import write_report
from jaxpeft.config import DataConfig
from jaxpeft.data import synthetic
from jaxpeft.data.readers import read
from jaxpeft.data.readers.text_files import csv_records

CATEGORIES = {  # notes of 1,000 and their length in characters, of about the real sizes
    "Discharge summary": (29, 10_500),
    "Nursing/other": (395, 900),
    "Radiology": (251, 1_700),
    "Nursing": (107, 1_800),
    "ECG": (100, 200),
    "Physician ": (68, 7_800),
    "Echo": (22, 2_400),
    "Respiratory ": (15, 1_000),
}
POOL = 200  # different notes of a category, each told from its copies by a first line
DOCUMENTS = 2000  # admissions of the corpus that the notes come from
COPIES = 3  # of its admissions, without diagnoses: triage is about as rare among admissions as in the real tables


def write_tables(folder: Path, gigabytes: float) -> None:
    """The made-up corpus with more admissions, and its NOTEEVENTS replaced by one of the wanted size."""
    synthetic.write("mimic3", folder, DOCUMENTS, 0)
    stays = add_admissions(folder / "ADMISSIONS.csv")
    with (folder / "NOTEEVENTS.csv").open(newline="") as file:
        summaries = [row["TEXT"] for row in csv.DictReader(file) if row["CATEGORY"] == "Discharge summary"]
    rng = random.Random(0)
    pools = {name: [lengthened(rng, summaries, size) for _ in range(POOL)] for name, (_, size) in CATEGORIES.items()}
    shares = [share for share, _ in CATEGORIES.values()]
    header = (folder / "NOTEEVENTS.csv").read_text().split("\n", 1)[0]
    written, number = 0, 0
    with (folder / "NOTEEVENTS.csv").open("w", newline="\n") as file:
        file.write(header + "\n")
        while written < gigabytes * 1e9:
            number += 1
            patient, admission = stays[number % len(stays)]
            category = rng.choices(list(pools), shares)[0]
            fields = f'{number},{patient},{admission},2151-08-04,,,"{category}","Report",,,'
            written += file.write(f'{fields}"{rng.choice(pools[category])}\nJob#: {number}\n"\n')


def add_admissions(table: Path) -> list[tuple[str, str]]:
    """Copies the admissions under other numbers; returns SUBJECT_ID and HADM_ID of all."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows += [{**row, "HADM_ID": f"{copy}{row['HADM_ID']}"} for copy in range(1, COPIES + 1) for row in rows]
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return [(row["SUBJECT_ID"], row["HADM_ID"]) for row in rows]


def lengthened(rng: random.Random, notes: list[str], size: int) -> str:
    """Notes one after the other up to about a length, quotes doubled."""
    wanted, text = size * rng.lognormvariate(-0.1, 0.45), rng.choice(notes)
    while len(text) < wanted:
        text += rng.choice(notes)
    return text[: int(wanted)].replace('"', '""')


def by_pandas(folder: Path) -> int:
    """Rows of NOTEEVENTS as a frame."""
    import pandas

    return len(pandas.read_csv(folder / "NOTEEVENTS.csv"))


def by_the_csv_module(folder: Path) -> int:
    """Discharge summaries of NOTEEVENTS."""
    return sum(record[6] == "Discharge summary" for _, record in csv_records(folder / "NOTEEVENTS.csv"))


def by_the_reader(target: str) -> Callable[[Path], int]:
    """Rows of a target."""
    return lambda folder: sum(map(len, read(DataConfig(format="mimic3", target=target), str(folder)).splits.values()))


SIDES: dict[str, Callable[[Path], int]] = {
    "jaxpeft, mortality": by_the_reader("mortality"),
    "jaxpeft, triage": by_the_reader("triage"),
    "pandas.read_csv": by_pandas,
    "csv module": by_the_csv_module,
}


def turn(side: str, folder: Path) -> dict[str, Any]:
    """One reading in a new process."""
    command = [sys.executable, "-m", "benchmarks.read_noteevents", f"--side={side}", f"--folder={folder}"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def serve(side: str, folder: Path) -> None:
    """The new process: reads, and says how long it took and what it held at its peak."""
    if side == "pandas.read_csv":
        import pandas  # noqa: F401 - before the clock starts
    with (folder / "NOTEEVENTS.csv").open("rb", buffering=0) as file:  # into the system's cache
        while file.readinto(bytearray(1 << 22)):
            pass
    baseline, started = memory("VmRSS"), time.perf_counter()
    rows = SIDES[side](folder)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "peak_bytes": memory("VmHWM"), "baseline_bytes": baseline, "rows": rows}))


def memory(field: str) -> int:
    """A field of this process's status, in bytes: VmRSS, what is resident, or VmHWM, its peak."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))


def rows_of(folder: Path, rounds: int) -> Iterator[dict[str, Any]]:
    """The sides in turns; of each its speed over all turns, their range, and the largest peak."""
    size = (folder / "NOTEEVENTS.csv").stat().st_size / 1e6
    turns = [{side: turn(side, folder) for side in SIDES} for _ in range(rounds)]
    for side in SIDES:
        found = [one[side] for one in turns]
        speeds = [size / one["seconds"] for one in found]
        yield {
            "side": side,
            "mb_per_s": size * len(found) / sum(one["seconds"] for one in found),
            "range": [min(speeds), max(speeds)],
            "peak_bytes": max(one["peak_bytes"] for one in found),
            "baseline_bytes": max(one["baseline_bytes"] for one in found),
            "rows": found[0]["rows"],
        }


def main() -> None:
    """The comparison, or one of the processes that it starts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder if left out")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        return serve(arguments.side, arguments.folder)
    versions = {name: importlib.metadata.version(name) for name in ("numpy", "pandas", "pyarrow")}
    report: dict[str, Any] = {
        "python": platform.python_version(),
        "versions": versions,
        "gigabytes": arguments.gigabytes,
    }
    report |= {"processor": platform.processor() or platform.machine(), "rows": []}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        write_tables(Path(folder) / "tables", arguments.gigabytes)
        print("side                   MB/s  [range]         peak MB  of these before reading      rows")
        for row in rows_of(Path(folder) / "tables", arguments.rounds):
            low, high = row["range"]
            speed, peak, before = row["mb_per_s"], row["peak_bytes"] / 1e6, row["baseline_bytes"] / 1e6
            print(
                f"{row['side']:18}  {speed:7.0f}  {f'[{low:.0f}, {high:.0f}]':14}  {peak:6.0f}  {before:23.0f}"
                f"  {row['rows']:7}",
                flush=True,
            )
            report["rows"].append(row)
    write_report(arguments.json, report)
    return None


if __name__ == "__main__":
    main()
