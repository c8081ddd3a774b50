"""Every method on every architecture and head beside PEFT: loss, and the gradient of every trained leaf."""

import numpy as np
import peft as hf_peft
import pytest
import torch

from jaxpeft.config import LoraConfig, PrefixConfig, PromptConfig, PTuningConfig

from . import peers

RANKS = (r".*\.0\..*=5", r".*(query|q_proj|q_lin)=2", r".*\.2\..*=7")  # of two that match a module the first counts
ALPHAS = (r".*\.1\..*=3.5",)
TOKENS = 4
CASES = {
    "lora": ("lora", LoraConfig()),
    "rslora_patterns": ("lora", LoraConfig(rank=3, rslora=True, rank_pattern=RANKS, alpha_pattern=ALPHAS)),
    "lora_layers_bias": ("lora", LoraConfig(alpha=6.0, layers_to_transform=(0, 2), bias="lora_only")),
    "lora_all_biases": ("lora", LoraConfig(bias="all")),
    "dora": ("lora", LoraConfig(dora=True)),
    "dora_patterns": ("lora", LoraConfig(rank=3, dora=True, rank_pattern=RANKS, alpha_pattern=ALPHAS)),
    "dora_layers_bias": ("lora", LoraConfig(dora=True, layers_to_transform=(1,), bias="lora_only")),
    "ia3": ("ia3", None),
    "bitfit": ("bitfit", None),
    "head": ("head", None),
    "full": ("full", None),
    "prompt": ("prompt", PromptConfig(tokens=TOKENS)),
    "p_tuning": ("p_tuning", PTuningConfig(tokens=TOKENS, hidden_size=7)),
    "prefix": ("prefix", PrefixConfig(tokens=TOKENS)),
}
PROMPTS = {
    "prompt": hf_peft.PromptTuningConfig,
    "p_tuning": lambda **sizes: hf_peft.PromptEncoderConfig(encoder_hidden_size=7, **sizes),
    "prefix": hf_peft.PrefixTuningConfig,
}
TARGETS = {  # where PEFT has no default: those of the paper, which are ours
    "distilbert": {"lora": ["q_lin", "k_lin", "v_lin"], "ia3": ["k_lin", "v_lin", "lin1", "lin2"]},
    "mobilebert": {"lora": ["query", "key", "value"], "ia3": ["key", "value", "output.dense"]},
}
FEEDFORWARD = {"distilbert": ["lin1", "lin2"], "mobilebert": ["output.dense"]}
CELLS = [
    cell
    for cell in peers.pairwise(peers.ARCHITECTURES, CASES, (peers.SEQUENCE, peers.TOKEN))
    if cell.values[:2] not in (("distilbert", "prefix"), ("mobilebert", "prefix"))  # PEFT cannot: tests/peft
]


def peft_model(folder, task, method, settings, config):
    """torch's model under PEFT; sizes that PEFT cannot guess are given."""
    model = peers.torch_model(folder, task)
    if method in PROMPTS:
        torch.manual_seed(5)
        width = config.prefix_size if method == "prefix" else config.word_size
        heads = getattr(config, "key_heads", config.num_attention_heads)
        sizes = {"token_dim": width, "num_attention_heads": heads, "num_layers": config.num_hidden_layers}
        kind = PROMPTS[method](num_virtual_tokens=TOKENS, task_type=peers.TASK_TYPES[task], **sizes)
        return hf_peft.get_peft_model(model, kind)
    options = peers.hf_lora(settings) if method == "lora" else {}
    if method in TARGETS.get(config_type := model.config.model_type, {}):
        options["target_modules"] = TARGETS[config_type][method]
        if method == "ia3":
            options["feedforward_modules"] = FEEDFORWARD[config_type]
    return peers.with_peft(model, method, task, **options)


@pytest.mark.parametrize(("model_type", "case", "task"), CELLS)
def test_loss_and_gradients_of_every_trained_leaf(folder_of, model_type, case, task):
    method, settings = CASES[case]
    biases = "bias" in case or method == "bitfit"
    folder = folder_of(
        model_type, task, **({"attention_bias": True, "mlp_bias": True} if model_type == "llama" and biases else {})
    )
    system = peers.our_system(folder, method, task, settings=settings)
    model = peft_model(folder, task, method, settings, peers.whole(system).config)
    peers.random_adapters(model)
    # Behind a prompt PEFT's Llama reads the last place, padding or not: padded on the left it is a word.
    batch = peers.batch_for(folder, left=model_type == "llama" and method in PROMPTS)
    if task == peers.TOKEN:
        labels = np.random.default_rng(1).integers(0, len(peers.LABELS), batch["ids"].shape)
        batch["label"] = np.where(batch["mask"], labels, -100).astype(np.int32)
    peers.assert_same_gradients(system, model, batch)
