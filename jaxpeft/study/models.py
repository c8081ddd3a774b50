"""The models of Taylor et al. 2024 (arXiv 2402.10597): where they are, their domain, and their sizes.

Sizes are those of each model's published `config.json`; what is left out has transformers' default. They let a study
be planned where no model is.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxpeft.models.shapes import SHAPES
from jaxpeft.study.design import Choice, Rule

CASED = {"vocab_size": 28996}
_ROBERTA = {"model_type": "roberta", "vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}
_BIOBERT = {**SHAPES["bert-base"], **CASED}
_DISTIL_BERT = {**_BIOBERT, "num_hidden_layers": 6}


@dataclasses.dataclass(frozen=True)
class PaperModel:
    """A model: its name in the paper's records, hub id, size, pre-training domain, and its `config.json`."""

    name: str
    ref: str
    size: str  # tiny | mobile | distil | base | large
    domain: str  # general | biomedical | clinical
    sizes: Mapping[str, Any]


MODELS = (
    PaperModel("TinyBERT", "huawei-noah/TinyBERT_General_4L_312D", "tiny", "general", SHAPES["tinybert"]),
    PaperModel("TinyBioBERT", "nlpie/tiny-biobert", "tiny", "biomedical", {**SHAPES["tinybert"], **CASED}),
    PaperModel("TinyClinicalBERT", "nlpie/tiny-clinicalbert", "tiny", "clinical", {**SHAPES["tinybert"], **CASED}),
    PaperModel("MobileBERT", "google/mobilebert-uncased", "mobile", "general", SHAPES["mobilebert"]),
    PaperModel("BioMobileBERT", "nlpie/bio-mobilebert", "mobile", "biomedical", SHAPES["mobilebert"]),
    PaperModel("ClinicalMobileBERT", "nlpie/clinical-mobilebert", "mobile", "clinical", SHAPES["mobilebert"]),
    PaperModel("DistilBERTbase", "distilbert-base-uncased", "distil", "general", SHAPES["distilbert"]),
    PaperModel("BioDistilBERT", "nlpie/bio-distilbert-uncased", "distil", "biomedical", SHAPES["distilbert"]),
    PaperModel("distil-biobert", "nlpie/distil-biobert", "distil", "biomedical", _DISTIL_BERT),
    PaperModel("ClinicalDistilBERT", "nlpie/clinical-distilbert", "distil", "clinical", SHAPES["distilbert"]),
    PaperModel("BERTbase", "bert-base-uncased", "base", "general", SHAPES["bert-base"]),
    PaperModel("RoBERTa-base", "roberta-base", "base", "general", _ROBERTA),
    PaperModel("BioBERT", "dmis-lab/biobert-v1.1", "base", "biomedical", _BIOBERT),
    PaperModel("BioClinicalBERT", "emilyalsentzer/Bio_ClinicalBERT", "base", "clinical", _BIOBERT),
    PaperModel("Llama-2-7b", "meta-llama/Llama-2-7b-hf", "large", "general", SHAPES["llama-2-7b"]),
)
BY_NAME: Mapping[str, PaperModel] = {model.name: model for model in MODELS}
SIZES: Mapping[str, Mapping[str, Any]] = {model.ref: model.sizes for model in MODELS}  # hub id -> config.json
TINY = tuple(model.name for model in MODELS if model.size == "tiny")
LARGE = tuple(model.name for model in MODELS if model.size == "large")


def choices(*names: str) -> tuple[Choice, ...]:
    """Values of the axis `model`, all if no name is given."""
    return tuple(Choice(name, {"model.ref": BY_NAME[name].ref}) for name in names or BY_NAME)


# Not the paper's: for a small encoder and minutes. At IA3's rate LoRA leaves some seeds at the majority answer.
FULL_RATE = Rule(
    {"method": "full"},
    "full fine-tuning: learning rate 1e-4, 1e-3 for the head",
    {"train.learning_rate": 1e-4, "train.head_learning_rate": 1e-3},
)
LORA_RATE = Rule(
    {"method": "lora"},
    "LoRA: learning rate 1e-3, 3e-3 for the head",
    {"train.learning_rate": 1e-3, "train.head_learning_rate": 3e-3},
)
IA3_RATE = Rule(
    {"method": "ia3"},
    "IA3: learning rate 3e-3, 1e-2 for the head",
    {"train.learning_rate": 3e-3, "train.head_learning_rate": 1e-2},
)

# The paper's settings, as rules of a study. DistilBERT's and MobileBERT's targets are the defaults here already.
METHOD_RULES = (
    Rule({"method": "full"}, "full fine-tuning: learning rate 3e-5", {"train.learning_rate": 3e-5}),
    Rule({"method": ("lora", "ia3")}, "LoRA and IA3: learning rate 3e-4", {"train.learning_rate": 3e-4}),
)
TINY_RULE = Rule(
    {"model": TINY, "method": "lora"},
    "LoRA on tiny models adapts query, key and value",
    {"peft.target_modules": ("query", "key", "value")},
)
LARGE_RULES = (
    Rule(
        {"model": LARGE},
        "Llama: bfloat16, batches of 1 in 16 passes, learning rate 5e-5, constant after the warm-up",
        {
            "model.dtype": "bfloat16",
            "train.batch_size": 1,
            "train.eval_batch_size": 4,
            "train.accumulate": 16,
            "train.learning_rate": 5e-5,
            "train.schedule": "constant",
        },
    ),
    Rule(
        {"model": LARGE, "method": "lora"},
        "LoRA on Llama: rank 16, alpha 32",
        {"peft.lora.rank": 16, "peft.lora.alpha": 32.0},
    ),
    Rule({"model": LARGE, "method": "full"}, "no full fine-tuning of Llama: 105 GB before a text", leave_out=True),
)
PROTOCOL = {  # of every run of the paper's
    "data.max_length": 480,
    "data.long_text": "head",
    "train.batch_size": 32,
    "train.epochs": 5,
    "train.weight_decay": 0.01,
    "train.warmup_ratio": 0.06,
    "train.schedule": "linear",
    "train.head_learning_rate": None,
    "train.class_weights": "none",
    "train.test_on": "last",
    "peft.lora.rank": 8,
    "peft.lora.alpha": 8.0,
    "peft.lora.dropout": 0.1,
}
