"""A finished workdir in another process: the same system, the same scores, and predictions for new text."""

import contextlib
import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxpeft import population, runtime
from jaxpeft.config import Config, flatten, from_dict
from jaxpeft.data.load import load as load_data
from jaxpeft.data.readers.jsonl_csv import read_rows
from jaxpeft.data.rows import Rows
from jaxpeft.data.tokenise import Examples
from jaxpeft.errors import InputError
from jaxpeft.tasks.registry import task_of
from jaxpeft.training import system
from jaxpeft.training.checkpoint import load_best
from jaxpeft.training.evaluation import Evaluator, prepare
from jaxpeft.training.loop import seed_of
from jaxpeft.training.parallel import Placement, placement
from jaxpeft.training.workdir import Workdir, read_json, write_json, write_text


class Finished:
    """A finished run: its config, result and system, and the trained leaves of the tested step.

    Raises InputError when the workdir is unfinished or unreadable, or its base holds other tensors than it was
    trained on (unless `allow_other_base`). `on` is a system in memory whose base to share; with `unquantised` the
    base is held as floats whatever the run did.
    """

    def __init__(
        self,
        root: Path,
        *,
        base: str | None = None,
        allow_other_base: bool = False,
        on: system.System | None = None,
        unquantised: bool = False,
    ):
        self.workdir = Workdir(root)
        if not root.is_dir():
            raise InputError(f"--workdir={root}: no such folder")
        self.config = from_dict(read_json(self.workdir.config))
        if population.is_one(self.config):
            raise InputError(f"{root} holds a population: name one of its members, --workdir={root}/members/NAME")
        if not self.workdir.result.exists():
            raise InputError(f"{root} holds no result.json: the run has not finished; start its train command again")
        self.result = read_json(self.workdir.result)
        self.config.model.ref = base or self.config.model.ref
        if unquantised:
            self.config.model.quantise = "none"
        with self._loading():
            self.system = _build(self.config, self.result, on)
        self.task = task_of(self.config, self.system.classes)
        self._check_base(allow_other_base)
        self.trainable = load_best(self.workdir.best, self.system.trainable)

    def _loading(self) -> contextlib.AbstractContextManager[Any]:
        """Where the system is read into."""
        return contextlib.nullcontext()

    def _check_base(self, allow_other_base: bool) -> None:
        for name, ours in (
            ("base_sha256", self.system.base_sha256),
            ("tokenizer_sha256", self.system.encoder.sha256),
        ):
            if self.result[name] != ours and not allow_other_base:
                raise InputError(
                    f"model.ref {self.config.model.ref!r} {self._how_it_differs(name)}: {name} is "
                    f"{ours[:12]}, in result.json {self.result[name][:12]}; give the right one with --base=REF, "
                    "or --allow_other_base to score this one"
                )

    def _how_it_differs(self, name: str) -> str:
        here, then = (versions["tokenizers"] for versions in (runtime.versions(), self.result["versions"]))
        if name == "base_sha256" or here == then:
            return "is another base than the run was trained on"
        return (
            "has the run's tensors, and a tokenizer that is another one or that its library describes in other words "
            f"(tokenizers is at {here} here and was at {then})"
        )


class Restored(Finished):
    """A finished run on this process's devices, ready to score and to predict. Raises as `Finished` does.

    `beside` are others on the same base: it is shared with them, and the compiled program with those of one shape.
    """

    def __init__(
        self,
        root: Path,
        *,
        base: str | None = None,
        allow_other_base: bool = False,
        beside: Sequence["Restored"] = (),
    ):
        on = beside[0].system if beside else None
        base = beside[0].config.model.ref if beside else base
        super().__init__(root, base=base, allow_other_base=allow_other_base, on=on)
        alike = next((other for other in beside if other._program() == self._program()), None)
        self._placement: Placement = alike._placement if alike else _placement(self.config)
        self._placed = self._placement.replicate(self.trainable)
        self._frozen = self._place_frozen(beside)
        self._evaluator: Evaluator = alike._evaluator if alike else self._compiled()
        self.cut = 0

    def _loading(self) -> contextlib.AbstractContextManager[Any]:
        return _placement(self.config).loading()

    def _place_frozen(self, beside: Sequence["Restored"]) -> Any:
        """The frozen leaves on the devices, where those of a shared base are already."""
        alike = [other for other in beside if other._place() == self._place()]
        known = {id(leaf): other._frozen[path] for other in alike for path, leaf in other.system.frozen.items()}
        frozen = self.system.frozen
        new = self._placement.place_frozen({path: leaf for path, leaf in frozen.items() if id(leaf) not in known})
        return {path: known[id(leaf)] if id(leaf) in known else new[path] for path, leaf in frozen.items()}

    def _place(self) -> tuple[Any, ...]:
        """What says on which devices a leaf lies, and how it is cut."""
        return type(self._placement), self._placement.parts, dataclasses.astuple(self.config.mesh)

    def _compiled(self) -> Evaluator:
        buckets, size = tuple(self.result["buckets"]), self.config.train.eval_batch_size
        packs = self.system.prompt_length() if self.config.data.packing else None
        return Evaluator(self.system.graphdef, self._placement, buckets, size, packs)

    def _program(self) -> tuple[Any, ...]:
        """What the compiled forward pass depends on."""
        leaves, structure = jax.tree.flatten((self.system.trainable, self.system.frozen))
        shapes, config = [(leaf.shape, leaf.dtype) for leaf in leaves], self.config
        place = dataclasses.astuple(config.mesh), config.parallel, config.train.eval_batch_size, config.data.packing
        return self.system.graphdef, structure, shapes, self.result["buckets"], place

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels, in the order of the logits."""
        return self.system.classes

    def predict(
        self, texts: Sequence[str] | Sequence[Sequence[str]], pairs: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """The answer to each text, or each text with its pair; to entities a text may also be its words.

        `prediction` and `probabilities` (label -> p); of entities `entities`, each with `type`, `start` and `end`
        (exclusive) in words and, for a text, `start_character` and `end_character`. Its words are runs of letters,
        runs of digits, and single other characters. Entities are looked for in all of a text, in windows where it is
        long. To other texts that are longer than `data.max_length` the answer rests on what `data.long_text` keeps:
        `cut` is how many those were of the latest call.
        """
        if isinstance(texts, str):
            raise InputError("expected a list of texts, found a single one: predict([text])")
        are_texts = {isinstance(text, str) for text in texts}
        if len(are_texts) > 1:
            raise InputError("expected texts, or lists of words, found both: predict them apart")
        words = [list(text) for text in texts] if are_texts == {False} else None
        joined = [text if isinstance(text, str) else " ".join(text) for text in texts]
        return self.predict_rows(Rows(joined, text_pair=None if pairs is None else list(pairs), tokens=words))

    def predict_rows(self, rows: Rows) -> list[dict[str, Any]]:
        """The answer to each row, as `predict` has it. Raises InputError for pairs where training had texts."""
        if not len(rows):
            return []
        rows = self.task.readable(rows)
        if (rows.text_pair is not None) != bool(self.result["pairs"]):
            expected = "pairs of texts" if self.result["pairs"] else "single texts"
            raise InputError(f"the model was trained on {expected}; see data.columns.text_pair")
        encoder = self.system.encoder
        if self.task.reads_words:  # a word that is not read would be one without an identifier
            encoder = encoder.in_windows()
        examples = Examples(rows, encoder.encode(rows))
        self.cut = examples.encoded.truncated
        return list(self.task.said(self.task.answers(self._logits(examples), examples), rows))

    def evaluate(self, split: str, data: str | None = None) -> dict[str, Any]:
        """Scores a split, writes evaluations/<split>.json, and says how that compares with the run's own result."""
        config = self.config
        seed = seed_of(config, "data")
        splits = load_data(config.data, seed, self.workdir.root, config.model.allow_download, data)
        examples = prepare(getattr(splits, split), self.system.encoder, self.task, cache=None)
        scores = self.task.scores(self.task.answers(self._logits(examples), examples), examples)
        report = {
            "split": split,
            **scores.report(),
            "majority": self.task.majority(self.task.known(splits), examples.rows),
            "truncated": examples.encoded.truncated,
            "base_sha256": self.system.base_sha256,
            "versions": runtime.versions(),
            "device": runtime.device(),
        }
        if split in self.result["metrics"]:
            report["against_result"] = self._compare(report, self.result["metrics"][split])
        write_json(self.workdir.evaluation(split), report)
        return report

    def _logits(self, examples: Examples) -> np.ndarray:
        return self._evaluator.logits(self._placed, self._frozen, examples)

    def _compare(self, report: dict[str, Any], recorded: dict[str, Any]) -> dict[str, Any]:
        """Whether the metrics equal the run's: to the bit on a machine with versions like its own, else within 1e-5."""
        same_machine = all(report[name] == self.result[name] for name in ("device", "versions"))
        ours, theirs = flatten(report["metrics"]), flatten(recorded)
        differences = [
            abs(ours[name] - value) for name, value in theirs.items() if value is not None and ours[name] is not None
        ]
        largest = max(differences, default=0.0)
        same = ours == theirs if same_machine else ours.keys() == theirs.keys() and largest <= 1e-5
        return {"checked": "to the bit" if same_machine else "within 1e-5", "same": same, "largest_difference": largest}


def _placement(config: Config) -> Placement:
    """As in training, or one device where the batch does not divide over the devices of this machine."""
    try:
        return placement(config.parallel, (config.train.eval_batch_size,), config.mesh)
    except InputError:
        return placement("jit", ())


def _build(config: Config, result: dict[str, Any], on: system.System | None) -> system.System:
    if on is not None:
        if result["base_sha256"] != on.base_sha256:
            raise InputError(
                f"the run was trained on another base than the one in memory: base_sha256 is "
                f"{on.base_sha256[:12]} there, in result.json {result['base_sha256'][:12]}"
            )
        return system.build_beside(config, result["labels"], on, new=result["new_tensors"])
    seed = result["seeds"]["init"]  # fills the new leaves for a moment: load_best replaces them all
    return system.build(config, result["labels"], seed=seed, new=result["new_tensors"])


def predict_file(restored: Restored, source: Path, target: Path) -> int:
    """The rows of a JSONL or CSV file with what `predict` answers added, in the target's format.

    In CSV the probabilities are columns `probability_<label>`; entities need JSON lines. Returns the number of rows.
    """
    task, endings = restored.task, (".jsonl", ".csv") if restored.task.fits_csv else (".jsonl",)
    if target.suffix not in endings:
        raise InputError(f"--output={target}: expected a name that ends in {' or '.join(endings)}")
    rows, raw = read_rows(source, restored.config.data.columns, False, words=task.reads_words)
    predictions = restored.predict_rows(rows)
    if target.suffix == ".jsonl":
        rows_out = (old | new for old, new in zip(raw, predictions, strict=True))
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows_out)
    else:
        text = _csv_text(raw, list(map(task.columns, predictions)))
    text = text.encode("utf-8", "backslashreplace").decode()  # half a character, which JSON can escape and no file hold
    write_text(target, text)
    return len(raw)


def _csv_text(raw: Sequence[dict[str, Any]], added: Sequence[dict[str, Any]]) -> str:
    buffer = io.StringIO()
    # Lines of JSON may differ in what they have. Columns of an earlier prediction are replaced.
    names = [name for name in dict.fromkeys(name for row in raw for name in row) if name not in added[0]]
    # Text is always quoted: by itself this writer would leave bare what only a lone carriage return asks to quote.
    writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow([*names, *added[0]])
    for old, new in zip(raw, added, strict=True):
        writer.writerow([*map(old.get, names), *new.values()])
    return buffer.getvalue()
