from collections import Counter
from itertools import combinations
from random import Random

import pytest

from qlora_studio.listening.questions import Kind, Pair, next_question
from qlora_studio.listening.strengths import rank
from qlora_studio.listening.votes import Choice, Vote, count_rows, count_votes

SYSTEMS = ("a", "b", "c")
PAIRS = [
    Pair(f"{prompt}:{one}{other}", one, other)
    for prompt in range(20)
    for one, other in combinations(SYSTEMS, 2)
]
CATCHES = [Pair(f"catch{i}", "a", "a worse", is_catch=True, known="a") for i in range(3)]


def sit(seed, n, *, answer=lambda question: Choice.LEFT, others=()):
    """One rater's session: the questions asked and the votes given."""
    questions, history, left = [], [], list(PAIRS)
    for n_asked in range(n):
        tally = count_votes([*others, *history], systems=SYSTEMS)
        question = next_question(
            seed=seed,
            n_asked=n_asked,
            history=history,
            open_pairs=left,
            catches=CATCHES,
            tally=tally,
            ranking=rank(tally),
        )
        if question is None:
            break
        questions.append(question)
        pair = question.pair
        history.append(
            Vote(
                seed,
                pair.pair,
                question.left,
                question.right,
                answer(question),
                is_catch=pair.is_catch,
                known=pair.known,
            )
        )
        left = [p for p in left if p.pair != pair.pair]
    return questions, history


def test_a_seed_gives_one_order_and_another_seed_another():
    assert sit("ann", 30) == sit("ann", 30)
    assert [q.pair for q in sit("ann", 30)[0]] != [q.pair for q in sit("bob", 30)[0]]


def test_each_ten_hold_a_catch_pair_and_a_repeat_with_the_sides_swapped():
    questions, _ = sit("ann", 50)
    kinds = [q.kind for q in questions]
    assert all(kinds[i : i + 10].count(Kind.CATCH) == 1 for i in range(0, 50, 10))
    assert all(kinds[i : i + 10].count(Kind.REPEAT) == 1 for i in range(10, 50, 10))
    asked = {}
    for place, question in enumerate(questions):
        if question.kind is Kind.REPEAT:
            before, there = asked[question.pair.pair]
            assert place - before > 5
            assert (question.left, question.right) == (there.right, there.left)
        elif question.kind is Kind.NEW:
            assert question.pair.pair not in asked
            asked[question.pair.pair] = (place, question)
    assert (
        len({q.pair.pair for q in questions if q.kind is Kind.CATCH}) == 3
    )  # all were heard before any twice


def test_catch_pairs_and_repeats_come_at_other_places_for_others():
    places = {tuple(i for i, q in enumerate(sit(f"r{r}", 20)[0]) if q.kind is not Kind.NEW) for r in range(6)}
    assert len(places) > 3


def test_systems_and_sides_are_balanced():
    rng = Random(0)
    questions, _ = sit("ann", 62, answer=lambda _: rng.choice(list(Choice)))
    new = [q for q in questions if q.kind is Kind.NEW]
    by_pair = Counter(frozenset((q.left, q.right)) for q in new)
    assert min(by_pair.values()) >= len(new) / 4  # a third each, but for what tells more
    on_left = Counter((q.left, q.right) for q in new)
    for one, other in combinations(SYSTEMS, 2):
        assert abs(on_left[one, other] - on_left[other, one]) <= 2


def test_what_is_open_is_asked_rather_than_what_is_decided():
    tally = count_rows(
        [
            *(("a", "c", Choice.LEFT, 60), ("c", "a", Choice.RIGHT, 60)),
            *(("b", "c", Choice.LEFT, 60), ("c", "b", Choice.RIGHT, 60)),
            *(("a", "b", Choice.LEFT, 3), ("b", "a", Choice.LEFT, 3)),
        ]
    )
    asked = Counter(
        "".join(sorted((question.left, question.right)))
        for n in range(40)
        if (
            question := next_question(
                seed="ann",
                n_asked=n,
                history=[],
                open_pairs=PAIRS,
                catches=[],
                tally=tally,
                ranking=rank(tally),
            )
        )
    )
    assert asked == {"ab": 40}


def test_the_end_is_none_and_a_strange_system_an_error():
    tally = count_rows([], systems=SYSTEMS)
    ask = {"seed": "s", "n_asked": 0, "history": [], "catches": [], "tally": tally, "ranking": rank(tally)}
    assert next_question(open_pairs=[], **ask) is None
    with pytest.raises(ValueError, match="isn't in this listening test"):
        next_question(open_pairs=[Pair("p", "a", "z")], **ask)
