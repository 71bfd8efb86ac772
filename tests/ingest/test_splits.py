"""Held-out clips: always the same ones, and never the same words on both sides."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlora_studio.contracts.enums import Split
from qlora_studio.ingest.splits import DEFAULT_RATIOS, SplitItem, assign


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
