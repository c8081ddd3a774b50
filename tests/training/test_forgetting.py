"""What a run says of forgetting: the base's own head on the same hidden words, or how far hidden states have moved."""

import json
import shutil
import time

import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpeft import peft, population
from jaxpeft.data.rows import Rows
from jaxpeft.data.tokenise import Encoded
from jaxpeft.models.language_head import read_language_head
from jaxpeft.models.pretrained import Checkpoint, read_config
from jaxpeft.training import forgetting, system
from jaxpeft.training.forgetting import DRIFT, MASKED, NEXT, questions
from jaxpeft.training.report import final_table
from jaxpeft.training.run import train
from jaxpeft.training.workdir import Workdir
from tests import tiny

MASK, SPECIAL = 4, (0, 1, 2, 3, 4)
METHODS = {
    "lora": {},
    "biases": {"peft__lora__bias": "all"},
    "dora": {"peft__lora__dora": True},
    "ia3": {"peft__method": "ia3"},
    "prompt": {"peft__method": "prompt", "peft__prompt__tokens": 3},
    "p_tuning": {"peft__method": "p_tuning", "peft__p_tuning__tokens": 3},
    "prefix": {"peft__method": "prefix", "peft__prefix__tokens": 3},
    "bitfit": {"peft__method": "bitfit"},
    "full": {"peft__method": "full"},
}


def head_tensors():
    generator, d, words = np.random.default_rng(7), tiny.SIZES["hidden_size"], tiny.SIZES["vocab_size"]
    shapes = {"bias": (words,), "transform.dense.weight": (d, d), "transform.dense.bias": (d,)}
    shapes |= {"transform.LayerNorm.weight": (d,), "transform.LayerNorm.bias": (d,)}
    return {f"cls.predictions.{name}": generator.normal(0, 0.4, shape).astype("f") for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def with_head(tmp_path_factory):
    """The folder of a base that has its language-model head."""
    return tiny.write_base(tmp_path_factory.mktemp("base"), tiny.tensors() | head_tensors())


def config_of(base, **changes):
    settings = {"diagnostics__forgetting_texts": 20, "data__max_length": 24, **changes}
    return tiny.experiment(base, base, **settings)


def validation_of(model):
    return model.encoder.encode(Rows([row["text"] for row in tiny.rows(30, seed=2)]))


def measured(base, moved=0.2, **changes):
    """The measure of a system whose trained leaves have moved at random."""
    config = config_of(base, **changes)
    model, generator = system.build(config, tiny.LABELS, seed=3), np.random.default_rng(4)
    trained = {
        path: leaf + moved * jnp.asarray(generator.normal(0, 1, leaf.shape), leaf.dtype)
        for path, leaf in model.trainable.items()
    }
    return forgetting.measure(config, model, trained, validation_of(model))


@pytest.fixture(scope="module")
def untouched(with_head):
    """What the base says where nothing of its encoder trains."""
    return measured(with_head, peft__method="head")


def one_by_one(base, texts):
    """Mean loss of the untouched base, each text alone at its own length."""
    config = config_of(base)
    found = system.build(config, tiny.LABELS, seed=3)
    model = peft.detach(peft.unflatten(found.graphdef, {**found.trainable, **found.frozen}))
    head = read_language_head(model, read_config(base), Checkpoint(base, model))
    asked, total = questions(validation_of(found), texts, MASKED, SPECIAL, MASK), 0.0
    for row in range(len(asked.ids)):
        length, places = int(asked.mask[row].sum()), asked.places[row][asked.asked[row]]
        states, _ = model.encode(asked.ids[row : row + 1, :length], asked.mask[row : row + 1, :length])
        total += float(head.losses(states[0, places], jnp.asarray(asked.words[row][asked.asked[row]])).sum())
    return total / asked.asked.sum()


@pytest.mark.parametrize("method", METHODS)
def test_the_head_reads_the_untouched_base_whatever_has_trained(with_head, untouched, method):
    found = measured(with_head, **METHODS[method])
    assert found.keys() == {"kind", "before", "after", "texts", "tokens"}
    assert (found["kind"], found["texts"]) == (MASKED, 20)
    assert found["before"] == pytest.approx(untouched["before"], abs=1e-5)
    assert abs(found["after"] - found["before"]) > 1e-4


def test_batches_and_padding_change_nothing(with_head):
    found = measured(with_head, peft__method="head", diagnostics__forgetting_texts=3)
    assert found["before"] == found["after"] == pytest.approx(one_by_one(with_head, 3), abs=1e-4)


@pytest.mark.parametrize("changes", [{"peft__method": "head"}, {"peft__lora__rank": 3}], ids=["head", "lora"])
@pytest.mark.parametrize("base_name", ["with_head", "base"])
def test_an_encoder_that_has_not_changed_has_forgotten_nothing(request, base_name, changes):
    found = measured(request.getfixturevalue(base_name), moved=0.0, **changes)
    assert found["after"] == pytest.approx(found["before"], abs=1e-5)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_without_a_head_it_is_how_far_states_have_moved(base, method):
    near, far = (measured(base, moved, **METHODS[method]) for moved in (0.02, 0.2))
    assert near["kind"] == far["kind"] == DRIFT
    assert near["before"] == 0.0
    assert 0 < near["after"] < far["after"] < 2


def test_a_base_without_a_mask_token_is_asked_for_its_drift(tmp_path, with_head):
    folder = shutil.copytree(with_head, tmp_path / "base")
    (folder / "vocab.txt").write_text((folder / "vocab.txt").read_text().replace("[MASK]", "unused"))
    assert measured(folder)["kind"] == DRIFT


def test_a_quantised_base_is_compared_with_itself(with_head, untouched):
    found = measured(with_head, moved=0.0, model__quantise="int8")
    assert found["before"] == pytest.approx(found["after"], abs=1e-6)
    assert found["before"] != pytest.approx(untouched["before"], abs=1e-6)
    biases = measured(with_head, model__quantise="int8", peft__lora__bias="all")  # whose base is read again
    assert biases["before"] == pytest.approx(found["before"], abs=1e-6)


def test_words_with_tags(with_head):
    config = config_of(with_head, task="token_classification")
    model = system.build(config, tiny.TAGS, seed=3)
    rows = [row["tokens"] for row in tiny.tagged_rows(6, seed=2)]
    encoded = model.encoder.encode(Rows([" ".join(words) for words in rows], tokens=rows))
    found = forgetting.measure(config, model, model.trainable, encoded)
    assert (found["kind"], found["texts"]) == (MASKED, 6)


# What it says where it cannot be measured


def test_none_is_measured_where_no_text_is_asked_for(base):
    assert measured(base, diagnostics__forgetting_texts=0) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda folder: shutil.rmtree(folder), "no such folder"),
        (lambda folder: tiny.write_base(folder, tiny.tensors(seed=1)), "other tensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"cut"), "no readable safetensors"),
    ],
    ids=["gone", "another", "unreadable"],
)
def test_a_base_that_is_gone_or_another_costs_no_run_its_result(tmp_path, change, reason):
    folder = tiny.write_base(tmp_path / "base")
    config = config_of(folder, peft__method="full")
    model = system.build(config, tiny.LABELS, seed=3)
    change(folder)
    found = forgetting.measure(config, model, model.trainable, validation_of(model))
    assert found["kind"] is None
    assert reason in found["reason"]


def test_a_split_base_and_what_nobody_foresaw_are_reasons_too(base, monkeypatch):
    assert "split over devices" in measured(base, mesh__model=2)["reason"]

    assert "no number" in measured(base, moved=np.inf)["reason"]

    def fails(*_):
        raise MemoryError("a note of the patient")

    monkeypatch.setattr(forgetting, "questions", fails)
    assert measured(base) == {"kind": None, "reason": "MemoryError"}


# In a run


def test_a_run_and_a_population_leave_it_in_their_results(tmp_path, with_head, data):
    changes = {"train__steps": 4, "diagnostics__forgetting_texts": 8, "data__max_length": 24}
    together = tiny.experiment(with_head, data, population__ranks=(2, 3), **changes)
    train(together, Workdir(tmp_path / "population"), started=time.time())
    member = population.runs(together)[1]
    single = train(member.config, Workdir(tmp_path / "single"), started=time.time())["forgetting"]
    assert single["kind"] == MASKED
    shown = final_table(json.loads((tmp_path / "single" / "result.json").read_text()))
    assert f"masked words went from {single['before']:.2f} to {single['after']:.2f} nats" in shown
    path = tmp_path / "population" / "members" / member.name / "result.json"
    assert json.loads(path.read_text())["forgetting"] == pytest.approx(single, abs=1e-4)


def test_it_is_measured_on_one_device_of_several(tmp_path, with_head, data):
    changes = {"train__steps": 1, "diagnostics__forgetting_texts": 8, "data__max_length": 24, "peft__method": "full"}
    config = tiny.experiment(with_head, data, parallel="sharded", train__test_on="last", **changes)
    found = train(config, Workdir(tmp_path), started=time.time())["forgetting"]
    assert found["kind"] == MASKED
    assert found["before"] != found["after"]


# What is asked


@st.composite
def encodings(draw):
    lengths = draw(st.lists(st.integers(1, 150), min_size=1, max_size=6))
    ids = np.array(draw(st.lists(st.integers(0, 12), min_size=sum(lengths), max_size=sum(lengths))), np.int32)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return Encoded(ids, starts, np.arange(len(lengths), dtype=np.int32))


@hypothesis.given(encodings(), st.integers(1, 8), st.sampled_from([MASKED, NEXT, DRIFT]))
def test_what_is_asked_stands_in_the_texts(encoded, texts, kind):
    asked = questions(encoded, texts, kind, SPECIAL, MASK)
    assert len(asked.ids) == min(texts, len(encoded))
    assert asked.ids.shape[1] % 8 == 0
    for row in range(len(asked.ids)):
        length, places = asked.mask[row].sum(), asked.places[row][asked.asked[row]]
        words = asked.words[row][asked.asked[row]]
        assert len(set(places)) == len(places)
        assert (places + (kind == NEXT) < length).all()
        assert not np.isin(words, SPECIAL).any()
        text = asked.ids[row, :length].copy()
        if kind == MASKED:
            assert (text[places] == MASK).all()
            text[places] = words
            real = (~np.isin(text, SPECIAL)).sum()
            assert len(places) == (max(round(0.15 * real), 1) if real else 0)
        else:
            np.testing.assert_array_equal(text[places + (kind == NEXT)], words)
        bounds = zip(encoded.starts, encoded.starts[1:], strict=False)
        assert any(np.array_equal(encoded.ids[start:end][:128], text) for start, end in bounds)


def test_the_same_is_asked_each_time(with_head):
    model = system.build(config_of(with_head), tiny.LABELS, seed=3)
    first, second = (questions(validation_of(model), 20, MASKED, SPECIAL, MASK) for _ in range(2))
    np.testing.assert_array_equal(first.places, second.places)
    np.testing.assert_array_equal(first.ids, second.ids)


def test_pairs_keep_their_segments(with_head):
    model = system.build(config_of(with_head), tiny.LABELS, seed=3)
    encoded = model.encoder.encode(Rows(["w1 w2 w3"], text_pair=["w4 w5"]))
    asked = questions(encoded, 1, MASKED, SPECIAL, MASK)
    np.testing.assert_array_equal(asked.segments, [[0, 0, 0, 0, 0, 1, 1, 1]])
