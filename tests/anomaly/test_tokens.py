"""Tokens by hand, their shapes, and what is known of fitted texts."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly.tokens import CHARACTERS, CUT, SHAPES, TOKENS, WORDS, Vocabulary, shape, tokens
from training.errors import InputError

TOLD = {
    "Failed password for root": ["Failed", "password", "for", "root"],
    "from 10.0.0.7:8080,": ["from", "10.0.0.7", ":", "8080", ","],
    "1.2.3.4.5": ["1", ".", "2", ".", "3", ".", "4", ".", "5"],
    "2024-05-31T18:45:00.123Z ok": ["2024-05-31T18:45:00.123Z", "ok"],
    "2024-05-31 18:45:00,5 at 18:45": ["2024-05-31 18:45:00,5", "at", "18:45"],
    "10:20:30:40": ["10", ":", "20", ":", "30", ":", "40"],
    "blk_-16 0x1F node12 3fa9c": ["blk", "_", "-", "16", "0x1F", "node", "12", "3fa9c"],
    "550e8400-e29b-41d4-a716-446655440000.": ["550e8400-e29b-41d4-a716-446655440000", "."],
    "naïve 日本 😀😀": ["naïve", "日", "本", "😀", "😀"],
    "a\tb\u00a0c": ["a", "b", "c"],
    "": [],
    " \t ": [],
}


@pytest.mark.parametrize("text", TOLD)
def test_tokens_are_those_of_the_rules(text: str) -> None:
    assert tokens(text) == TOLD[text]


@pytest.mark.parametrize(
    ("token", "wanted"),
    [
        *[("root", "<word>"), ("Root", "<Word>"), ("ROOT", "<WORD>"), ("rOot", "<wOrd>"), ("A", "<Word>")],
        *[("7", "<1 digits>"), ("4711", "<4 digits>"), ("9" * 40, "<16 digits>"), ("日", "<word>")],
        *[("0x1F", "<hex>"), ("3fa9", "<hex>"), ("10.0.0.7", "<address>"), ("18:45", "<date>")],
        *[("550e8400-e29b-41d4-a716-446655440000", "<uuid>"), ("😀", "<sign>"), ("", ""), (CUT, CUT)],
    ],
)
def test_unknown_tokens_are_seen_by_their_shape(token: str, wanted: str) -> None:
    assert shape(token) == wanted


@given(st.text(max_size=300))
def test_tokens_stand_in_the_text_in_their_order_and_leave_out_white_space_alone(text: str) -> None:
    found, at = tokens(text), 0
    cut = found[-1:] == [CUT]
    for token in found[:-1] if cut else found:
        begin = text.index(token, at)
        assert not text[at:begin].strip()
        at = begin + len(token)
        assert shape(token) in SHAPES
    assert cut or not text[at:].strip()


def test_long_texts_are_cut_and_say_so() -> None:
    assert tokens("a " * TOKENS) == ["a"] * TOKENS
    assert tokens("a " * (TOKENS + 1)) == [*["a"] * TOKENS, CUT]
    assert tokens("a" * (CHARACTERS + 1)) == ["a" * CHARACTERS, CUT]


@pytest.mark.parametrize("letter", ["a", "1", "-", "0a-", "1.", "1:", "f" * 8 + "-"])
def test_a_gigantic_text_takes_no_longer_than_what_is_read_of_it(letter: str) -> None:
    begin = time.process_time()
    tokens(letter * 10_000_000)
    assert time.process_time() - begin < 1


def test_known_are_words_that_come_again_and_numbers_that_are_common() -> None:
    texts = [["GET", "200", str(1000 + i), "once" if i == 3 else "ok"] for i in range(100)]
    vocabulary = Vocabulary.of(texts)
    assert vocabulary.words == ("200", "GET", "ok")
    first = len(SHAPES)
    number = SHAPES.index
    assert vocabulary.numbers("GET 404 once ok") == (
        first + 1,
        number("<3 digits>"),
        number("<word>"),
        first + 2,
        0,
    )
    assert vocabulary.numbers("ok " * (TOKENS + 1)) == (*[first + 2] * TOKENS, 1)
    assert vocabulary.numbers("ok " * TOKENS) == (*[first + 2] * TOKENS, 0)
    assert vocabulary.numbers("") == (0,)


def test_what_a_text_spells_is_no_shape() -> None:
    vocabulary = Vocabulary.of([tokens("<hex> <cut>")] * 9)
    assert set(vocabulary.words) == {"<", ">", "hex", "cut"}


@pytest.mark.parametrize(
    "words", [["a", "a"], ["<hex>"], [1], [None], [str(i) for i in range(WORDS + 1)], [["a"]]]
)
def test_a_vocabulary_that_is_none_is_refused(words: list) -> None:
    with pytest.raises(InputError, match="expected up to 1,000 that differ"):
        Vocabulary(json.loads(json.dumps(words)))
