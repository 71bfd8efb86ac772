import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlora_studio.listening.agreement import agreement_on_votes
from qlora_studio.listening.raters import sift
from qlora_studio.listening.strengths import rank, share_of
from qlora_studio.listening.votes import Choice, Tally, Vote, count_rows, count_votes

from .simulated import draw, names

LEFT, RIGHT, TIE = Choice.LEFT, Choice.RIGHT, Choice.TIE


def tables(n_most=4):
    return st.integers(2, n_most).flatmap(
        lambda n: st.lists(st.integers(0, 30), min_size=n * n * 3, max_size=n * n * 3).map(
            lambda cells: np.array(cells).reshape(n, n, 3) * (1 - np.eye(n, dtype=int))[:, :, None]
        )
    )


@given(tables())
@settings(max_examples=40, deadline=None)
def test_names_and_their_order_are_of_no_meaning(counts):
    n = len(counts)
    there = rank(Tally(names(n), counts))
    back = rank(Tally(names(n)[::-1], counts[::-1, ::-1]))
    assert np.allclose(there.strengths, back.strengths[::-1], atol=1e-5)
    assert np.allclose(there.covariance, back.covariance[::-1, ::-1], atol=1e-5)
    assert abs(there.strengths.sum()) < 1e-9


@given(tables())
@settings(max_examples=40, deadline=None)
def test_turned_answers_turn_the_ranking(counts):
    ahead = rank(Tally(names(len(counts)), counts))
    turned = rank(Tally(names(len(counts)), counts[:, :, [1, 0, 2]]))
    assert np.allclose(ahead.strengths, -turned.strengths, atol=1e-5)
    assert ahead.lean == pytest.approx(-turned.lean, abs=1e-5)


@given(tables(3))
@settings(max_examples=40, deadline=None)
def test_votes_for_a_system_never_weaken_it(counts):
    more = counts.copy()
    more[0, 1, 0] += 5
    more[1, 0, 1] += 5
    before, after = (rank(Tally(names(len(counts)), c)).compare("s0", "s1") for c in (counts, more))
    assert after.difference > before.difference - 1e-6


def test_strengths_and_errors_are_those_of_the_likelihood():
    """Written out anew: flat at the answer, and bent there as the errors say."""
    tally = draw(np.random.default_rng(3), [0.8, 0.0, -0.5], n_each=15, lean=0.4)

    def loss(at):
        total = (at[:3] ** 2).sum() / 8 + at[3] ** 2 / 8 + at[4] ** 2 / 2
        for a, b in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]:
            x = at[a] - at[b] + at[4]
            weights = np.array([x / 2, -x / 2, at[3]])
            total -= float(tally.counts[a, b] @ (weights - np.log(np.exp(weights).sum())))
        return total

    found = rank(tally)
    best = np.array([*found.strengths, found.tie, found.lean])
    steps = 1e-3 * np.eye(5)
    slope = [(loss(best + s) - loss(best - s)) / 2e-3 for s in steps]
    bend = [
        [
            (loss(best + s + t) - loss(best + s - t) - loss(best - s + t) + loss(best - s - t)) / 4e-6
            for t in steps
        ]
        for s in steps
    ]
    assert slope == pytest.approx([0] * 5, abs=1e-3)
    spread = np.linalg.inv(bend)
    _, errors = found.differences()
    assert errors[0, 1] == pytest.approx(np.sqrt(spread[0, 0] + spread[1, 1] - 2 * spread[0, 1]), rel=1e-3)
    assert found.lean_se == pytest.approx(np.sqrt(spread[4, 4]), rel=1e-3)


def test_who_won_or_lost_all_has_a_finite_strength():
    found = rank(count_rows([("best", "worst", LEFT, 500), ("worst", "best", RIGHT, 500)]))
    between = found.compare("best", "worst")
    assert between.is_told_apart
    assert 2 < between.difference < 12
    assert np.isfinite(found.covariance).all()
    assert 0.9 < between.share_low < between.share < between.share_high < 1


def test_no_votes_tell_nothing_apart():
    found = rank(count_rows([], systems=["a", "b", "c"]))
    assert [(s.strength, s.first_place, s.last_place) for s in found.standings()] == [(0, 1, 3)] * 3
    assert not found.compare("a", "c").is_linked


def test_systems_that_no_vote_links_are_never_told_apart():
    rows = [("a", "b", LEFT, 400), ("c", "d", LEFT, 400), ("b", "a", RIGHT, 400), ("d", "c", RIGHT, 400)]
    found = rank(count_rows(rows))
    assert found.compare("a", "b").is_told_apart
    assert not found.compare("a", "d").is_told_apart
    assert [(s.first_place, s.last_place) for s in found.standings()] == [(1, 3), (1, 3), (2, 4), (2, 4)]
    linked = rank(count_rows([*rows, ("b", "c", LEFT, 400), ("c", "b", RIGHT, 400)]))
    assert linked.compare("a", "d").is_told_apart


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)).filter(lambda e: e[0] != e[1]), max_size=7))
@settings(max_examples=40, deadline=None)
def test_systems_are_linked_exactly_if_a_path_of_votes_leads_from_one_to_the_other(edges):
    groups = rank(count_rows([(f"s{a}", f"s{b}", TIE, 1) for a, b in edges], systems=names(7))).groups
    reached = np.eye(7, dtype=int)
    for a, b in edges:
        reached[a, b] = reached[b, a] = 1
    reached = np.linalg.matrix_power(reached, 7) > 0
    assert ((groups[:, None] == groups[None, :]) == reached).all()


def test_places_say_who_may_stand_where():
    tally = draw(np.random.default_rng(1), [2.0, 0.0, 0.02, -2.0], n_each=30)
    places = {s.system: (s.first_place, s.last_place) for s in rank(tally).standings()}
    assert places == {"s0": (1, 1), "s1": (2, 3), "s2": (2, 3), "s3": (4, 4)}


def test_a_lean_to_one_side_is_found_and_favours_nobody():
    tally = draw(np.random.default_rng(2), [0.0, 0.0, 0.0], n_each=400, lean=0.8)
    found = rank(tally)
    low, high = found.lean_interval
    assert low < 0.8 < high
    assert low > 0.5
    assert all(s.last_place - s.first_place == 2 for s in found.standings())


def test_ties_are_counted_as_such():
    tally = draw(np.random.default_rng(2), [0.0, 0.0], n_each=3000, tie=np.log(2))  # half of the answers
    found = rank(tally)
    assert np.exp(found.tie) / (2 + np.exp(found.tie)) == pytest.approx(0.5, abs=0.02)
    assert rank(count_rows([("a", "b", TIE, 50)])).compare("a", "b").difference == pytest.approx(0)


def test_votes_are_counted_by_side_and_catch_pairs_are_not():
    votes = [
        Vote("ann", "p1", "a", "b", LEFT),
        Vote("ann", "p2", "b", "a", TIE),
        Vote("bob", "p1", "b", "a", RIGHT),
        Vote("bob", "c1", "a", "a", TIE, is_catch=True),
    ]
    tally = count_votes(votes, systems=["c", "a"])
    assert tally.systems == ("c", "a", "b")
    assert tally.n_votes == 3
    assert tally.counts[1, 2].tolist() == [1, 0, 0]
    assert tally.counts[2, 1].tolist() == [0, 1, 1]
    with pytest.raises(ValueError, match="against itself"):
        count_rows([("a", "a", LEFT, 1)])
    with pytest.raises(ValueError, match="isn't in this"):
        rank(tally).compare("a", "z")
    with pytest.raises(ValueError, match="with itself"):
        rank(tally).compare("a", "a")
    with pytest.raises(ValueError, match="at least one"):
        rank(count_rows([]))


@pytest.mark.parametrize("difference", [-800.0, -1.0, 0.0, 3.0, 800.0])
def test_shares_stay_shares(difference):
    assert share_of(difference) + share_of(-difference) == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize("n_each", [5, 20])
@pytest.mark.parametrize(("tie", "lean"), [(-30.0, 0.0), (-1.0, 0.2), (0.5, 0.0)])
@pytest.mark.parametrize("truth", [[-0.8, -0.2, 0.0, 0.3, 0.7], [-1.5, -1.0, 0.0, 0.5, 2.0], [0.0] * 5])
def test_intervals_hold_the_truth_as_often_as_they_say(truth, tie, lean, n_each):
    truth = np.array(truth)
    real = truth[:, None] - truth[None, :]
    upper = np.triu_indices(len(truth), 1)
    rng = np.random.default_rng(11)
    of_differences, of_strengths = [], []
    for _ in range(400):
        found = rank(draw(rng, truth, n_each=n_each, tie=tie, lean=lean))
        differences, errors = found.differences()
        of_differences.append((np.abs(differences - real) <= found.z * errors)[upper])
        off = np.abs(found.strengths - (truth - truth.mean()))
        of_strengths.append(off <= found.z * np.sqrt(np.diag(found.covariance)))
    print(f"differences {np.mean(of_differences):.3f}, strengths {np.mean(of_strengths):.3f}")
    assert 0.92 <= np.mean(of_differences) <= 0.98
    assert 0.92 <= np.mean(of_strengths) <= 0.98


@pytest.mark.slow
def test_a_hundred_thousand_votes_among_twenty_systems_take_less_than_a_second():
    rng = np.random.default_rng(5)
    pairs = [rng.choice(20, 2, replace=False).tolist() for _ in range(1000)]
    choices = [Choice(c) for c in rng.choice(["left", "right", "tie"], 100_000)]
    votes = [
        Vote(
            f"r{i // 2000}",
            f"p{i % 5000}",
            names(20)[pairs[i % 1000][0]],
            names(20)[pairs[i % 1000][1]],
            choice,
        )
        for i, choice in enumerate(choices)
    ]
    started = time.process_time()
    kept, raters = sift(votes)
    standings = rank(count_votes(kept)).standings()
    agreement = agreement_on_votes(kept)
    taken = time.process_time() - started
    print(f"{taken:.2f} s")
    assert sum(s.n_votes for s in standings) == 200_000
    assert (len(raters), agreement.n_units) == (50, 5000)
    assert taken < 1
