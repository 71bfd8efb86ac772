"""A transcript beside its reference, word by word."""

import difflib
from dataclasses import dataclass
from typing import Literal

from qlora_studio.db.models import JobSample


@dataclass(frozen=True)
class Word:
    """A word of a transcript beside its reference: the same, wrong, or one that is missing from it."""

    text: str
    kind: Literal["same", "wrong", "missing"]


def compare(reference: str, text: str) -> list[Word]:
    """The words of `text` beside those of `reference`, without regard to case and punctuation."""
    wanted, said = reference.split(), text.split()
    matcher = difflib.SequenceMatcher(None, [_plain(w) for w in wanted], [_plain(w) for w in said], False)
    words: list[Word] = []
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        if kind == "equal":
            words += [Word(w, "same") for w in said[j1:j2]]
        else:
            words += [Word(w, "wrong") for w in said[j1:j2]]
            words += [Word(w, "missing") for w in wanted[i1:i2]]
    return words


def _plain(word: str) -> str:
    return "".join(c for c in word.casefold() if c.isalnum()) or word


def compare_output(sample: JobSample, text: str | None) -> list[Word]:
    """What a model made of a clip, beside the reference; empty where it is no transcript.

    Classes, made sounds and lines of RTTM (who speaks when) are not compared word by word.
    """
    is_rttm = sample.reference.startswith("SPEAKER ")
    if text is None or is_rttm or sample.details.keys() & {"top", "sound"}:
        return []
    return compare(sample.reference, text)
