"""Raters of known strength."""

import numpy as np

from qlora_studio.listening.strengths import answer_shares
from qlora_studio.listening.votes import Tally


def names(n: int) -> tuple[str, ...]:
    return tuple(f"s{index}" for index in range(n))


def draw(rng, strengths, *, n_each: int, tie: float = -1.0, lean: float = 0.0) -> Tally:
    """Each system on the left of each other `n_each` times."""
    strengths = np.asarray(strengths, dtype=float)
    n = len(strengths)
    shares = answer_shares(strengths[:, None] - strengths[None, :] + lean, tie)
    counts = rng.multinomial(n_each, shares)
    counts[np.arange(n), np.arange(n)] = 0
    return Tally(names(n), counts)
