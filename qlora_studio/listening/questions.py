"""Which pair a rater hears next, and on which sides.

Sources:
    M. E. Glickman, S. T. Jensen, Adaptive paired comparison design, Journal of Statistical Planning and
    Inference 127 (2005), for asking what tells most.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from qlora_studio.contracts.enums import QuestionKind as Kind
from qlora_studio.listening.strengths import Ranking
from qlora_studio.listening.votes import Tally, Vote

BLOCK = 10  # unless said otherwise, of so many questions one is a catch pair and one a repeat
GAP = 5  # so many questions lie between a pair and its repeat
_NEARLY = 0.9  # what tells nearly as much as the best will do, so that raters at one time get different pairs


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sounds that can be asked about; `known` as in `Vote` if it is a catch pair."""

    pair: str
    one: str
    other: str
    is_catch: bool = False
    known: str | None = None


@dataclass(frozen=True)
class Question:
    """What a rater hears."""

    pair: Pair
    left: str
    right: str
    kind: Kind


def next_question(
    *,
    seed: str,
    n_asked: int,
    history: Sequence[Vote],
    open_pairs: Sequence[Pair],
    catches: Sequence[Pair],
    tally: Tally,
    ranking: Ranking,
    block: int = BLOCK,
) -> Question | None:
    """Choose what a rater hears next; the same arguments give the same question.

    One catch pair and one repeat come at random places of each `block` questions. Else the pair is one that
    would tell the most about the ranking, which at first is one that nobody has judged.

    Args:
        seed: of this rater in this test.
        n_asked: questions the rater was asked before, skipped ones too.
        history: the rater's votes, oldest first.
        open_pairs: what the rater has neither answered nor skipped; no catch pairs.
        catches: pairs with a known answer.
        tally: all votes so far.
        ranking: of `tally`.
        block: at least 2.

    Returns:
        None once nothing new is left to ask.

    Raises:
        ValueError: a pair's system isn't in the test.
    """
    if not open_pairs:
        return None
    rng = Random(f"{seed}:{n_asked}")
    kind = _kind_at(seed, n_asked, block)
    if kind is Kind.CATCH and catches:
        return _catch(rng, history, catches)
    if kind is Kind.REPEAT and (question := _repeat(rng, history)):
        return question
    return _new(rng, open_pairs, tally, ranking)


def _kind_at(seed: str, n_asked: int, size: int) -> Kind:
    block, place = divmod(n_asked, size)
    catch_at, repeat_at = Random(f"{seed}:block {block}").sample(range(size), 2)
    return {catch_at: Kind.CATCH, repeat_at: Kind.REPEAT}.get(place, Kind.NEW)


def _catch(rng: Random, history: Sequence[Vote], catches: Sequence[Pair]) -> Question:
    """One of the catch pairs that the rater heard least often, on sides by chance."""
    n_heard = Counter(vote.pair for vote in history if vote.is_catch)
    least = min(n_heard[catch.pair] for catch in catches)
    pair = rng.choice([catch for catch in catches if n_heard[catch.pair] == least])
    left, right = rng.sample([pair.one, pair.other], 2)
    return Question(pair, left, right, Kind.CATCH)


def _repeat(rng: Random, history: Sequence[Vote]) -> Question | None:
    """A pair answered once, a while ago, with the sides swapped."""
    n_heard = Counter(vote.pair for vote in history)
    recent = {vote.pair for vote in history[max(0, len(history) - GAP) :]}
    able = [v for v in history if not v.is_catch and n_heard[v.pair] == 1 and v.pair not in recent]
    if not able:
        return None
    vote = rng.choice(able)
    return Question(Pair(vote.pair, vote.left, vote.right), vote.right, vote.left, Kind.REPEAT)


def _new(rng: Random, open_pairs: Sequence[Pair], tally: Tally, ranking: Ranking) -> Question:
    """One of the pairs whose systems one more vote would tell most about."""
    gains = _gains(ranking)
    places = {system: index for index, system in enumerate(ranking.systems)}
    by_systems: dict[tuple[int, int], list[Pair]] = {}
    for pair in open_pairs:
        if pair.one not in places or pair.other not in places:
            raise ValueError(f"“{pair.pair}” has a system that isn't in this listening test.")
        a, b = sorted((places[pair.one], places[pair.other]))
        by_systems.setdefault((a, b), []).append(pair)
    best = max(gains[cell] for cell in by_systems)
    cell = rng.choice(sorted(cell for cell in by_systems if gains[cell] >= _NEARLY * best))
    pair = rng.choice(by_systems[cell])
    left, right = _sides(rng, ranking.systems[cell[0]], ranking.systems[cell[1]], tally)
    return Question(pair, left, right, Kind.NEW)


def _gains(ranking: Ranking) -> np.ndarray:
    """(n, n): how much one vote narrows what is known of all strengths: the log of the volume's shrinking."""
    _, errors = ranking.differences()
    return np.log1p(ranking.information() * errors**2)


def _sides(rng: Random, one: str, other: str, tally: Tally) -> tuple[str, str]:
    """Who was on the left less often goes there; chance decides if it was as often."""
    if one in tally.systems and other in tally.systems:
        a, b = tally.systems.index(one), tally.systems.index(other)
        ahead = int(tally.asked[a, b] - tally.asked[b, a])
        if ahead:
            return (other, one) if ahead > 0 else (one, other)
    left, right = rng.sample([one, other], 2)
    return left, right
