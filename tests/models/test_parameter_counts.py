"""Parameter counts of the paper's systems, from the shapes that a config gives alone."""

import dataclasses

import jax
import pytest
from flax import nnx

from jaxpeft import peft
from jaxpeft.config import Config
from jaxpeft.training.system import abstract, partition

CASED = {"model_type": "bert", "vocab_size": 28996}
QKV = ("query", "key", "value")


@dataclasses.dataclass(frozen=True)
class Expected:
    """Counts with two labels; `other` is what trains in the head beside the classifier."""

    hf_config: dict
    total: int
    lora: int
    ia3: int
    prefix: int
    classifier: int
    other: int = 0
    lora_targets: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()  # parts that the released checkpoint is without


SYSTEMS = {
    "tiny-biobert": Expected(
        {**CASED, "hidden_size": 312, "num_hidden_layers": 4, "intermediate_size": 1200},
        total=13_874_762,
        lora=59_904,
        ia3=8_544,
        prefix=24_960,
        classifier=626,
        other=97_656,
        lora_targets=QKV,
        lacks=("pooler",),
    ),
    "bio-mobilebert": Expected(
        {"model_type": "mobilebert", "classifier_activation": False},
        total=24_582_914,
        lora=221_184,
        ia3=58_368,
        prefix=245_760,
        classifier=1_026,
    ),
    "bio-distilbert-uncased": Expected(
        {"model_type": "distilbert"},
        total=66_955_010,
        lora=221_184,
        ia3=32_256,
        prefix=184_320,
        classifier=1_538,
        other=590_592,
    ),
    "distil-biobert": Expected(
        {**CASED, "num_hidden_layers": 6}, total=65_784_578, lora=147_456, ia3=32_256, prefix=92_160, classifier=1_538
    ),
    "biobert-v1.1": Expected(CASED, total=108_311_810, lora=294_912, ia3=64_512, prefix=184_320, classifier=1_538),
    "Llama-2-7b": Expected(
        {"model_type": "llama"}, total=6_607_351_808, lora=4_194_304, ia3=614_400, prefix=2_621_440, classifier=8_192
    ),
    "roberta-base": Expected(  # no row of the paper: transformers and PEFT count so
        {"model_type": "roberta", "max_position_embeddings": 514, "type_vocab_size": 1},
        total=124_647_170,
        lora=294_912,
        ia3=64_512,
        prefix=184_320,
        classifier=592_130,
    ),
}


def counted(expected, method, **peft_settings):
    """Label -> parameters, and those of the classifier alone."""
    config = Config()
    config.peft.method = method
    config.peft.prefix.tokens = 20 if expected.hf_config["model_type"] == "distilbert" else 10  # the paper's
    for name, value in peft_settings.items():
        setattr(config.peft, name, value)
    model = abstract(config, expected.hf_config, 2)
    lacks = (*model.head, *expected.lacks)
    new = [tensor.path for tensor in model.tensors() if tensor.path.split(".")[0] in lacks]
    labels = partition(config, model, new)
    adapted = nnx.eval_shape(lambda bare: peft.attach(bare, config.peft, jax.random.key(0)), model)
    leaves = peft.flatten(adapted)[1]
    classifier = sum(leaf.size for path, leaf in leaves.items() if path.startswith(("classifier.", "score.")))
    return peft.count(adapted, labels), classifier


@pytest.mark.parametrize("name", SYSTEMS)
def test_counts_of_the_papers_systems(name):
    expected = SYSTEMS[name]
    head = expected.classifier + expected.other
    for method, adapter in (
        ("lora", expected.lora),
        ("ia3", expected.ia3),
        ("prefix", expected.prefix),
        ("head", 0),
    ):
        targets = expected.lora_targets if method == "lora" else ()
        counts, classifier = counted(expected, method, target_modules=targets)
        assert classifier == expected.classifier
        assert counts == {"adapter": adapter, "head": head, "frozen": expected.total - head}
    counts, _ = counted(expected, "full")
    assert counts == {"adapter": expected.total - head, "head": head, "frozen": 0}


def test_entities_have_no_pooler_and_llama_a_bias():
    config = Config(task="token_classification")
    sizes = {}
    for name, expected in SYSTEMS.items():
        sizes[name] = sum(leaf.size for leaf in peft.flatten(abstract(config, expected.hf_config, 2))[1].values())
    assert sizes["biobert-v1.1"] == 108_311_810 - (768 * 768 + 768)
    assert sizes["bio-distilbert-uncased"] == 66_955_010 - 590_592
    assert sizes["bio-mobilebert"] == 24_582_914
    assert sizes["Llama-2-7b"] == 6_607_351_808 + 2
    assert sizes["roberta-base"] == 124_647_170 - 592_130 + 1_538
