"""The loss against its definition in NumPy."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpeft.config import Config
from jaxpeft.data.rows import Rows
from jaxpeft.data.tokenise import Encoded, Examples
from jaxpeft.tasks.losses import balanced, loss_sum
from jaxpeft.tasks.registry import task_of


def defined(logits, label, weight, gamma):
    """The sum over answers of weight (1 - p)^gamma (-log p)."""
    total = 0.0
    for place in np.ndindex(label.shape):
        p = np.exp(logits[place].astype(float))
        p = (p / p.sum())[label[place]]
        total += weight[place] * (1 - p) ** gamma * -np.log(p)
    return total


@pytest.mark.parametrize("shape", [(6,), (3, 4)])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_it_is_the_focal_loss_of_texts_and_of_words(shape, gamma):
    generator = np.random.default_rng(0)
    logits, weight = generator.normal(0, 2, (*shape, 5)).astype(np.float32), generator.random(shape).astype(np.float32)
    label = generator.integers(0, 5, shape)
    weight.flat[2] = 0.0
    found = loss_sum(logits, {"label": label, "weight": weight}, focal_gamma=gamma)
    assert float(found) == pytest.approx(defined(logits, label, weight, gamma), rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("margin", [-200.0, 0.0, 15.0, 200.0])
def test_certain_answers_have_a_gradient_that_is_a_number(gamma, margin):
    batch = {"label": np.array([0]), "weight": np.ones(1, np.float32)}
    gradient = jax.grad(lambda logits: loss_sum(logits, batch, focal_gamma=gamma))(
        np.array([[margin, 0.0]], np.float32)
    )
    assert np.isfinite(gradient).all()
    if margin < 0:
        np.testing.assert_allclose(gradient, [[-1, 1]], atol=1e-3)


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=30))
def test_balanced_classes_weigh_alike_and_as_much_in_all_as_before(answers):
    label, weight = (np.array(column) for column in zip(*answers, strict=True))
    if not weight.any():
        return
    found = balanced(label, weight, 5)
    totals = np.bincount(label, found, minlength=5)
    present = np.bincount(label, weight, minlength=5) > 0
    np.testing.assert_allclose(totals[present], weight.sum() / present.sum(), rtol=1e-5)
    np.testing.assert_allclose(found.sum(), weight.sum(), rtol=1e-5)
    assert not totals[~present].any()


def test_balancing_is_by_the_definition_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    label = np.array([0, 0, 0, 1, 2, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=label)
    np.testing.assert_allclose(balanced(label, np.ones(6), 3), expected[label], rtol=1e-6)


TEXTS = Examples(
    Rows(text=["a", "b", "c"], label=["no", "no", "yes"]),
    Encoded(ids=np.zeros(8, np.int32), starts=np.array([0, 2, 4, 6, 8]), row_of=np.array([0, 0, 1, 2])),
)
WORDS = Examples(
    Rows(text=["a b c d"], tokens=[["a", "b", "c", "d"]], tags=[["O", "O", "O", "B-x"]]),
    Encoded(
        ids=np.zeros(6, np.int32),
        starts=np.array([0, 6]),
        row_of=np.array([0]),
        words=np.array([-1, 0, 1, 2, 3, -1]),
        leads=np.array([0, 1, 1, 1, 1, 0], bool),
    ),
)


@pytest.mark.parametrize(
    ("task", "examples", "classes", "plain", "expected"),
    [
        ("sequence_classification", TEXTS, ("no", "yes"), [0.5, 0.5, 1, 1], [0.375, 0.375, 0.75, 1.5]),
        ("relation_extraction", TEXTS, ("no", "yes"), [0.5, 0.5, 1, 1], [0.375, 0.375, 0.75, 1.5]),
        ("token_classification", WORDS, ("O", "B-x", "I-x"), [0, 1, 1, 1, 1, 0], [0, 2 / 3, 2 / 3, 2 / 3, 2, 0]),
    ],
)
def test_every_task_balances_if_told_to(task, examples, classes, plain, expected):
    config = Config(task=task)
    config.data.negative_label = "no"
    np.testing.assert_allclose(task_of(config, classes).targets(examples).weight, plain)
    config.train.class_weights = "balanced"
    np.testing.assert_allclose(task_of(config, classes).targets(examples).weight, expected, rtol=1e-6)


@pytest.mark.parametrize("task", ["sequence_classification", "token_classification"])
def test_every_task_focuses_if_told_to(task):
    config = Config(task=task)
    config.train.focal_gamma = 2.0
    batch = {"label": np.array([1]), "weight": np.ones(1, np.float32)}
    logits = np.array([[0.0, 1.0]], np.float32)
    found = task_of(config, ("O", "B-x")).loss_sum(logits, batch)
    assert float(found) == pytest.approx(defined(logits, batch["label"], batch["weight"], 2.0), rel=1e-5)
