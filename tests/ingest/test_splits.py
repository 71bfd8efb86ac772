"""Held-out clips: always the same ones, and never the same words on both sides."""

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlora_studio.contracts.enums import Split, Task
from qlora_studio.ingest.splits import DEFAULT_RATIOS, SplitItem, assign, untie_prompts


def items(texts):
    return [SplitItem(f"c{i}", f"{i:064d}", text) for i, text in enumerate(texts)]


def test_the_same_seed_gives_the_same_choice_in_any_order():
    clips = items([f"text {i}" for i in range(100)])
    first = assign(clips, ratios=DEFAULT_RATIOS, seed=1)
    assert first == assign(clips[::-1], ratios=DEFAULT_RATIOS, seed=1)
    assert first != assign(clips, ratios=DEFAULT_RATIOS, seed=2)
    assert Counter(first.values()) == {Split.TRAIN: 80, Split.VALIDATION: 20}


@given(
    st.lists(st.sampled_from(["Yes.", "yes", "no", "perhaps", "the end", None]), min_size=2, max_size=60),
    st.integers(0, 9),
)
def test_equal_words_stay_on_one_side_and_something_is_held_out(texts, seed):
    clips = items(texts)
    chosen = assign(clips, ratios=DEFAULT_RATIOS, seed=seed)
    sides: dict[str, set[Split]] = {}
    for clip in clips:
        key = (clip.text or clip.id).casefold().strip(".")
        sides.setdefault(key, set()).add(chosen[clip.id])
    assert all(len(side) == 1 for side in sides.values())
    if len(sides) > 1:
        assert set(chosen.values()) == {Split.TRAIN, Split.VALIDATION}


def test_labels_are_spread_evenly():
    clips = [
        SplitItem(f"{label}{i}", f"{label}{i}", None, label) for label in ("dog", "cat") for i in range(50)
    ]
    chosen = assign(clips, ratios={Split.TRAIN: 0.6, Split.VALIDATION: 0.2, Split.TEST: 0.2}, seed=0)
    assert Counter((i[:3], s) for i, s in chosen.items()) == {
        (label, split): n for label in ("dog", "cat")
        for split, n in ((Split.TRAIN, 30), (Split.VALIDATION, 10), (Split.TEST, 10))
    }  # fmt: skip


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_tiny_sets(n):
    chosen = assign(items([f"t{i}" for i in range(n)]), ratios=DEFAULT_RATIOS, seed=0)
    counts = Counter(chosen.values())
    assert counts[Split.VALIDATION] == (1 if n > 1 else 0)
    assert counts.total() == n


def test_speakers_stay_on_one_side_in_the_share_that_was_wanted():
    clips = [
        SplitItem(f"c{i}", f"{i:064d}", f"text {i}", speaker=f"s{min(i % 13, i % 7)}") for i in range(200)
    ]
    ratios = {Split.TRAIN: 0.7, Split.VALIDATION: 0.15, Split.TEST: 0.15}
    for seed in range(5):
        chosen = assign(clips, ratios=ratios, seed=seed, by_speaker=True)
        sides = {(clip.speaker, chosen[clip.id]) for clip in clips}
        assert len(sides) == len({clip.speaker for clip in clips})
        counts = Counter(chosen.values())
        assert abs(counts[Split.TRAIN] - 140) <= 25
        assert counts[Split.VALIDATION] > 0 < counts[Split.TEST]
        assert chosen == assign(clips[::-1], ratios=ratios, seed=seed, by_speaker=True)


def test_where_speakers_read_the_same_words_the_speaker_counts():
    clips = [
        SplitItem(f"c{s}{i}", f"{s}{i:063d}", f"sentence {i}", speaker=f"s{s}")
        for s in range(10)
        for i in range(5)
    ]
    chosen = assign(clips, ratios=DEFAULT_RATIOS, seed=0, by_speaker=True)
    assert Counter(chosen.values()) == {Split.TRAIN: 40, Split.VALIDATION: 10}
    assert len({(clip.speaker, chosen[clip.id]) for clip in clips}) == 10


def test_labels_can_be_spread_evenly_where_there_are_words():
    clips = [SplitItem(f"c{i}", f"{i:064d}", f"text {i}", "rare" if i < 10 else "usual") for i in range(100)]
    chosen = assign(clips, ratios=DEFAULT_RATIOS, seed=0, stratify=True)
    assert Counter((c.label, chosen[c.id]) for c in clips)["rare", Split.VALIDATION] == 2


def test_the_same_bytes_or_sound_stay_on_one_side_whatever_is_said_of_them():
    clips = [SplitItem(f"c{i}", f"{i % 20:064d}", f"text {i}", sound=str(i % 4)) for i in range(40)]
    chosen = assign(clips, ratios={Split.TRAIN: 0.5, Split.VALIDATION: 0.5}, seed=0)
    assert len({(clip.sound, chosen[clip.id]) for clip in clips}) == 4
    assert Counter(chosen.values())[Split.VALIDATION] == 20


def test_takes_of_a_prompt_are_on_both_sides_where_the_text_is_what_to_make():
    texts = ["a bell"] * 10 + ["noise"] * 15 + ["a rare one"] * 3
    chosen = assign(untie_prompts(items(texts), task=Task.TEXT_TO_AUDIO), ratios=DEFAULT_RATIOS, seed=0)
    held = Counter(text for i, text in enumerate(texts) if chosen[f"c{i}"] is Split.VALIDATION)
    assert (held["a bell"], held["noise"]) == (2, 3)
    assert held["a rare one"] in (0, 3), "too few to part"


def test_words_that_are_said_and_clips_of_classes_stay_together():
    said = items(["yes"] * 10 + ["no"] * 10)
    assert untie_prompts(said, task=Task.SPEECH_TO_TEXT) == said
    classes = [SplitItem(f"c{i}", f"{i:064d}", "a bell", "loud" if i else "1+") for i in range(10)]
    assert untie_prompts(classes, task=Task.TEXT_TO_AUDIO) == classes


def compared(prompt: str, pairs: Sequence[tuple[int, int]], *, first: int) -> list[SplitItem]:
    """Takes of a prompt with the marks of their pairs, numbered from `first` on."""
    marks: dict[int, list[str]] = {}
    for number, pair in enumerate(pairs, start=first):
        for take, sign in zip(pair, "+-", strict=True):
            marks.setdefault(take, []).append(f"{number}{sign}")
    return [
        SplitItem(f"{prompt} {take}", f"{prompt} {take}", prompt, " ".join(some))
        for take, some in marks.items()
    ]


def sides_of(clips: Sequence[SplitItem]) -> dict[str, set[Split]]:
    """By pair the splits that its two takes are in."""
    chosen = assign(untie_prompts(clips, task=Task.TEXT_TO_AUDIO), ratios=DEFAULT_RATIOS, seed=0)
    sides: dict[str, set[Split]] = {}
    for item in clips:
        for mark in (item.label or "").split():
            sides.setdefault(mark[:-1], set()).add(chosen[item.id])
    return sides


def test_pairs_of_a_prompt_are_on_both_sides_and_no_pair_is_parted():
    bells = compared("a bell", [(2 * i, 2 * i + 1) for i in range(10)], first=1)
    noises = compared("noise", [(i, i + 1) for i in range(30) if i % 3 < 2], first=100)
    sides = sides_of(bells + noises)
    assert all(len(one) == 1 for one in sides.values())
    held = [int(number) for number, one in sides.items() if Split.VALIDATION in one]
    assert sum(number < 100 for number in held) == 2, "two of the ten pairs of bells"
    assert sum(number >= 100 for number in held) == 4, "four of the twenty pairs of noises"


def test_a_few_votes_between_many_takes_leave_pairs_to_hold_out_of_one_prompt():
    chance = random.Random(3)
    pairs = [tuple(chance.sample(range(36), 2)) for _ in range(20)]
    sides = sides_of(compared("noise", pairs, first=1))
    held = [one for one in sides.values() if Split.VALIDATION in one]
    assert all(len(one) == 1 for one in sides.values())
    assert 2 <= len(held) <= 6, "about a fifth, where all would have been on one side"


def test_takes_that_are_all_linked_by_pairs_stay_together():
    pairs = [(i, j) for i in range(6) for j in range(i)]
    sides = sides_of(compared("a bell", pairs, first=1) + compared("noise", pairs, first=100))
    by_prompt = {int(number) < 100: one for number, one in sides.items()}
    assert by_prompt == {True: {Split.TRAIN}, False: {Split.VALIDATION}} or by_prompt == {
        True: {Split.VALIDATION},
        False: {Split.TRAIN},
    }
