"""Rows to tokens: words and the tokens that answer for them, long texts, and a cache without text."""

import dataclasses
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpeft.data import tokenise
from jaxpeft.data.rows import Rows
from jaxpeft.data.tokenise import text_encoder
from jaxpeft.errors import InputError

CLS, SEP, UNKNOWN = 2, 3, 1


@pytest.fixture(scope="module")
def encoder(base):
    """Of words w0, w1, ...; one that is not among them is one token; ids are the number + 5."""
    return text_encoder(base, lowercase="auto", max_length=8)


def of_words(*rows):
    return Rows(text=[" ".join(row) for row in rows], tokens=[list(row) for row in rows])


def parts(column, encoded):
    return [part.tolist() for part in np.split(column, encoded.starts[1:-1])]


def words_encoder(encoder, **changes):
    return dataclasses.replace(encoder, reads_words=True, **changes)


def test_texts_are_cut_as_the_tokenizer_itself_would_cut_them(base, encoder):
    texts = ["w1 w2", "w1 " * 6, "w1 w2 w3 w4 w5 w6 w7", "w0 [SEP] w9 " * 9]
    encoded = encoder.encode(Rows(text=texts))
    other = text_encoder(base, lowercase="auto", max_length=8).tokenizer
    other.enable_truncation(8)
    assert parts(encoded.ids, encoded) == [encoding.ids for encoding in other.encode_batch(texts)]
    assert encoded.truncated == 2
    assert encoded.row_of.tolist() == [0, 1, 2, 3]


def test_a_token_that_the_model_has_no_embedding_of_is_refused(base, tmp_path):
    few = text_encoder(base, lowercase="auto", max_length=8, vocab_size=7)
    assert few.encode(Rows(text=["w1"])).ids.tolist() == [CLS, 6, SEP]
    with pytest.raises(InputError, match=r"gave token 7, and the model has embeddings of 7 \(vocab_size"):
        few.encode(Rows(text=["w2"]))
    text_encoder(base, lowercase="auto", max_length=8).encode(Rows(text=["w2"]), tmp_path)
    with pytest.raises(InputError):  # from the cache too
        few.encode(Rows(text=["w2"]), tmp_path)


def test_a_word_is_answered_for_by_its_first_token(encoder):
    rows = of_words(["w1", "w2-w3", "w4"], ["é"])
    encoded = words_encoder(encoder).encode(rows)
    assert parts(encoded.ids, encoded) == [[CLS, 6, 7, UNKNOWN, 8, 9, SEP], [CLS, UNKNOWN, SEP]]
    assert parts(encoded.words, encoded) == [[-1, 0, 1, 1, 1, 2, -1], [-1, 0, -1]]
    assert parts(encoded.leads, encoded) == [[0, 1, 1, 0, 0, 1, 0], [0, 1, 0]]
    assert (encoded.truncated, encoded.words_cut) == (0, 0)


def test_words_without_a_token_have_no_answer(encoder):
    encoded = words_encoder(encoder).encode(of_words(["", "w1", "\u200b", "w2", " "], ["", ""]))
    assert parts(encoded.words, encoded) == [[-1, 1, 3, -1], [-1, -1]]
    assert parts(encoded.leads, encoded) == [[0, 1, 1, 0], [0, 0]]
    assert encoded.words_cut == 0


def test_a_special_token_in_a_note_is_text(encoder):
    encoded = words_encoder(encoder).encode(of_words(["[SEP]"]))
    assert encoded.ids.tolist() == [CLS, UNKNOWN, UNKNOWN, UNKNOWN, SEP]
    assert encoded.words.tolist() == [-1, 0, 0, 0, -1]


KEPT = {"head": [0, 1, 2, 3, 4, 5], "tail": [4, 5, 6, 7, 8, 9], "head_tail": [0, 1, 2, 7, 8, 9]}


@pytest.mark.parametrize(("long_text", "kept"), KEPT.items())
def test_what_is_kept_of_a_long_row_and_how_many_words_are_not(encoder, long_text, kept):
    rows = of_words([f"w{number}" for number in range(10)], ["w1"])
    encoded = words_encoder(encoder, long_text=long_text).encode(rows)
    assert parts(encoded.ids, encoded) == [[CLS, *[5 + number for number in kept], SEP], [CLS, 6, SEP]]
    assert parts(encoded.words, encoded)[0] == [-1, *kept, -1]
    assert (encoded.truncated, encoded.words_cut) == (1, 4)
    texts = dataclasses.replace(encoder, long_text=long_text).encode(rows)
    np.testing.assert_array_equal(texts.ids, encoded.ids)
    assert texts.truncated == 1


def test_a_word_whose_first_token_is_cut_off_has_no_answer(encoder):
    encoded = words_encoder(encoder, long_text="tail").encode(of_words(["w1-w2", *["w3"] * 4]))
    assert encoded.words.tolist() == [-1, 0, 0, 1, 2, 3, 4, -1]
    assert encoded.leads.tolist() == [0, 0, 0, 1, 1, 1, 1, 0]
    assert encoded.words_cut == 1


def test_windows_are_examples_of_one_row(encoder):
    rows = of_words([f"w{number}" for number in range(9)], ["w1"])
    encoded = words_encoder(encoder, long_text="windows", stride=2).encode(rows)
    assert encoded.row_of.tolist() == [0, 0, 0, 1]
    assert parts(encoded.words, encoded) == [
        [-1, 0, 1, 2, 3, 4, 5, -1], [-1, 2, 3, 4, 5, 6, 7, -1], [-1, 3, 4, 5, 6, 7, 8, -1], [-1, 0, -1],
    ]  # fmt: skip
    answered = [encoded.leads_of(example) for example in range(4)]
    words = np.split(encoded.words, encoded.starts[1:-1])
    assert [row[lead].tolist() for row, lead in zip(words, answered, strict=True)] == [
        [0, 1, 2, 3], [4, 5], [6, 7, 8], [0],
    ]  # fmt: skip
    assert (encoded.truncated, encoded.words_cut) == (0, 0)
    texts = dataclasses.replace(encoder, long_text="windows", stride=2).encode(rows)
    np.testing.assert_array_equal(texts.ids, encoded.ids)
    np.testing.assert_array_equal(texts.row_of, encoded.row_of)


ANY_WORDS = st.lists(st.sampled_from(["w1", "w2-w3", "", "\u200b", "x.y.z", "é"]), max_size=30)


@given(
    st.lists(ANY_WORDS, min_size=1, max_size=4), st.integers(1, 6), st.sampled_from(["windows", "head", "head_tail"])
)
def test_no_word_is_answered_for_twice_and_in_windows_none_is_lost(encoder, rows, stride, long_text):
    encoded = words_encoder(encoder, long_text=long_text, stride=stride).encode(of_words(*rows))
    row_of_token = np.repeat(encoded.row_of, encoded.lengths)
    answered = list(zip(row_of_token[encoded.leads], encoded.words[encoded.leads], strict=True))
    assert len(set(answered)) == len(answered)
    with_token = {
        (row, word) for row, words in enumerate(rows) for word, text in enumerate(words) if text.strip("\u200b")
    }
    assert len(with_token - set(answered)) == encoded.words_cut
    assert set(answered) <= with_token
    if long_text == "windows":
        assert encoded.words_cut == encoded.truncated == 0


def test_the_next_chunk_is_encoded_while_one_is_looked_at(monkeypatch):
    second = threading.Event()

    def encode(rows):
        if rows[0] == 2:
            second.set()
        return rows

    monkeypatch.setattr(tokenise, "CHUNK", 2)
    encodings = tokenise._in_chunks(encode, range(5))
    assert next(encodings) == 0
    assert second.wait(10)
    assert list(encodings) == [1, 2, 3, 4]


def test_windows_that_would_skip_tokens_are_refused(encoder):
    with pytest.raises(InputError, match=r"window_stride is 7, more than the 6 tokens"):
        dataclasses.replace(encoder, long_text="windows", stride=7).encode(Rows(text=["w1"]))


def test_pairs_are_cut_at_their_longer_text_and_come_in_no_windows(encoder):
    rows = Rows(text=["w1 w2 w3 w4 w5"], text_pair=["w6"])
    encoded = encoder.encode(rows)
    assert encoded.ids.tolist() == [CLS, 6, 7, 8, 9, SEP, 11, SEP]
    assert encoded.segments.tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
    assert encoded.truncated == 1
    with pytest.raises(InputError, match="these rows are pairs"):
        dataclasses.replace(encoder, long_text="windows").encode(rows)


@pytest.mark.parametrize("reads_words", [False, True])
def test_what_was_encoded_before_is_read_and_the_cache_holds_no_text(encoder, tmp_path, reads_words, monkeypatch):
    rows = of_words(["w1", "zanzibar", "w2"], ["w3"])
    chosen = dataclasses.replace(encoder, reads_words=reads_words, long_text="windows", stride=3)
    first = chosen.encode(rows, tmp_path)
    assert b"zanzibar" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    monkeypatch.setattr(type(chosen), "_encode", None)
    again = chosen.encode(rows, tmp_path)
    for field in dataclasses.fields(first):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(first, field.name), err_msg=field.name)


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_a_cache_that_was_cut_short_is_made_again(encoder, tmp_path, kept):
    rows = Rows(["w1 w2 w3", "w4"])
    first = encoder.encode(rows, tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: kept if kept > 1 else int(kept * len(whole))])
    np.testing.assert_array_equal(encoder.encode(rows, tmp_path).ids, first.ids)
    assert len(file.read_bytes()) == len(whole)


def test_of_a_cache_that_cannot_be_written_nothing_is_left(encoder, tmp_path, monkeypatch):
    def full(file, **columns):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        encoder.encode(Rows(["w1 w2 w3"]), tmp_path)
    assert not list(tmp_path.iterdir())


def test_whatever_changes_the_tokens_changes_the_name_in_the_cache(encoder):
    rows = of_words(["w1", "w2"], ["w3"])
    changes: list[dict] = [{}, {"long_text": "tail"}, {"long_text": "windows", "stride": 3}, {"max_length": 9}]
    encoders = [encoder, *(words_encoder(encoder, **one) for one in changes)]
    others = [of_words(["w1"], ["w2", "w3"]), of_words(["w1 w2"], ["w3"])]
    keys = [one._key(rows) for one in encoders] + [encoders[1]._key(other) for other in others]
    assert len(set(keys)) == len(keys)
