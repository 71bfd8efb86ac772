"""The recipe behind the embedded examples: the same texts every time, none from the held-out clips."""

import re

import pytest

from scripts.starter import sentences
from scripts.starter.prompts import spoken
from scripts.starter.speech import example_texts


def test_the_same_seed_says_the_same() -> None:
    first = list(sentences.generate(200, seed=1))

    assert first == list(sentences.generate(200, seed=1))
    assert first != list(sentences.generate(200, seed=2))


def test_phrases_of_the_example_dataset_are_not_spoken() -> None:
    texts = example_texts()
    said = {text.lower() for text in sentences.generate(5_000, seed=3, forbidden=texts)}

    assert not {text for text in said & texts if len(text.split()) >= 3}


def test_sentences_are_words_and_letters_to_spell() -> None:
    for text in sentences.generate(2_000, seed=4):
        assert re.fullmatch(r"([a-z']+|[A-Z])( ([a-z']+|[A-Z]))*", text), text
        assert len(text.split()) <= 14


@pytest.mark.parametrize(
    ("printed", "heard"),
    [
        ("Press 1 to mute, or # to exit.", "press one to mute or pound to exit"),
        ("dash [-]", "dash"),
        ("At the tone (beep), I'm sorry...", "at the tone i'm sorry"),
        ("A.M.", "a m"),
        ("[this is an error beep tone]", ""),
    ],
)
def test_printed_prompts_become_what_is_heard(printed: str, heard: str) -> None:
    assert spoken(printed) == heard
