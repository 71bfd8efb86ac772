"""How far raters agree beyond what chance explains: Krippendorff's alpha, with an interval.

1 is full agreement, 0 what throwing dice gives, below 0 they contradict each other. Not everybody has to
judge everything.

Sources:
    K. Krippendorff, Computing Krippendorff's Alpha-Reliability (2011).
    J. Hughes, Toward improved inference for Krippendorff's Alpha agreement coefficient, arXiv 2210.13265
    (2022), for the interval by leaving out one unit after the other.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from qlora_studio.listening.strengths import LEVEL
from qlora_studio.listening.votes import Vote


@dataclass(frozen=True)
class Agreement:
    """How far raters agree.

    Attributes:
        alpha: at most 1; None if nothing was judged by two raters, or all answers are the same.
        low, high: its interval; None if too few units say anything about it.
        n_units: pairs, or takes, that at least two raters judged.
        n_values: their answers.
    """

    alpha: float | None
    low: float | None
    high: float | None
    n_units: int
    n_values: int


def agreement_on_votes(votes: Iterable[Vote], *, level: float = LEVEL) -> Agreement:
    """Agreement on which of two sounds is better: nominal, each pair a unit, each rater's first answer.

    Catch pairs don't count. Which of the two is called the first is of no meaning, so each pair counts half
    in either order. Otherwise raters who all prefer the same system everywhere would seem to have no opinion.
    """
    seen: set[tuple[str, str]] = set()
    places: dict[str, tuple[int, str]] = {}
    cells: list[tuple[int, int]] = []
    for vote in votes:
        if vote.is_catch or (vote.rater, vote.pair) in seen:
            continue
        seen.add((vote.rater, vote.pair))
        unit, first = places.setdefault(vote.pair, (len(places), vote.left))
        preferred = vote.preferred
        cells.append((unit, 2 if preferred is None else int(preferred != first)))
    together = _meet(_count(cells, n_units=len(places), n_values=3))
    swapped = together[:, [1, 0, 2]][:, :, [1, 0, 2]]
    return _agreement((together + swapped) / 2, is_ordinal=False, level=level)


def agreement_on_stars(stars: Iterable[tuple[Hashable, int]], *, level: float = LEVEL) -> Agreement:
    """Agreement on stars: ordinal, so that 4 against 5 weighs less than 1 against 5.

    Args:
        stars: what was judged (a take and a criterion) and the stars it got, once for each rater.
    """
    rows = list(stars)
    places = {unit: index for index, unit in enumerate(dict.fromkeys(unit for unit, _ in rows))}
    columns = {value: index for index, value in enumerate(sorted({value for _, value in rows}))}
    cells = [(places[unit], columns[value]) for unit, value in rows]
    counts = _count(cells, n_units=len(places), n_values=len(columns))
    return _agreement(_meet(counts), is_ordinal=True, level=level)


def agreement_on_labels(labels: Iterable[tuple[Hashable, Hashable]], *, level: float = LEVEL) -> Agreement:
    """Agreement on labels without an order, such as tags: what was judged, and each rater's label."""
    rows = list(labels)
    places = {unit: index for index, unit in enumerate(dict.fromkeys(unit for unit, _ in rows))}
    columns = {label: index for index, label in enumerate(dict.fromkeys(label for _, label in rows))}
    cells = [(places[unit], columns[label]) for unit, label in rows]
    counts = _count(cells, n_units=len(places), n_values=len(columns))
    return _agreement(_meet(counts), is_ordinal=False, level=level)


def _count(cells: list[tuple[int, int]], *, n_units: int, n_values: int) -> np.ndarray:
    counts = np.zeros((n_units, n_values))
    if cells:
        np.add.at(counts, tuple(np.array(cells).T), 1)
    return counts


def _meet(counts: np.ndarray) -> np.ndarray:
    """How often values meet within each unit: (units, values) counts in, (units, values, values) out.

    Units with a single answer fall away: it meets nothing.
    """
    counts = counts[counts.sum(axis=1) >= 2]
    pairs = counts[:, :, None] * counts[:, None, :]
    diagonal = np.arange(counts.shape[1])
    pairs[:, diagonal, diagonal] -= counts
    return pairs / (counts.sum(axis=1) - 1)[:, None, None]


def _agreement(together: np.ndarray, *, is_ordinal: bool, level: float) -> Agreement:
    n_units, n_values = len(together), round(float(together.sum()))
    total = together.sum(axis=0)
    alpha = float(_alphas(total[None], is_ordinal=is_ordinal)[0])
    if np.isnan(alpha):
        return Agreement(alpha=None, low=None, high=None, n_units=n_units, n_values=n_values)
    without = _alphas(total - together, is_ordinal=is_ordinal)
    if n_units < 3 or np.isnan(without).any():
        return Agreement(alpha=alpha, low=None, high=None, n_units=n_units, n_values=n_values)
    error = float(np.sqrt((n_units - 1) * without.var()))
    reach = NormalDist().inv_cdf(0.5 + level / 2) * error
    low, high = max(-1.0, alpha - reach), min(1.0, alpha + reach)
    return Agreement(alpha=alpha, low=low, high=high, n_units=n_units, n_values=n_values)


def _alphas(together: np.ndarray, *, is_ordinal: bool) -> np.ndarray:
    """Alphas of tables of values that meet, (tables, values, values); not a number where nothing varies."""
    totals = together.sum(axis=2)
    n = totals.sum(axis=1)
    apart = _ordinal(totals) if is_ordinal else 1 - np.eye(totals.shape[1])
    seen = (together * apart).sum(axis=(1, 2))
    by_chance = (totals[:, :, None] * totals[:, None, :] * apart).sum(axis=(1, 2))
    is_known = by_chance > 1e-9
    return np.where(is_known, 1 - (n - 1) * seen / np.where(is_known, by_chance, 1), np.nan)


def _ordinal(totals: np.ndarray) -> np.ndarray:
    """Squared distances of ranks: how many answers lie between two values, with half of the values' own."""
    up_to = np.cumsum(totals, axis=1) - totals / 2
    return (up_to[:, :, None] - up_to[:, None, :]) ** 2
