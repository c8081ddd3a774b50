"""What every architecture promises, whatever it is: a whole table, targets that match, dropout, half precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxpeft.config import Config, PeftConfig
from jaxpeft.errors import InputError
from jaxpeft.models import MODELS
from jaxpeft.models.dropout import example_seeds
from jaxpeft.models.layers import initialise
from jaxpeft.models.layout import Layout
from jaxpeft.peft import attach, flatten, targets, unflatten
from jaxpeft.training.system import abstract

COMMON = {"vocab_size": 61, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 36}
SIZES = {
    "bert": {**COMMON, "hidden_size": 24, "intermediate_size": 40},
    "distilbert": {"vocab_size": 61, "n_layers": 2, "n_heads": 4, "dim": 24, "hidden_dim": 40},
    "llama": {**COMMON, "hidden_size": 24, "intermediate_size": 40, "num_key_value_heads": 2, "head_dim": 10},
    "mobilebert": {
        **COMMON,
        "hidden_size": 32,
        "intermediate_size": 40,
        "embedding_size": 12,
        "intra_bottleneck_size": 20,
    },
    "roberta": {**COMMON, "hidden_size": 24, "intermediate_size": 40},
}
TASKS = ("sequence_classification", "token_classification")
CELLS = [(model_type, task) for model_type in MODELS for task in TASKS]
SEEDS = example_seeds(1, 2, np.arange(4))


def shell(model_type, task="sequence_classification", *, dtype="float32", **changes):
    """An abstract tiny model of three labels."""
    config = Config(task=task)
    config.model.dtype = dtype
    return abstract(config, {"model_type": model_type, **SIZES[model_type], **changes}, 3)


def filled(model, dtype="float32"):
    """The same model with random leaves; norms and biases too."""
    graphdef, leaves = flatten(model)
    key = jax.random.key(7)

    def one(path, leaf):
        noise = initialise(
            path + ".kernel", leaf.shape, key, standard_deviation=0.15
        )  # larger: MobileBERT, without norms, saturates
        return (noise + (1.0 if path.endswith("scale") else 0.0)).astype(dtype)

    return unflatten(graphdef, {path: one(path, leaf) for path, leaf in leaves.items()})


@jax.jit
def forward(split_model, ids, mask, seeds=None):
    return nnx.merge(*split_model, copy=True)(ids, mask, seeds=seeds)


def logits(model, ids, mask, seeds=None):
    return forward(nnx.split(model), ids, mask, seeds)


def random_batch(rows=4, length=13, *, left=False):
    generator = np.random.default_rng(5)
    mask = np.arange(length) < generator.integers(3, length, rows)[:, None]
    mask = mask[:, ::-1] if left else mask
    return np.where(mask, generator.integers(5, 61, (rows, length)), 0), mask


def test_every_architecture_has_sizes_here():
    assert set(SIZES) == set(MODELS)


@pytest.mark.parametrize(("model_type", "task"), CELLS)
def test_every_leaf_stands_once_in_the_table_of_tensors(model_type, task):
    model = shell(model_type, task)
    paths = [tensor.path for tensor in model.tensors()]
    assert sorted(paths) == sorted(flatten(model)[1])
    names = [tensor.name for tensor in model.tensors()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("model_type", "task"), CELLS)
def test_what_a_class_says_of_itself_is_there(model_type, task):
    model = shell(model_type, task)
    parts = {path.split(".")[0] for path in flatten(model)[1]}
    assert set(model.head) <= parts
    assert set(model.head) <= set(model.may_lack) & set(model.head_layers)
    assert parts - set(model.head_layers) <= {"embeddings", "layers", "norm"}
    for path in model.reads_embeddings:
        assert any(found.startswith(path) for found in model.linear_names()), path


@pytest.mark.parametrize("method", ["lora", "ia3"])
@pytest.mark.parametrize("model_type", MODELS)
def test_default_targets_match_in_the_layers_alone(model_type, method):
    found = targets(shell(model_type), PeftConfig(method=method))
    assert found
    assert all(path.startswith("layers.") for path in found)


@pytest.mark.parametrize(("model_type", "task"), CELLS)
def test_adapters_start_at_the_base_and_dropout_is_on_with_seeds_alone(model_type, task):
    base = filled(shell(model_type, task, attention_dropout=0.1))
    ids, mask = random_batch()
    plain = logits(base, ids, mask)
    assert plain.shape == ((4, 3) if base.pools else (4, 13, 3))
    assert float(abs(logits(base, ids, mask, SEEDS) - plain).max()) > 1e-4
    adapted = attach(base, PeftConfig(method="lora"), jax.random.key(0))
    np.testing.assert_array_equal(logits(adapted, ids, mask), plain)


@pytest.mark.parametrize("model_type", MODELS)
def test_bfloat16_is_close_and_its_logits_are_float32(model_type):
    ids, mask = random_batch()
    exact = logits(filled(shell(model_type)), ids, mask)
    half = logits(filled(shell(model_type, dtype="bfloat16"), "bfloat16"), ids, mask)
    assert half.dtype == jnp.float32
    assert not np.array_equal(half, exact)
    np.testing.assert_allclose(half, exact, atol=0.05 * float(abs(exact).max()))


@pytest.mark.parametrize("model_type", MODELS)
def test_padding_on_the_right_changes_nothing(model_type):
    # Every row has padding already: MobileBERT's trigrams see the token after the last word, as in transformers.
    model, (ids, mask) = filled(shell(model_type)), random_batch()
    longer = logits(model, np.pad(ids, ((0, 0), (0, 7))), np.pad(mask, ((0, 0), (0, 7))))
    np.testing.assert_allclose(longer, logits(model, ids, mask), atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_llama_takes_padding_on_either_side(task):
    model = filled(shell("llama", task))
    (left_ids, left_mask), (right_ids, right_mask) = random_batch(left=True), random_batch()
    left_ids[left_mask] = right_ids[right_mask]  # row by row the same tokens, in order
    left, right = logits(model, left_ids, left_mask), logits(model, right_ids, right_mask)
    if task == "token_classification":
        left, right = left[left_mask], right[right_mask]
    np.testing.assert_allclose(left, right, atol=1e-4)


def test_llama_sees_nothing_of_what_follows():
    model, (ids, mask) = filled(shell("llama", "token_classification")), random_batch()
    other = ids.copy()
    other[:, 7:] += 1
    ours, changed = logits(model, ids, mask), logits(model, other, mask)
    np.testing.assert_allclose(ours[:, :7], changed[:, :7], atol=1e-6)
    assert float(abs(ours[:, 7:] - changed[:, 7:])[mask[:, 7:]].min()) > 1e-6


def test_the_last_token_is_neither_masked_nor_padding():
    ids = np.array([[5, 6, 2, 0], [0, 5, 6, 2], [5, 6, 7, 8], [0, 0, 0, 0]])
    mask = np.array([[1, 1, 1, 0], [0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]])
    states = np.broadcast_to(np.arange(4.0)[:, None], (4, 4, 24))  # each says where it stands
    for padding, places in ((None, [2, 3, 3, 0]), (0, [2, 3, 3, 0]), (2, [1, 2, 3, 0])):
        read = shell("llama", pad_token_id=padding).read(states, ids, Layout.one_a_row(mask))
        assert read[:, 0].tolist() == places


def test_roberta_counts_real_tokens_from_behind_the_padding_token():
    config = shell("roberta").config
    layout = Layout.one_a_row(np.array([[1, 1, 1, 0], [0, 1, 0, 1]]))
    assert config.positions(layout, 0).tolist() == [[2, 3, 4, 1], [1, 2, 1, 3]]
    assert config.positions(Layout.one_a_row(np.array([[1, 1, 1, 0]])), 5).tolist() == [[7, 8, 9, 1]]
    assert config.max_tokens == 34


@pytest.mark.parametrize(
    ("model_type", "changes", "fragments"),
    [
        ("mobilebert", {"normalization_type": "layer_norm"}, ["normalization_type is 'layer_norm'", "'no_norm'"]),
        (
            "mobilebert",
            {"use_bottleneck": False, "hidden_act": "tan"},
            ["use_bottleneck is False", "hidden_act is 'tan'"],
        ),
        (
            "distilbert",
            {"activation": "tan", "n_heads": 5},
            ["activation is 'tan'", "dim 24 is no multiple of n_heads 5"],
        ),
        ("roberta", {"pad_token_id": None}, ["pad_token_id is None"]),
        ("llama", {"hidden_act": "gelu"}, ["hidden_act is 'gelu'; supported is 'silu'"]),
        ("llama", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, ["rope_type is 'dynamic'", "llama3"]),
        ("llama", {"rope_scaling": {"type": "linear", "factor": None}}, ["factor is None: expected a number above 0"]),
        ("llama", {"rope_theta": None}, ["rope_theta is None"]),
        ("bert", {"hidden_size": "24"}, ["hidden_size is '24': expected int"]),
        ("bert", {"num_attention_heads": 0}, ["num_attention_heads is 0: expected 1 or more"]),
        ("bert", {"layer_norm_eps": None}, ["layer_norm_eps is None: expected float"]),
        ("bert", {"is_decoder": True}, ["is_decoder is True"]),
        ("llama", {"num_key_value_heads": 3}, ["num_attention_heads 4 is no multiple of num_key_value_heads 3"]),
    ],
)
def test_a_config_that_cannot_be_computed_is_refused(model_type, changes, fragments):
    with pytest.raises(InputError) as raised:
        shell(model_type, **changes)
    for fragment in fragments:
        assert fragment in str(raised.value)


def test_llamas_older_files_say_the_same_of_their_positions():
    scaling = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 64}
    old = shell("llama", rope_theta=5e5, rope_scaling=scaling).config
    assert old == shell("llama", rope_parameters={"rope_theta": 5e5, **scaling}).config
    assert old.rope.rope_theta == 5e5


RATES_OFF = {
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "seq_classif_dropout": 0.0,
    "classifier_dropout": 0.0,
}


@pytest.mark.parametrize(
    ("model_type", "task", "rate"),
    [
        ("bert", "sequence_classification", "classifier_dropout"),
        ("bert", "token_classification", "attention_probs_dropout_prob"),
        ("roberta", "sequence_classification", "classifier_dropout"),
        ("distilbert", "sequence_classification", "seq_classif_dropout"),
        ("distilbert", "token_classification", "attention_dropout"),
        ("mobilebert", "sequence_classification", "hidden_dropout_prob"),
        ("mobilebert", "token_classification", "attention_probs_dropout_prob"),
        ("llama", "sequence_classification", "attention_dropout"),
        ("llama", "token_classification", "classifier_dropout"),
    ],
)
def test_each_rate_drops_by_itself(model_type, task, rate):
    ids, mask = random_batch()
    for value, drops in ((0.0, False), (0.5, True)):
        model = filled(shell(model_type, task, **RATES_OFF | {rate: value}))
        assert drops == (not np.array_equal(model(ids, mask, seeds=SEEDS), model(ids, mask)))
