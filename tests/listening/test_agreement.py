import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlora_studio.listening.agreement import agreement_on_labels, agreement_on_stars, agreement_on_votes
from qlora_studio.listening.votes import Choice, Vote

# the worked examples of Krippendorff, Computing Krippendorff's Alpha-Reliability (2011); "." is missing
TWO_BINARY = ("0100000010", "1110010000")
TWO_NOMINAL = ("aabbdcccedda", "babbbccceddd")
FOUR_WITH_GAPS = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")


def units(observers):
    return [(u, value) for row in observers for u, value in enumerate(row) if value != "."]


def test_published_examples():
    assert agreement_on_labels(units(TWO_BINARY)).alpha == pytest.approx(0.095, abs=5e-4)
    assert agreement_on_labels(units(TWO_NOMINAL)).alpha == pytest.approx(0.692, abs=5e-4)
    assert agreement_on_labels(units(FOUR_WITH_GAPS)).alpha == pytest.approx(0.743, abs=5e-4)
    ordinal = agreement_on_stars((unit, int(value)) for unit, value in units(FOUR_WITH_GAPS))
    assert ordinal.alpha == pytest.approx(0.815, abs=5e-4)
    assert (ordinal.n_units, ordinal.n_values) == (11, 40)


def test_full_agreement_is_one_and_one_answer_everywhere_is_none():
    assert agreement_on_stars([("a", 1), ("a", 1), ("b", 5), ("b", 5)]).alpha == 1
    assert agreement_on_stars([("a", 4), ("a", 4), ("b", 4), ("b", 4)]).alpha is None
    assert agreement_on_stars([("a", 4), ("b", 3)]).alpha is None
    assert agreement_on_stars([]).alpha is None
    assert agreement_on_votes([]).alpha is None


def test_near_stars_agree_more_than_far_ones():
    near = [(u, s) for u, (a, b) in enumerate([(5, 4), (4, 4), (2, 1), (1, 1)]) for s in (a, b)]
    far = [(u, s) for u, (a, b) in enumerate([(5, 1), (4, 4), (2, 4), (1, 1)]) for s in (a, b)]
    assert (agreement_on_stars(near).alpha or 0) > (agreement_on_stars(far).alpha or 0)


def vote(rater, pair, choice, *, left="a", right="b", is_catch=False):
    return Vote(rater, pair, left, right, choice, is_catch=is_catch)


def test_votes_agree_on_the_system_whatever_the_side():
    votes = [
        vote("ann", "p1", Choice.LEFT),
        vote("bob", "p1", Choice.RIGHT, left="b", right="a"),
        vote("ann", "p2", Choice.LEFT),
        vote("bob", "p2", Choice.LEFT),
        vote("ann", "p1", Choice.TIE),  # asked again
        vote("bob", "c", Choice.TIE, is_catch=True),
        vote("ann", "c", Choice.LEFT, is_catch=True),
    ]
    found = agreement_on_votes(votes)
    assert (found.alpha, found.n_units, found.n_values) == (1, 2, 4)


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(list(Choice))), max_size=30), st.booleans())
@settings(max_examples=60, deadline=None)
def test_which_side_a_pair_is_on_changes_no_agreement(answers, swap):
    turned = {Choice.LEFT: Choice.RIGHT, Choice.RIGHT: Choice.LEFT, Choice.TIE: Choice.TIE}
    votes, others = [], []
    for rater, (pair, choice) in enumerate(answers):
        votes.append(vote(f"r{rater}", f"p{pair}", choice))
        is_turned = swap or rater % 2
        other = vote(f"r{rater}", f"p{pair}", turned[choice], left="b", right="a") if is_turned else votes[-1]
        others.append(other)
    there, back = agreement_on_votes(votes), agreement_on_votes(others)
    assert there.alpha == (None if back.alpha is None else pytest.approx(back.alpha))
    assert there.alpha is None or there.alpha <= 1


def test_dice_agree_on_nothing():
    rng = np.random.default_rng(4)
    thrown = [(unit, int(stars)) for unit in range(300) for stars in rng.integers(1, 6, 3)]
    found = agreement_on_stars(thrown)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0 < found.high
    assert found.high - found.low < 0.2


@pytest.mark.slow
def test_intervals_of_agreement_hold_the_truth_as_often_as_they_say():
    """Raters who give the true label with 0.8, else any of four; the truth is taken from very many units."""

    def judged(rng, n_units):
        true = rng.integers(0, 4, (n_units, 1))
        return np.where(rng.random((n_units, 3)) < 0.8, true, rng.integers(0, 4, (n_units, 3)))

    def found(table):
        return agreement_on_labels((u, int(v)) for u, row in enumerate(table) for v in row)

    rng = np.random.default_rng(9)
    truth = found(judged(rng, 60_000)).alpha
    assert truth == pytest.approx(0.64, abs=0.01)  # 0.8 squared
    held = []
    for _ in range(500):
        seen = found(judged(rng, 40))
        assert seen.low is not None
        assert seen.high is not None
        held.append(seen.low <= truth <= seen.high)
    print(f"held {np.mean(held):.3f}")
    assert 0.92 <= np.mean(held) <= 0.98
