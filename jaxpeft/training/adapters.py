"""One base in memory, several finished runs on it."""

from collections.abc import Sequence
from typing import Any

from jaxpeft.config import expanded
from jaxpeft.errors import InputError
from jaxpeft.training.restore import Restored


class Adapters:
    """Finished runs of one base by name. The base is loaded once; adapters of one shape share a compiled program.

    adapters = Adapters()
    adapters.attach("triage", "runs/triage")    # loads the base
    adapters.attach("stay", "runs/stay")        # shares it
    adapters.switch("stay")
    adapters.predict(["Admitted with ..."])
    """

    def __init__(self, *, base: str | None = None):
        """`base` says where the base model is now, if it moved."""
        self._base = base
        self._attached: dict[str, Restored] = {}
        self._active: str | None = None

    def attach(self, name: str, workdir: str) -> None:
        """Adds a finished run and makes it the active one. Raises InputError for a taken name or another base."""
        if name in self._attached:
            raise InputError(f"an adapter {name!r} is attached already: detach it first, or choose another name")
        beside = list(self._attached.values())
        self._attached[name] = Restored(expanded(workdir), base=self._base, beside=beside)
        self._active = name

    def detach(self, name: str) -> None:
        """Removes a run; the base stays while another uses it."""
        self._find(name)
        del self._attached[name]
        if self._active == name:
            self._active = None

    def switch(self, name: str) -> None:
        """Makes an attached run the one that predicts."""
        self._find(name)
        self._active = name

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """`prediction` and `probabilities` of the active run, for each text, or each text with its pair."""
        if self._active is None:
            raise InputError("no adapter is active: attach one, or switch to one that is attached")
        return self._attached[self._active].predict(texts, pairs)

    def listed(self) -> list[dict[str, Any]]:
        """`name`, `active`, `method`, `labels`, and the `parameters` and `bytes` of its own, of each attached run."""
        return [
            {
                "name": name,
                "active": name == self._active,
                "method": run.config.peft.method,
                "labels": run.classes,
                "parameters": run.system.count()["trainable_params"],
                "bytes": sum(leaf.nbytes for leaf in run.trainable.values()),
            }
            for name, run in self._attached.items()
        ]

    def _find(self, name: str) -> Restored:
        if name not in self._attached:
            known = ", ".join(map(repr, self._attached)) or "none"
            raise InputError(f"no adapter {name!r} is attached; attached: {known}")
        return self._attached[name]
