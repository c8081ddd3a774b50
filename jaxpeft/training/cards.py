"""How much memory a plan is for: accelerators by name, and what JAX takes of one."""

import os
from collections.abc import Mapping

from jaxpeft.errors import InputError

GIB = 2**30
CARDS: Mapping[str, float] = {  # GiB, as the driver reports them, rounded down
    "t4-16g": 15,
    "rtx2080ti-11g": 10.7,
    "v100-16g": 16,
    "v100-32g": 32,
    "rtx3090-24g": 24,
    "rtx4090-24g": 23.9,
    "l4-24g": 22.4,
    "a10-24g": 22.4,
    "a40-48g": 44.9,
    "l40s-48g": 44.9,
    "a100-40g": 40,
    "a100-80g": 80,
    "h100-80g": 79.6,
    "h200-141g": 140.4,
}
JAXS_SHARE = 0.75  # of a card, unless one of these variables of the environment says otherwise
SHARE_VARIABLES = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")


def memory_limit(card: str | None, memory_gib: float | None) -> tuple[int, str] | None:
    """Bytes that a run may take on one device, and in words where the number is from; None where neither is given.

    Of a card JAX takes a share; `memory_gib` is taken as it is. Raises InputError.
    """
    if card is not None and memory_gib is not None:
        raise InputError("--card and --memory_gib are both set: set one")
    if memory_gib is not None:
        if not 0 < memory_gib < 2**20:
            raise InputError(f"--memory_gib is {memory_gib}, expected more than 0, in GiB")
        return int(memory_gib * GIB), f"{memory_gib:g} GiB"
    if card is None:
        return None
    if card not in CARDS:
        raise InputError(f"--card={card}: no such card; there are {', '.join(CARDS)}; or give --memory_gib=N")
    share = _share()
    return int(CARDS[card] * share * GIB), f"{CARDS[card] * share:.1f} of the {CARDS[card]:g} GiB of {card}"


def _share() -> float:
    for name in SHARE_VARIABLES:
        if given := os.environ.get(name):
            try:
                share = float(given)
            except ValueError:
                share = 0.0
            if not 0 < share <= 1:
                raise InputError(f"{name} is {given!r} in the environment, expected a share from 0 to 1")
            return share
    return JAXS_SHARE
