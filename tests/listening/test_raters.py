from random import Random

import pytest

from qlora_studio.listening.raters import most_misses, sift
from qlora_studio.listening.votes import Choice, Vote


def catches(rater, n, n_right):
    """The first system is the better one, on the left."""
    return [
        Vote(
            rater,
            f"c{i}",
            "good",
            "bad",
            Choice.LEFT if i < n_right else Choice.TIE,
            is_catch=True,
            known="good",
        )
        for i in range(n)
    ]


def judge(votes):
    (rater,) = sift(votes)[1]
    return rater


@pytest.mark.parametrize(("n", "misses"), [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (10, 3), (20, 4)])
def test_so_many_slips_are_forgiven_and_one_more_is_not(n, misses):
    assert most_misses(n) == misses
    assert judge(catches("ann", n, n - misses)).left_out is None
    if misses < n:
        told = judge(catches("ann", n, n - misses - 1)).left_out
        assert told == f"Missed {misses + 1} of {n} pairs with a known answer; {misses} may be missed."


def test_the_same_sound_twice_asks_for_a_tie():
    choices = (Choice.TIE, Choice.LEFT)
    votes = [Vote("ann", f"c{i}", "a", "a", choice, is_catch=True) for i, choice in enumerate(choices)]
    assert (judge(votes).n_known, judge(votes).n_right) == (2, 1)


def test_who_always_presses_left_is_left_out_by_the_repeats():
    first = [Vote("ann", f"p{i}", "a", "b", Choice.LEFT) for i in range(8)]
    again = [Vote("ann", f"p{i}", "b", "a", Choice.LEFT) for i in range(8)]
    kept, (ann,) = sift(first + again)
    assert kept == []
    assert (ann.n_votes, ann.n_repeats, ann.n_same) == (8, 8, 0)
    assert ann.left_out is not None
    assert ann.left_out.startswith("Repeated 0 of 8 answers")


def test_only_first_answers_of_counted_raters_rank():
    good = [Vote("ann", "p1", "a", "b", Choice.LEFT), Vote("ann", "p1", "b", "a", Choice.RIGHT)]
    bad = [Vote("bob", "p1", "a", "b", Choice.RIGHT)]
    kept, raters = sift([*bad, *good, *catches("bob", 4, 0), *catches("ann", 4, 4)])
    assert kept == good[:1]
    assert [(r.rater, r.left_out is None) for r in raters] == [("bob", False), ("ann", True)]
    assert (raters[1].n_repeats, raters[1].n_same) == (1, 1)


def test_careful_raters_stay_and_guessers_go():
    rng = Random(8)

    def share_left_out(p_right):
        n_out = sum(
            judge(catches("ann", 12, sum(rng.random() < p_right for _ in range(12)))).left_out is not None
            for _ in range(300)
        )
        return n_out / 300

    assert share_left_out(0.9) < 0.06
    assert share_left_out(1 / 3) > 0.95
