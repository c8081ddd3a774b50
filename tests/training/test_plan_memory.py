"""Memory of the programs that a run compiles, and the largest batch within it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpeft.errors import InputError
from jaxpeft.training import cards, plan_memory, start
from jaxpeft.training.blueprint import draw
from jaxpeft.training.plan_memory import MOST, PROGRAMS, largest_batch, training_memory
from tests import tiny
from tests.training.test_loop import make_loop

CLASSES = tiny.LABELS


def sizes(leaves):
    return {path: (leaf.shape, leaf.dtype) for path, leaf in leaves.items()}


@pytest.mark.parametrize(
    "changes",
    [{}, {"peft__method": "full"}, {"model__dtype": "bfloat16"}, {"peft__lora__rank_pattern": ("layer.1.*query=4",)}],
    ids=str,
)
def test_what_stays_in_memory_is_what_a_run_builds(base, data, changes):
    config = tiny.experiment(base, data, **changes)
    (built, _), drawn = start.build(config, CLASSES, None), draw(config, CLASSES)
    assert sizes(drawn.trainable) == sizes(built.trainable)
    assert sizes(drawn.frozen) == sizes(built.frozen)
    counts = built.count()
    assert drawn.count() == {
        "adapter": counts["peft_params"],
        "head": counts["head_params"],
        "frozen": counts["total_params"] - counts["trainable_params"],
    }
    roles, trainable = plan_memory.resident(drawn), sum(leaf.nbytes for leaf in built.trainable.values())
    assert roles["frozen base"] == sum(leaf.nbytes for leaf in built.frozen.values())
    assert roles["trainable"] == trainable
    assert roles["optimizer state"] == pytest.approx(2 * trainable, abs=64)  # and a few counters


def test_the_programs_are_those_of_a_run(base, data, tmp_path):
    config = tiny.experiment(base, data, train__epochs=1, train__accumulate=2, data__buckets=1, data__packing=False)
    loop = make_loop(config, tmp_path)
    loop.run()
    drawn = draw(config, CLASSES)
    program = plan_memory.training_program(drawn, config.train.batch_size)
    planned = program.compiled().memory_analysis()
    (ran,) = (found.memory_analysis() for found in loop.step_function._executables.values())
    assert planned.temp_size_in_bytes == ran.temp_size_in_bytes
    assert planned.argument_size_in_bytes == ran.argument_size_in_bytes
    assert planned.alias_size_in_bytes == ran.alias_size_in_bytes > 0
    whole = planned.argument_size_in_bytes + planned.output_size_in_bytes - planned.alias_size_in_bytes
    roles = training_memory(drawn, config.train.batch_size, here=False)
    assert sum(roles.values()) == pytest.approx(whole + planned.temp_size_in_bytes, abs=64)  # each byte has one role
    copies = sum(training_memory(drawn, config.train.batch_size).values()) - sum(roles.values())
    assert copies == 3 * 4 * config.train.batch_size * config.data.max_length * 40  # of the widest matrix's inputs
    assert planned_evaluation(config) == evaluation_of(loop)


def test_packed_steps_take_less_than_planned_and_evaluation_what_is_planned(base, data, tmp_path):
    config = tiny.experiment(base, data, train__epochs=1, train__accumulate=2, data__buckets=1)
    loop = make_loop(config, tmp_path)
    loop.run()
    planned = plan_memory.training_program(draw(config, CLASSES), config.train.batch_size).compiled().memory_analysis()
    for ran in loop.step_function._executables.values():
        assert ran.memory_analysis().temp_size_in_bytes < planned.temp_size_in_bytes
    assert planned_evaluation(config) == evaluation_of(loop)


def planned_evaluation(config):
    program = plan_memory.evaluation_program(draw(config, CLASSES), config.train.eval_batch_size)
    return program.compiled().memory_analysis().temp_size_in_bytes


def evaluation_of(loop):
    (ran,) = loop.evaluator._forward._executables.values()
    return ran.memory_analysis().temp_size_in_bytes


def test_tokens_have_a_label_each(tagged_base, tagged_data):
    drawn = draw(tiny.experiment(tagged_base, tagged_data, task="token_classification"), tiny.TAGS)
    assert {name: leaf.shape for name, leaf in plan_memory.training_program(drawn, 8).batch.items()} == {
        "ids": (1, 8, 32),
        "mask": (1, 8, 32),
        "example": (1, 8),
        "label": (1, 8, 32),
        "weight": (1, 8, 32),
    }


# The largest batch


@given(
    fixed=st.integers(0, 10**11),
    slope=st.integers(1, 10**9),
    limit=st.integers(1, 10**11),
    first=st.integers(1, 4096),
)
def test_where_memory_grows_in_a_line_few_programs_find_the_largest_batch(fixed, slope, limit, first):
    asked = []

    def bytes_of(batch):
        asked.append(batch)
        return fixed + slope * batch

    found = largest_batch(bytes_of, limit, first)
    assert found == max(0, min(MOST, (limit - fixed) // slope))
    assert len(asked) <= 6
    assert found == 0 or found in asked


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(0, 1000), st.integers(1, 64))
def test_where_it_does_not_the_answer_still_fits(steps, limit, first):
    sizes = np.cumsum(steps)

    asked = []

    def bytes_of(batch):
        asked.append(batch)
        return int(sizes[min(batch, len(sizes)) - 1]) + max(0, batch - len(sizes))

    found = largest_batch(bytes_of, limit, first)
    assert len(asked) <= PROGRAMS + 7  # halves of 64 are few
    assert found == 0 or bytes_of(found) <= limit
    assert found > 0 or bytes_of(1) > limit


# Cards


def test_jax_takes_three_quarters_of_a_card_unless_told_otherwise(monkeypatch):
    for name in cards.SHARE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert cards.memory_limit("a100-80g", None) == (60 * 2**30, "60.0 of the 80 GiB of a100-80g")
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", ".9")
    assert cards.memory_limit("a100-80g", None)[0] == 72 * 2**30
    assert cards.memory_limit(None, 0.5) == (2**29, "0.5 GiB")
    assert cards.memory_limit(None, None) is None
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "most")
    with pytest.raises(InputError, match="XLA_PYTHON_CLIENT_MEM_FRACTION is 'most'"):
        cards.memory_limit("a100-80g", None)


@pytest.mark.parametrize(
    ("card", "memory", "message"),
    [
        ("a100-80g", 8.0, "--card and --memory_gib are both set"),
        ("a100", None, "--card=a100: no such card; there are t4-16g"),
        *((None, memory, "--memory_gib is") for memory in (0.0, -1.0, float("nan"), float("inf"))),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(card, memory, message):
    with pytest.raises(InputError, match=message):
        cards.memory_limit(card, memory)
