"""Adapters between here and Hugging Face PEFT, both ways, and merged models in transformers."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import peft as hf_peft
import pytest
import safetensors.numpy
import safetensors.torch
import torch
import transformers

from jaxpeft.config import Config, TrainConfig
from jaxpeft.errors import InputError
from jaxpeft.peft import FROZEN, HEAD
from jaxpeft.peft.hf_format import slots
from jaxpeft.training.adapter_folder import write_adapter
from jaxpeft.training.model_folder import write_model
from jaxpeft.training.optimizer import optimizer
from jaxpeft.training.start import build, settle
from tests import tiny

from . import peers
from .test_gradients import CASES, peft_model

TASKS = (peers.SEQUENCE, peers.TOKEN)
WAYS = ("exported", "imported", "merged")  # the functions of these names
LINEAR = ("lora", "rslora_patterns", "lora_all_biases", "dora", "dora_layers_bias", "ia3")
VIRTUAL = ("prompt", "p_tuning", "prefix")
CELLS = [
    *peers.pairwise(peers.ARCHITECTURES, LINEAR, [f"{way} {task}" for way in WAYS for task in TASKS]),
    *(
        cell
        for cell in peers.pairwise(
            peers.ARCHITECTURES, VIRTUAL, [f"{way} {task}" for way in WAYS[:2] for task in TASKS]
        )
        if cell.values[:2] not in (("distilbert", "prefix"), ("mobilebert", "prefix"))  # PEFT cannot
    ),
]
RATE, DECAY = 1e-2, 0.1


def base_of(folder_of, model_type, kind, task):
    biases = {"attention_bias": True, "mlp_bias": True} if model_type == "llama" and "bias" in kind else {}
    return folder_of(model_type, task, **biases)


def config_of(folder, task, kind=None, **settings):
    """Our config on this base, with an adapter of this kind; `settings` are fields of config.peft."""
    config = Config(task=task)
    config.model.ref, config.data.max_length = str(folder), 24
    if kind is not None:
        config.peft.method, block = CASES[kind]
        setattr(config.peft, config.peft.method, block or getattr(config.peft, config.peft.method))
    for name, value in settings.items():
        tiny.set_field(config.peft, name.replace("__", "."), value)
    return config


def system_of(config, labels=peers.LABELS):
    config, adapter = settle(config)
    return config, build(config, labels, adapter)[0]


def shaken(system, method):
    """Its trained leaves with each trained number moved at random: B and vectors begin where they have no effect."""
    leaves, generator = {path: np.array(leaf) for path, leaf in system.trainable.items()}, np.random.default_rng(5)
    if method == "p_tuning":  # what is written is made of all leaves together
        return {
            path: jnp.asarray(leaf + generator.normal(0, 0.2, leaf.shape), jnp.float32) for path, leaf in leaves.items()
        }
    for slot in slots(peers.whole(system), system.labels, method).values():
        slot.put(leaves, slot.take(leaves) + generator.normal(0, 0.2, slot.shape))
    return {path: jnp.asarray(leaf) for path, leaf in leaves.items()}


def batch_for(folder, task, *, left=False, seed=0):
    batch = peers.batch_for(folder, left=left, seed=seed)
    if task == peers.TOKEN:
        labels = np.random.default_rng(seed).integers(0, len(peers.LABELS), batch["ids"].shape)
        batch["label"] = np.where(batch["mask"], labels, -100).astype(np.int32)
    return batch


def same_logits(system, trainable, model, batch, *, same=True):
    """Ours and torch's on real tokens; PEFT gives virtual tokens logits too, which come first."""
    ours = peers.whole(system, trainable)(
        **{name: batch[name] for name in ("ids", "mask", "segments") if name in batch}
    )
    with torch.no_grad():
        theirs = model(**peers.torch_inputs(batch)).logits.numpy()
    if theirs.ndim == 3:
        ours, theirs = (
            one[:, -batch["ids"].shape[1] :][batch["mask"].astype(bool)] for one in (np.asarray(ours), theirs)
        )
    if same:
        np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0)
    else:
        assert abs(ours - theirs).max() > 1e-2


def their_losses(model, batches):
    """Losses of steps of AdamW under our rule: matrices decay, IA3's vectors are none."""
    named = {name: value for name, value in model.named_parameters() if value.requires_grad}
    decays = {name: value.ndim == 2 and "ia3_l" not in name for name, value in named.items()}
    groups = [
        {"params": [named[name] for name in named if decays[name] == chosen], "weight_decay": DECAY * chosen}
        for chosen in (True, False)
    ]
    update, losses = torch.optim.AdamW(groups, lr=RATE), []
    for batch in batches:
        update.zero_grad()
        loss = peers.torch_loss(model, batch)
        loss.backward()
        update.step()
        losses.append(loss.item())
    return losses


def our_losses(system, batches):
    settings = TrainConfig(weight_decay=DECAY, clip=None)
    labels = {path: label for path, label in system.labels.items() if label != FROZEN}
    update = optimizer(settings, labels)

    @jax.jit
    def step(trainable, state, batch):
        loss, gradients = jax.value_and_grad(lambda tree: peers.our_loss(system, tree, batch))(trainable)
        updates, state = update.update(gradients, state, trainable, rates=jnp.full(2, RATE))
        return optax.apply_updates(trainable, updates), state, loss

    trainable, losses = system.trainable, []
    state = update.init(trainable)
    for batch in batches:
        trainable, state, loss = step(trainable, state, batch)
        losses.append(float(loss))
    return losses


def exported(folder, task, kind, tmp_path, left):
    """Written here, loaded by PEFT."""
    config, system = system_of(config_of(folder, task, kind))
    trainable = shaken(system, config.peft.method)
    write_adapter(tmp_path / "adapter", config, system, trainable)
    model = hf_peft.PeftModel.from_pretrained(peers.torch_model(folder, task), tmp_path / "adapter").eval()
    same_logits(system, trainable, model, batch_for(folder, task, left=left))


def imported(folder, task, kind, tmp_path, left):
    """Trained and saved by PEFT, read here; then three steps on both sides."""
    method, settings = CASES[kind]
    _, bare = system_of(config_of(folder, task, kind))
    model = peft_model(folder, task, method, settings, peers.whole(bare).config)
    peers.random_adapters(model)
    batches = [batch_for(folder, task, left=left, seed=seed) for seed in range(3)]
    their_losses(model, batches[:2])
    model.save_pretrained(tmp_path)
    _, system = system_of(config_of(folder, task, init_from=str(tmp_path)))
    same_logits(system, None, model, batches[0])
    if kind != "p_tuning":  # its layers are not in the file: the prompt that they made goes on alone
        np.testing.assert_allclose(our_losses(system, batches), their_losses(model, batches), atol=1e-4, rtol=0)


def merged(folder, task, kind, tmp_path, left):
    """Merged here, loaded by transformers."""
    config, system = system_of(config_of(folder, task, kind))
    trainable = shaken(system, config.peft.method)
    write_model(tmp_path / "model", config, system, trainable)
    model = loaded_whole(tmp_path / "model", task)
    assert model.config.id2label == dict(enumerate(peers.LABELS))
    assert model.config.architectures == [type(model).__name__]
    same_logits(system, trainable, model, batch_for(folder, task))


def loaded_whole(folder, task=peers.SEQUENCE):
    """transformers' model of a folder that holds what it needs, and nothing else."""
    model, report = getattr(transformers, peers.HEADS[task]).from_pretrained(
        folder, attn_implementation="eager", output_loading_info=True
    )
    assert not any(report.values()), report
    return model.eval()


@pytest.mark.parametrize(("model_type", "kind", "way"), CELLS)
def test_there_and_back(folder_of, tmp_path, model_type, kind, way):
    name, task = way.split()
    # Behind a prompt PEFT's Llama reads the last place, padding or not: padded on the left it is a word.
    left = model_type == "llama" and kind in VIRTUAL
    globals()[name](base_of(folder_of, model_type, kind, task), task, kind, tmp_path, left)


# A base without a pooler


@pytest.fixture(scope="module")
def headless(tmp_path_factory):
    """A bare BERT whose checkpoint has no pooler, as TinyBioBERT's."""
    folder = peers.tiny_model(tmp_path_factory.mktemp("headless"), "bert", "AutoModel")
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    kept = {name: values for name, values in tensors.items() if "pooler" not in name}
    assert len(kept) == len(tensors) - 2
    safetensors.numpy.save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def their_model(folder, seed, **settings):
    torch.manual_seed(seed)  # of what the checkpoint lacks
    model = peers.torch_model(folder)
    return hf_peft.get_peft_model(model, hf_peft.LoraConfig(task_type="SEQ_CLS", **settings)) if settings else model


@pytest.mark.parametrize("kind", ["lora", "ia3", "prompt", "prefix"])
def test_a_pooler_that_the_base_lacks_goes_with_the_adapter(headless, tmp_path, kind):
    config, system = system_of(config_of(headless, peers.SEQUENCE, kind))
    assert system.labels["pooler.kernel"] == HEAD
    trainable, batch = shaken(system, config.peft.method), batch_for(headless, peers.SEQUENCE)
    write_adapter(tmp_path / "adapter", config, system, trainable)
    for seed in (1, 2):
        model = hf_peft.PeftModel.from_pretrained(their_model(headless, seed), tmp_path / "adapter").eval()
        same_logits(system, trainable, model, batch)
    again = config_of(headless, peers.SEQUENCE, init_from=str(tmp_path / "adapter"))
    again.seed = 99
    restored = system_of(again)[1]
    for path, leaf in trainable.items():
        np.testing.assert_array_equal(restored.trainable[path], leaf, err_msg=path)


def test_as_peft_does_it_by_default_a_reload_is_another_model(headless, tmp_path):
    model = their_model(headless, seed=1, r=8)
    batch = batch_for(headless, peers.SEQUENCE)
    their_losses(model, [batch] * 2)
    model.save_pretrained(tmp_path)
    again = hf_peft.PeftModel.from_pretrained(their_model(headless, seed=2), tmp_path).eval()
    inputs = peers.torch_inputs(batch)
    with torch.no_grad():
        assert float((model(**inputs).logits - again(**inputs).logits).abs().max()) > 1e-2
    with pytest.raises(InputError, match=r"bert\.pooler\.dense\.weight is missing"):  # here that cannot happen
        system_of(config_of(headless, peers.SEQUENCE, init_from=str(tmp_path)))


# What else PEFT writes


def saved(folder, tmp_path, task=peers.SEQUENCE, method="lora", **settings):
    """PEFT's model and the folder that it saved, after two steps from random adapters."""
    model = peers.with_peft(peers.torch_model(folder, task), method, task, **settings)
    peers.random_adapters(model)
    their_losses(model, [batch_for(folder, task, seed=seed) for seed in range(2)])
    model.save_pretrained(tmp_path)
    return model


def read_here(folder, tmp_path, model, task=peers.SEQUENCE):
    config, system = system_of(config_of(folder, task, init_from=str(tmp_path)))
    same_logits(system, None, model, batch_for(folder, task))
    return config, system


@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_an_old_adapter_of_torch_that_does_not_mention_its_head(folder_of, tmp_path, model_type):
    folder = folder_of(model_type, peers.SEQUENCE)
    model = saved(folder, tmp_path, r=4, lora_alpha=16)
    tensors = safetensors.torch.load_file(tmp_path / "adapter_model.safetensors")
    torch.save(tensors, tmp_path / "adapter_model.bin")
    (tmp_path / "adapter_model.safetensors").unlink()
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    old = ("peft_type", "r", "lora_alpha", "lora_dropout", "bias", "task_type", "target_modules", "fan_in_fan_out")
    kept = {name: settings[name] for name in old} | {
        "modules_to_save": None,
        "enable_lora": None,
        "merge_weights": False,
    }
    (tmp_path / "adapter_config.json").write_text(json.dumps(kept))
    read_here(folder, tmp_path, model)


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": "all-linear"},
        {"target_modules": r".*\.(query|intermediate\.dense)"},
        {"target_modules": ["dense"], "exclude_modules": ["attention.output.dense"]},
        {"target_modules": [f"bert.encoder.layer.{layer}.output.dense" for layer in range(3)]},
        {"target_modules": ["query"], "modules_to_save": ["pooler"]},
        {"target_modules": ["query"], "modules_to_save": ["LayerNorm"], "bias": "all"},
        {"target_modules": ["query"], "fan_in_fan_out": True},
        {"target_modules": ["query"], "init_lora_weights": "gaussian"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to True")
def test_other_ways_of_peft_to_say_what_is_adapted(folder_of, tmp_path, settings):
    folder = folder_of("bert", peers.SEQUENCE)
    model = saved(folder, tmp_path / "theirs", **settings)
    config, system = read_here(folder, tmp_path / "theirs", model)
    write_adapter(tmp_path / "ours", config, system, system.trainable)
    again = hf_peft.PeftModel.from_pretrained(peers.torch_model(folder), tmp_path / "ours").eval()
    same_logits(system, None, again, batch_for(folder, peers.SEQUENCE))


@pytest.mark.parametrize(
    ("targets", "written"),
    [
        ({"target_modules": ("ffn.0.intermediate.dense",)}, ["ffn.0.intermediate.dense"]),
        ({"target_regex": r".*layer\.\d+\.output\.dense"}, ["layer.0.output.dense", "layer.1.output.dense"]),
    ],
)
def test_mobileberts_numbered_feed_forwards_are_not_taken_for_layers(folder_of, tmp_path, targets, written):
    folder = folder_of("mobilebert", peers.SEQUENCE)
    config, system = system_of(config_of(folder, peers.SEQUENCE, "lora", lora__bias="all", **targets))
    trainable = shaken(system, "lora")
    write_adapter(tmp_path / "adapter", config, system, trainable)
    settings = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert settings["target_modules"][: len(written)] == written
    model = hf_peft.PeftModel.from_pretrained(peers.torch_model(folder), tmp_path / "adapter").eval()
    same_logits(system, trainable, model, batch_for(folder, peers.SEQUENCE))


def test_layers_that_are_chosen_are_told_with_the_name_of_their_stack(folder_of, tmp_path):
    folder = folder_of("bert", peers.SEQUENCE)
    config, system = system_of(config_of(folder, peers.SEQUENCE, "lora", lora__layers_to_transform=(1,)))
    write_adapter(tmp_path / "adapter", config, system, trainable := shaken(system, "lora"))
    settings = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (settings["layers_to_transform"], settings["layers_pattern"]) == ([1], "layer")
    model = hf_peft.PeftModel.from_pretrained(peers.torch_model(folder), tmp_path / "adapter").eval()
    same_logits(system, trainable, model, batch_for(folder, peers.SEQUENCE))


def test_a_feed_forward_module_named_by_a_pattern(folder_of, tmp_path):
    folder = folder_of("bert", peers.SEQUENCE)
    targets = {"target_modules": r".*\.(key|output\.dense)", "feedforward_modules": r".*\d\.output\.dense"}
    model = saved(folder, tmp_path, method="ia3", **targets)
    config, _ = read_here(folder, tmp_path, model)
    assert config.peft.ia3.feedforward_modules == ("{layer}.output.dense",)


# Merged models


def test_shards_and_bfloat16(folder_of, tmp_path):
    folder = folder_of("bert", peers.SEQUENCE)
    config, system = system_of(config_of(folder, peers.SEQUENCE, "lora"))
    trainable, batch = shaken(system, "lora"), batch_for(folder, peers.SEQUENCE)
    write_model(tmp_path / "shards", config, system, trainable, shard_bytes=20_000)
    assert len(list((tmp_path / "shards").glob("model-*-of-*.safetensors"))) > 3
    same_logits(system, trainable, loaded_whole(tmp_path / "shards"), batch)
    config.model.dtype = "bfloat16"
    write_model(tmp_path / "half", config, system, trainable)
    model = loaded_whole(tmp_path / "half")
    assert {value.dtype for value in model.parameters()} == {torch.bfloat16}
    assert model.config.dtype == torch.bfloat16
    size = sum(value.numel() for value in model.parameters())
    assert (tmp_path / "half" / "model.safetensors").stat().st_size < 2 * size + 20_000


@pytest.mark.parametrize("lowercase", ["auto", "yes", "no"])
@pytest.mark.parametrize("form", ["vocab.txt", "tokenizer.json"])
def test_a_merged_model_reads_text_as_it_was_trained_to(folder_of, tmp_path, lowercase, form):
    folder = tmp_path / "base"
    shutil.copytree(folder_of("bert", peers.SEQUENCE), folder)
    words = ["Gout", "gout", "CHF", "ch", "##f", "is", "##t", "he", "He"]
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]) + "\n")
    if form == "tokenizer.json":
        transformers.BertTokenizer(str(folder / "vocab.txt"), do_lower_case=False).save_pretrained(folder)
        (folder / "tokenizer_config.json").unlink()
    config = config_of(folder, peers.SEQUENCE, "lora")
    config.model.lowercase = lowercase
    config, system = system_of(config)
    write_model(tmp_path / "model", config, system, system.trainable)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    for text in ("Gout", "He is CHF", "gouT"):
        assert tokenizer(text)["input_ids"] == system.encoder.tokenizer.encode(text).ids
