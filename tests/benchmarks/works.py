"""Work for sides: a spawned process imports it by name."""

import os
import time

from benchmarks.turns import LeftOutError, Work


def sleeping(seconds):
    return Work(lambda steps: time.sleep(seconds * steps), 2, 10.0, lambda: {"peak_bytes": 3})


def of_environment():
    return Work(lambda steps: time.sleep(0.1 * steps), 1, report=lambda: {"seen": os.environ["SEEN"]})


def failing():
    raise ValueError("a reason")


def impossible():
    raise LeftOutError("not here")


def dying():
    os._exit(7)
