import math

import numpy as np
import pytest

from qlora_studio.listening.power import chance_to_tell_apart, votes_needed, votes_to_plan
from qlora_studio.listening.strengths import rank
from qlora_studio.listening.votes import Choice, Tally, count_rows

from .simulated import draw, names


def _draw_more(rng, strengths, n_more, **kwargs):
    """So many votes between the first two, half of them on either side."""
    first = draw(rng, strengths, n_each=n_more // 2, **kwargs).counts
    kept = np.zeros_like(first)
    kept[:2, :2] = first[:2, :2]
    return kept


def test_who_is_told_apart_needs_no_more():
    found = rank(draw(np.random.default_rng(0), [2.0, -2.0], n_each=50))
    assert votes_needed(found, "s0", "s1") == 0
    assert chance_to_tell_apart(found, "s0", "s1", n_more=0) == 1


def test_equals_and_strangers_get_no_figure():
    equal = rank(count_rows([("a", "b", Choice.LEFT, 20), ("a", "b", Choice.RIGHT, 20)]))
    assert votes_needed(equal, "a", "b") is None
    strangers = rank(count_rows([("a", "b", Choice.LEFT, 20), ("c", "d", Choice.LEFT, 20)]))
    assert votes_needed(strangers, "a", "c") is None


def test_closer_systems_and_surer_answers_take_more_votes():
    near, far = (
        rank(count_rows([("a", "b", Choice.LEFT, won), ("b", "a", Choice.LEFT, 40 - won)]))
        for won in (22, 25)
    )
    needed = votes_needed(near, "a", "b")
    assert needed is not None
    assert needed > (votes_needed(far, "a", "b") or math.inf)
    assert needed < (votes_needed(near, "a", "b", power=0.95) or 0)
    assert chance_to_tell_apart(near, "a", "b", n_more=needed) >= 0.8
    assert chance_to_tell_apart(near, "a", "b", n_more=needed - 1) < 0.8
    assert votes_needed(near, "a", "b", most=needed - 1) is None


def test_a_plan_agrees_with_the_tables():
    # (1.960 + 0.842)^2 / 0.405^2 / 0.24 for 60 against 40
    assert votes_to_plan(0.6) == 199
    assert votes_to_plan(0.6, tie_share=0.5) > 1.9 * votes_to_plan(0.6)
    for share in (0.5, 1.0):
        with pytest.raises(ValueError, match="share"):
            votes_to_plan(share)


@pytest.mark.slow
@pytest.mark.parametrize("tie", [-30.0, 0.0])
@pytest.mark.parametrize("strengths", [[0.25, -0.25, 0.0], [0.6, -0.2, -0.4]])
def test_as_many_votes_as_said_tell_apart_as_often_as_said(strengths, tie):
    """What a rater is now thought to be like is taken as the truth; only the votes to come are drawn."""
    rng = np.random.default_rng(21)
    now, needed = None, 0
    while not needed:  # votes that leave it open
        now = draw(rng, strengths, n_each=10, tie=tie)
        needed = votes_needed(rank(now), "s0", "s1") or 0
    assert now is not None
    seen = rank(now)
    told = []
    for _ in range(600):
        more = _draw_more(rng, seen.strengths, needed, tie=seen.tie, lean=seen.lean)
        told.append(rank(Tally(names(3), now.counts + more)).compare("s0", "s1").is_told_apart)
    print(f"{needed} more votes: {np.mean(told):.3f}")
    assert np.mean(told) == pytest.approx(0.8, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("share", "tie_share"), [(0.6, 0.0), (0.7, 0.3)])
def test_a_planned_test_tells_apart_as_often_as_said(share, tie_share):
    rng = np.random.default_rng(22)
    half = math.log(share / (1 - share)) / 2
    tie = math.log(2 * tie_share / (1 - tie_share)) if tie_share else -30.0
    n_each = math.ceil(votes_to_plan(share, tie_share=tie_share) / 2)
    told = [
        rank(draw(rng, [half, -half], n_each=n_each, tie=tie)).compare("s0", "s1").is_told_apart
        for _ in range(600)
    ]
    print(f"{2 * n_each} votes: {np.mean(told):.3f}")
    assert np.mean(told) == pytest.approx(0.8, abs=0.05)
