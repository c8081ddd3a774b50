"""Encoders in Flax NNX with Hugging Face's weights; `MODELS` maps a `model_type` to its classes."""

from jaxpeft.models.bert import BertConfig, BertForSequenceClassification

MODELS = {"bert": (BertConfig, BertForSequenceClassification)}
