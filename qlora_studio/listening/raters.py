"""Whose votes count: how raters did on pairs with a known answer, and on pairs they were asked twice."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from qlora_studio.listening.votes import Vote

CAREFUL = 0.9  # a careful rater answers this share of the catch pairs rightly; slips of the hand happen
GUESSED = 1 / 3  # who presses one of three buttons blindly repeats an answer at least this often
DOUBT = 0.05  # a rater is left out where a careful one would do as badly less often than this


@dataclass(frozen=True)
class Reliability:
    """One rater.

    Attributes:
        n_votes: answers that would rank: no catch pairs, no repeats.
        n_known, n_right: catch pairs answered, and answered rightly.
        n_repeats, n_same: pairs answered again, and those answered as the first time.
        left_out: why by the rule the rater's votes don't count, as a sentence; None if they do.
    """

    rater: str
    n_votes: int
    n_known: int
    n_right: int
    n_repeats: int
    n_same: int
    left_out: str | None


@dataclass
class _Record:
    votes: list[Vote] = field(default_factory=list)
    first: dict[str, Vote] = field(default_factory=dict)
    n_known: int = 0
    n_right: int = 0
    n_repeats: int = 0
    n_same: int = 0

    def add(self, vote: Vote) -> None:
        if vote.is_catch:
            self.n_known += 1
            self.n_right += vote.preferred == vote.known
        elif vote.pair in self.first:
            self.n_repeats += 1
            self.n_same += vote.preferred == self.first[vote.pair].preferred
        else:
            self.first[vote.pair] = vote
            self.votes.append(vote)


def sift(
    votes: Iterable[Vote], *, decided: Mapping[str, bool] | None = None
) -> tuple[list[Vote], list[Reliability]]:
    """Keep the votes that rank: first answers to pairs without a known one, of raters who aren't left out.

    Args:
        votes: all of them, each rater's in the order they were given.
        decided: raters who somebody left out (True) or kept (False), whatever the rule says.

    Returns:
        The votes kept, rater by rater, and how each rater did, the raters in the order they first appear.
    """
    records: dict[str, _Record] = {}
    for vote in votes:
        records.setdefault(vote.rater, _Record()).add(vote)
    raters = [_judge(name, record) for name, record in records.items()]
    decided = decided or {}
    out = {rater.rater for rater in raters if decided.get(rater.rater, rater.left_out is not None)}
    kept = [vote for rater in raters if rater.rater not in out for vote in records[rater.rater].votes]
    return kept, raters


def most_misses(n_known: int) -> int:
    """The largest number of catch pairs, of so many, that may be missed without being left out."""
    misses = 0
    while misses < n_known and _at_most(n_known - misses - 1, n_known, CAREFUL) >= DOUBT:
        misses += 1
    return misses


def _judge(name: str, record: _Record) -> Reliability:
    n_missed = record.n_known - record.n_right
    left_out = None
    if n_missed and _at_most(record.n_right, record.n_known, CAREFUL) < DOUBT:
        left_out = (
            f"Missed {n_missed} of {record.n_known} pairs with a known answer; "
            f"{most_misses(record.n_known)} may be missed."
        )
    elif record.n_repeats and _at_most(record.n_same, record.n_repeats, GUESSED) < DOUBT:
        left_out = (
            f"Repeated {record.n_same} of {record.n_repeats} answers when asked again; guessing repeats more."
        )
    return Reliability(
        rater=name,
        n_votes=len(record.votes),
        n_known=record.n_known,
        n_right=record.n_right,
        n_repeats=record.n_repeats,
        n_same=record.n_same,
        left_out=left_out,
    )


def _at_most(k: int, n: int, p: float) -> float:
    """How likely at most k of n tries succeed, each with the chance p (binomial)."""
    logs = (
        math.lgamma(n + 1)
        - math.lgamma(i + 1)
        - math.lgamma(n - i + 1)
        + i * math.log(p)
        + (n - i) * math.log1p(-p)
        for i in range(k + 1)
    )
    return math.fsum(math.exp(log) for log in logs)
