"""Encoders in Flax NNX with Hugging Face's weights; `MODELS` maps a `model_type` to its classes."""

import dataclasses
from collections.abc import Mapping

from jaxpeft.models.architecture import ArchitectureConfig, Classifier
from jaxpeft.models.bert import BertConfig, BertForSequenceClassification, BertForTokenClassification
from jaxpeft.models.distilbert import (
    DistilBertConfig,
    DistilBertForSequenceClassification,
    DistilBertForTokenClassification,
)
from jaxpeft.models.llama import LlamaConfig, LlamaForSequenceClassification, LlamaForTokenClassification
from jaxpeft.models.mobilebert import (
    MobileBertConfig,
    MobileBertForSequenceClassification,
    MobileBertForTokenClassification,
)
from jaxpeft.models.roberta import RobertaConfig, RobertaForSequenceClassification, RobertaForTokenClassification


@dataclasses.dataclass(frozen=True)
class Architecture:
    """One `model_type`: the class of its config, and a classifier a task."""

    config: type[ArchitectureConfig]
    heads: Mapping[str, type[Classifier]]


def _architecture(
    config: type[ArchitectureConfig], sequence: type[Classifier], token: type[Classifier]
) -> Architecture:
    return Architecture(config, {"sequence_classification": sequence, "token_classification": token})


MODELS: Mapping[str, Architecture] = {
    "bert": _architecture(BertConfig, BertForSequenceClassification, BertForTokenClassification),
    "distilbert": _architecture(
        DistilBertConfig, DistilBertForSequenceClassification, DistilBertForTokenClassification
    ),
    "llama": _architecture(LlamaConfig, LlamaForSequenceClassification, LlamaForTokenClassification),
    "mobilebert": _architecture(
        MobileBertConfig, MobileBertForSequenceClassification, MobileBertForTokenClassification
    ),
    "roberta": _architecture(RobertaConfig, RobertaForSequenceClassification, RobertaForTokenClassification),
}
