"""Relations as a task: its scores, its baseline, and the paper's count where the paper's protocol is chosen."""

import numpy as np
import pytest

from jaxpeft.config import Config
from jaxpeft.data.rows import Rows
from jaxpeft.data.tokenise import Encoded, Examples
from jaxpeft.errors import InputError
from jaxpeft.tasks.registry import task_of
from jaxpeft.tasks.relations import METRIC_NAMES

LABELS = ("false", "PIP", "TrAP")
ROWS = Rows(text=["a"] * 5, label=["false", "false", "PIP", "TrAP", "never seen"])
EXAMPLES = Examples(ROWS, Encoded(np.zeros(5, np.int32), np.arange(6), np.arange(5)))
LOGITS = np.eye(3, dtype=np.float32)[[0, 1, 1, 0, 0]]


def relations(protocol="fixed"):
    config = Config(task="relation_extraction")
    config.data.protocol = protocol
    return task_of(config, LABELS)


def test_scores_are_of_what_is_not_negative():
    metrics = relations().scores(LOGITS, EXAMPLES).metrics
    assert tuple(metrics) == METRIC_NAMES
    assert metrics["f1_positive_micro"]["value"] == pytest.approx(2 * 1 / (2 + 3))
    assert metrics["f1_micro_with_negative"]["value"] == pytest.approx(2 / 5)
    assert relations().majority(ROWS, ROWS)["f1_micro_with_negative"] == pytest.approx(2 / 5)
    assert relations().majority(ROWS, ROWS)["f1_positive_micro"] == 0.0


def test_of_two_classes_the_relation_is_the_positive_one():
    config = Config(task="relation_extraction")
    assert [task_of(config, names).positive for names in (("TrAP", "false"), ("false", "interacts"))] == [0, 1]


def test_the_papers_count_has_a_name_of_its_own():
    metrics = relations("paper").scores(LOGITS, EXAMPLES).metrics
    assert metrics.keys() - set(METRIC_NAMES) == {"paper_f1_micro"}
    assert metrics["paper_f1_micro"] == {"value": pytest.approx(2 / 5), "low": None, "high": None}


def test_without_the_negative_label_among_the_classes_there_is_no_such_task():
    with pytest.raises(InputError, match=r"data\.negative_label is 'false', which is none of the labels PIP, TrAP"):
        task_of(Config(task="relation_extraction"), ("PIP", "TrAP"))
