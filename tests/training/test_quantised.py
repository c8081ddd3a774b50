"""Systems and runs on a quantised base: what is quantised, what they compute, and that nothing on disk changes."""

import json
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import jaxpeft
from jaxpeft import peft
from jaxpeft.errors import InputError
from jaxpeft.models import pretrained
from jaxpeft.models.quantised import KINDS, Quantised, dense, quantise
from jaxpeft.tasks.losses import loss_sum
from jaxpeft.training import system
from jaxpeft.training.optimizer import learning_rates, optimizer
from jaxpeft.training.parallel import Placement, Pmap
from jaxpeft.training.run import train
from jaxpeft.training.step import draw_of, forward_pass, train_step
from jaxpeft.training.workdir import Workdir
from jaxpeft.validate import validate
from tests import tiny
from tests.models.test_architectures import shell
from tests.training.test_step import batches
from tests.training.test_step import train as steps

METHODS = {
    "lora": {},
    "layers": {"peft__lora__layers_to_transform": (1,), "peft__lora__bias": "lora_only"},
    "dora": {"peft__lora__dora": True},
    "ia3": {"peft__method": "ia3"},
    "prompt": {"peft__method": "prompt"},
    "p_tuning": {"peft__method": "p_tuning"},
    "prefix": {"peft__method": "prefix"},
    "head": {"peft__method": "head"},
}
TOKENS = {f"peft__{method}__tokens": 3 for method in ("prompt", "p_tuning", "prefix")}
MATRICES = tuple(f"{name}.weight" for name in ("query", "key", "value", "dense"))
SHORT = {"train__steps": 6, "data__buckets": 1, "data__max_length": 24}


def first(base, kind="none", **settings):
    """A system at its first step."""
    config = tiny.experiment(base, base, model__quantise=kind, **TOKENS, **{"data__max_length": 24, **settings})
    return system.build(config, tiny.LABELS, seed=3)


def built(base, kind="none", **settings):
    """A system whose adapters do something."""
    found, generator = first(base, kind, **settings), np.random.default_rng(4)
    for path, leaf in found.trainable.items():
        found.trainable[path] = leaf + jnp.asarray(generator.normal(0, 0.1, leaf.shape), leaf.dtype)
    return found


def in_floats(frozen):
    return {path: dense(leaf) for path, leaf in frozen.items()}


def outcomes(found, *bases):
    """Loss, logits and gradients of a system on each of several frozen trees."""
    one = {name: leaf[0] for name, leaf in next(batches(1, of_words=False)).items()}

    @jax.jit
    def outcome(trainable, frozen):
        def loss(trainable):
            logits = peft.unflatten(found.graphdef, {**trainable, **frozen})(one["ids"], one["mask"])
            return loss_sum(logits, one), logits

        return jax.value_and_grad(loss, has_aux=True)(trainable)

    return [outcome(found.trainable, frozen) for frozen in bases]


@pytest.mark.parametrize("method", METHODS)
def test_only_the_layers_frozen_matrices_are_quantised(base, method):
    floats, codes = (built(base, kind, **METHODS[method]) for kind in ("none", "nf4"))
    quantised = {peft.base_path(path) for path, leaf in codes.frozen.items() if isinstance(leaf, Quantised)}
    matrices = ("attention.query", "attention.key", "attention.value", "attention.output", "intermediate", "output")
    assert quantised == {f"layers.{name}.kernel" for name in matrices}
    assert codes.count() == floats.count()
    assert codes.labels == floats.labels
    assert codes.base_sha256 == floats.base_sha256
    for ours, theirs in ((codes.trainable, floats.trainable), (codes.frozen, floats.frozen)):
        assert ours.keys() == theirs.keys()
        for path, leaf in ours.items():
            assert leaf.shape == theirs[path].shape
            if not isinstance(leaf, Quantised) and not path.endswith("magnitude"):  # that is of the quantised W
                np.testing.assert_array_equal(leaf, theirs[path], err_msg=path)


@pytest.mark.parametrize(("method", "kind"), [*zip(METHODS, KINDS * 4, strict=True), ("lora", "nf4"), ("dora", "nf4")])
def test_it_computes_and_learns_as_the_same_model_on_its_weights_in_floats(base, method, kind):
    found, plain = (built(base, one, **METHODS[method]) for one in (kind, "none"))
    ours, theirs, other = outcomes(found, found.frozen, in_floats(found.frozen), plain.frozen)
    ((loss, logits), gradients), ((expected_loss, expected), expected_gradients) = ours, theirs
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    for path, leaf in gradients.items():
        most = float(abs(expected_gradients[path]).max())
        np.testing.assert_allclose(leaf, expected_gradients[path], atol=1e-4 * most + 1e-6, err_msg=path)
    assert float(abs(logits - other[0][1]).max()) > 1e-4  # and it is quantised


def test_dora_begins_at_the_quantised_base(base):
    adapted, bare = (first(base, "nf4", **METHODS[method]) for method in ("dora", "head"))
    ((_, logits), _), ((_, expected), _) = (outcomes(found, found.frozen)[0] for found in (adapted, bare))
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_a_matrix_is_in_codes_before_the_next_is_read(base, monkeypatch):
    events = []

    def noted(function):
        return lambda *arguments: events.append(arguments[-1]) or function(*arguments)

    monkeypatch.setattr(pretrained.Checkpoint, "read", noted(pretrained.Checkpoint.read))
    monkeypatch.setattr(pretrained, "quantise", noted(pretrained.quantise))
    first(base, "nf4")
    matrices = [place for place, name in enumerate(events) if ".layer." in name and name.endswith(MATRICES)]
    assert len(matrices) == 3 * 6
    assert {events[place + 1] for place in matrices} == {"nf4"}


def test_it_is_quantised_from_the_checkpoints_numbers_whatever_it_computes_in(base):
    found = built(base, "nf4", model__dtype="bfloat16")
    kernel = found.frozen["layers.intermediate.kernel"]
    for layer, codes in enumerate(kernel.codes):
        weight = load_file(base / "model.safetensors")[f"bert.encoder.layer.{layer}.intermediate.dense.weight"]
        np.testing.assert_array_equal(codes, quantise(jnp.asarray(weight.T), "nf4").codes)
    assert kernel.scales.dtype == jnp.float32
    assert found.frozen["layers.intermediate.bias"].dtype == jnp.bfloat16
    rounded = {path: leaf.astype(jnp.bfloat16) for path, leaf in in_floats(found.frozen).items()}
    ours, theirs = outcomes(found, found.frozen, rounded)
    np.testing.assert_allclose(ours[0][1], theirs[0][1], atol=2e-2)


def test_several_devices_take_the_steps_of_one(base):
    found = built(base, "nf4")
    one, several = (steps(found, place) for place in (Placement(), Pmap()))
    np.testing.assert_allclose(one[0], several[0], rtol=1e-4)
    assert len(set(one[0])) == len(one[0])


@pytest.mark.parametrize("method", ["full", "bitfit"])
def test_methods_that_train_the_base_are_refused_in_one_message(method):
    config = tiny.experiment("base", "data", model__quantise="int8", peft__method=method)
    message = rf"is 'int8', and peft.method '{method}' trains the base.*\(lora, ia3, prompt, p_tuning, prefix, head\)"
    with pytest.raises(InputError, match=message) as caught:
        validate(config)
    assert len(caught.value.problems) == 1


def test_an_adapter_is_not_merged_into_codes(base):
    found = built(base, "int8")
    model = peft.unflatten(found.graphdef, {**found.trainable, **found.frozen})
    with pytest.raises(InputError, match=r"quantised base: load it with model.quantise=none"):
        peft.merge(model)
    with pytest.raises(InputError, match="quantised base"):
        peft.merged_shapes(model)


# Runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory, base, data):
    """Three short runs on one base: LoRA on nf4 and on floats, IA3 on nf4."""
    folders = {}
    for name, changes in {
        "nf4": {"model__quantise": "nf4"},
        "ia3": {"model__quantise": "nf4", "peft__method": "ia3"},
        "floats": {},
    }.items():
        folders[name] = Workdir(tmp_path_factory.mktemp("runs") / name)
        train(tiny.experiment(base, data, **SHORT, **changes), folders[name], started=time.time())
    return folders


def result(workdir):
    return json.loads(workdir.result.read_text())


def test_the_result_says_how_the_base_was_held_and_evaluation_gives_it_again_to_the_bit(runs):
    quantised, floats = result(runs["nf4"]), result(runs["floats"])
    assert (quantised["quantise"], floats["quantise"]) == ("nf4", "none")
    for name in ("base_sha256", "total_params", "peft_params", "head_params"):
        assert quantised[name] == floats[name]
    again = jaxpeft.load(str(runs["nf4"].root)).evaluate("test")["against_result"]
    assert again == {"checked": "to the bit", "same": True, "largest_difference": 0.0}


def test_what_is_on_disk_is_that_of_any_run(runs):
    ours, theirs = (load_file(runs[name].adapter / "adapter_model.safetensors") for name in ("nf4", "floats"))
    assert {name: (leaf.shape, leaf.dtype) for name, leaf in ours.items()} == {
        name: (leaf.shape, leaf.dtype) for name, leaf in theirs.items()
    }
    ours, theirs = (json.loads((runs[name].adapter / "adapter_config.json").read_text()) for name in ("nf4", "floats"))
    assert ours == theirs


def test_merging_is_into_the_checkpoints_own_weights(runs, base, cli, tmp_path):
    code, out, _ = cli("--mode=merge", f"--workdir={runs['nf4'].root}", f"--output={tmp_path / 'merged'}")
    assert code == 0
    assert "the run's scores are of the base in nf4" in out
    merged, checkpoint = (load_file(folder / "model.safetensors") for folder in (tmp_path / "merged", base))
    adapter = load_file(runs["nf4"].adapter / "adapter_model.safetensors")
    for module in (
        f"bert.encoder.layer.{layer}.attention.self.{name}" for layer in range(3) for name in ("query", "key")
    ):
        expected = checkpoint[f"{module}.weight"]
        if module.endswith("query"):  # alpha is rank
            a, b = (adapter[f"base_model.model.{module}.lora_{part}.weight"] for part in "AB")
            assert abs(b @ a).max() > 1e-4
            expected = expected + b @ a
        np.testing.assert_allclose(merged[f"{module}.weight"], expected, atol=1e-6)


def test_runs_on_one_quantised_base_share_it_and_one_on_floats_is_refused(runs):
    adapters = jaxpeft.adapters()
    for name in ("nf4", "ia3"):
        adapters.attach(name, str(runs[name].root))
    one, other = (adapters._attached[name].system.frozen for name in ("nf4", "ia3"))
    assert one["layers.intermediate.kernel"].codes is other["layers.intermediate.kernel"].codes
    adapters.switch("ia3")
    assert adapters.predict(["w1 w2 w3"]) == jaxpeft.load(str(runs["ia3"].root)).predict(["w1 w2 w3"])
    with pytest.raises(InputError, match=r"held with model.quantise=nf4, the run was trained with none"):
        adapters.attach("floats", str(runs["floats"].root))


# Learning


def write_llama(folder):
    """The folder of a Llama of four layers whose kernels have whole tiles and others."""
    sizes = {"num_hidden_layers": 4, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4}
    model, generator = shell("llama", head_dim=16, **sizes), np.random.default_rng(0)
    leaves, weights = peft.flatten(model)[1], {}
    for tensor in model.tensors():
        shape = leaves[tensor.path].shape
        for name in tensor.names(shape[0]):
            one = shape[1:] if tensor.stacked else shape
            values = generator.normal(tensor.path.endswith("scale"), 0.15, one[::-1] if tensor.transpose else one)
            weights[name] = values.astype(np.float32)
    del weights["score.weight"]
    config = {"model_type": "llama", "vocab_size": 61, "head_dim": 16, "num_key_value_heads": 2, **sizes}
    return tiny.write_base(folder, weights, **config)


def noisy_batches(count, size, seed):
    """Texts whose label is the third of the vocabulary that most words are of, one label in five drawn anew."""
    generator = np.random.default_rng(seed)
    for number in range(count):
        label = generator.integers(0, 3, size)
        words = generator.integers(5, 59, (size, 12))
        words = np.where(generator.random(words.shape) < 0.5, 5 + label[:, None] * 18 + words % 18, words)
        drawn = generator.random(size) < 0.2
        yield {
            "ids": words.astype(np.int32),
            "mask": np.ones(words.shape, np.int32),
            "label": np.where(drawn, generator.integers(0, 3, size), label).astype(np.int32),
            "weight": np.ones(size, np.float32),
            "example": np.arange(size, dtype=np.uint32) + size * number,
        }


def learnt(folder, kind, count=200):
    """The mean loss on 1,024 other texts before and after steps of LoRA."""
    config = tiny.experiment(folder, folder, model__quantise=kind, train__learning_rate=3e-3)
    found = system.build(config, tiny.LABELS, seed=3)
    labels = {path: label for path, label in found.labels.items() if label != peft.FROZEN}
    rule, rates = optimizer(config.train, labels), learning_rates(config.train, count)
    step = jax.jit(train_step(found.graphdef, rule, loss_sum))
    forward = jax.jit(forward_pass(found.graphdef))
    last = next(noisy_batches(1, 1024, seed=1))

    def loss(trainable):
        return float(loss_sum(forward(trainable, found.frozen, last), last)) / 1024

    trainable, state = found.trainable, rule.init(found.trainable)
    before = loss(trainable)
    for number, batch in enumerate(noisy_batches(count, 16, seed=2)):
        one = {name: leaf[None] for name, leaf in batch.items()}
        trainable, state, _ = step(trainable, state, found.frozen, one, draw_of(5, number), rates[number])
    return before, loss(trainable)


def test_adapters_learn_on_a_quantised_base_what_they_learn_on_floats(tmp_path):
    folder = write_llama(tmp_path / "llama")
    before, floats = learnt(folder, "none")
    assert floats < before - 0.2
    for kind in KINDS:
        assert learnt(folder, kind)[1] == pytest.approx(floats, rel=0.02)
