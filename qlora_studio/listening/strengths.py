"""How strong each system is by the votes of a listening test, and which can't be told apart yet.

Bradley and Terry's model with ties after Davidson and a lean to one side after Davidson and Beaver. With
strengths a and b on the left and the right, and x = a - b + lean, the answers left, right and tie are as
likely as exp(x/2) : exp(-x/2) : exp(tie). So of the votes that are no ties, the left gets 1 / (1 + exp(-x)).

Sources:
    R. A. Bradley, M. E. Terry, Rank analysis of incomplete block designs, Biometrika 39 (1952).
    R. R. Davidson, On extending the Bradley-Terry model to accommodate ties, JASA 65 (1970).
    R. R. Davidson, R. J. Beaver, On extending the Bradley-Terry model to incorporate within-pair order
    effects, Biometrics 33 (1977).
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from qlora_studio.listening.votes import Tally

LEVEL = 0.95
STRENGTH_SD = 2.0  # what is thought of a strength before the first vote: normal, around 0
TIE_SD = 2.0
LEAN_SD = 1.0
_MOST_STEPS = 100
_CLOSE_ENOUGH = 1e-9


@dataclass(frozen=True)
class Comparison:
    """Two systems side by side.

    Attributes:
        difference: of their strengths, in log odds; above 0 if the first is the stronger one.
        low, high: its interval.
        share: of the votes between them that are no ties, those that the first is expected to get.
        share_low, share_high: its interval.
        is_linked: whether votes link the two, be it through others. If none do, nothing is known.
        is_told_apart: whether they are linked and the interval leaves out 0.
    """

    difference: float
    low: float
    high: float
    share: float
    share_low: float
    share_high: float
    is_linked: bool
    is_told_apart: bool


@dataclass(frozen=True)
class Standing:
    """One system's place.

    Attributes:
        strength: in log odds; the mean of all systems is 0.
        low, high: its interval.
        first_place, last_place: the places it may have: behind all that are told apart as stronger, before
            all that are told apart as weaker.
    """

    system: str
    strength: float
    low: float
    high: float
    n_votes: int
    first_place: int
    last_place: int


@dataclass(frozen=True)
class Ranking:
    """What the votes say about the systems.

    Attributes:
        strengths: (n,) in log odds, with a mean of 0.
        covariance: (n, n) of the strengths around their mean.
        tie: log weight of a tie. At equal strength the share of ties is exp(tie) / (2 + exp(tie)).
        lean: log odds by which the left side is preferred whatever is on it.
        lean_se: its standard error.
        groups: (n,) numbers; systems with the same one are linked by votes.
        n_votes: (n,) votes with each system in it.
        level: of all intervals, 0.95 for 95 %.
    """

    systems: tuple[str, ...]
    strengths: np.ndarray
    covariance: np.ndarray
    tie: float
    lean: float
    lean_se: float
    groups: np.ndarray
    n_votes: np.ndarray
    level: float

    @property
    def z(self) -> float:
        """How many standard errors an interval reaches to either side."""
        return NormalDist().inv_cdf(0.5 + self.level / 2)

    @property
    def lean_interval(self) -> tuple[float, float]:
        """Where the lean to the left lies; raters favour a side if 0 isn't within."""
        return self.lean - self.z * self.lean_se, self.lean + self.z * self.lean_se

    def differences(self) -> tuple[np.ndarray, np.ndarray]:
        """Strength of the row's system above the column's, and its standard error; both (n, n)."""
        spread = np.diag(self.covariance)
        variance = spread[:, None] + spread[None, :] - 2 * self.covariance
        return self.strengths[:, None] - self.strengths[None, :], np.sqrt(np.maximum(variance, 0))

    def compare(self, one: str, other: str) -> Comparison:
        """Set one system beside another.

        Raises:
            ValueError: a system isn't in the test, or it is the same one twice.
        """
        a, b = self.place_of(one), self.place_of(other)
        if a == b:
            raise ValueError(f"“{one}” can't be compared with itself.")
        differences, errors = self.differences()
        difference, reach = float(differences[a, b]), self.z * float(errors[a, b])
        low, high = difference - reach, difference + reach
        is_linked = bool(self.groups[a] == self.groups[b])
        return Comparison(
            difference=difference,
            low=low,
            high=high,
            share=share_of(difference),
            share_low=share_of(low),
            share_high=share_of(high),
            is_linked=is_linked,
            is_told_apart=is_linked and not low <= 0 <= high,
        )

    def standings(self) -> list[Standing]:
        """All systems, the strongest first."""
        differences, errors = self.differences()
        is_linked = self.groups[:, None] == self.groups[None, :]
        is_apart = is_linked & (np.abs(differences) > self.z * errors)
        n_stronger = (is_apart & (differences < 0)).sum(axis=1)
        n_weaker = (is_apart & (differences > 0)).sum(axis=1)
        reach = self.z * np.sqrt(np.diag(self.covariance))
        return [
            Standing(
                system=self.systems[index],
                strength=float(self.strengths[index]),
                low=float(self.strengths[index] - reach[index]),
                high=float(self.strengths[index] + reach[index]),
                n_votes=int(self.n_votes[index]),
                first_place=1 + int(n_stronger[index]),
                last_place=len(self.systems) - int(n_weaker[index]),
            )
            for index in sorted(range(len(self.systems)), key=lambda i: (-self.strengths[i], self.systems[i]))
        ]

    def information(self) -> np.ndarray:
        """(n, n): what one more vote between two systems adds to the precision of their difference."""
        differences, _ = self.differences()
        shares = answer_shares(differences, self.tie)
        return information_of(shares)[0]

    def place_of(self, system: str) -> int:
        """The index of a system.

        Raises:
            ValueError: it isn't in the test.
        """
        if system not in self.systems:
            raise ValueError(f"“{system}” isn't in this listening test.")
        return self.systems.index(system)


def share_of(difference: float) -> float:
    """Of the votes that are no ties, those for the stronger side at a difference in log odds."""
    return 0.5 * (1 + math.tanh(difference / 2))


def answer_shares(x: np.ndarray, tie: float) -> np.ndarray:
    """How likely left, right and tie are at differences `x` of any shape; answers are the new last axis."""
    weights = np.stack([x / 2, -x / 2, np.full_like(x, tie)], axis=-1)
    weights = np.exp(weights - weights.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def rank(tally: Tally, *, level: float = LEVEL) -> Ranking:
    """Find the strengths that explain the votes best, and how sure they are.

    The most likely values under a weak normal prior (`STRENGTH_SD`), by Newton's method: the function is
    strictly concave, so there is one answer, and it is finite even for a system that won or lost every vote.
    Errors come from the observed information, with the tie weight and the lean estimated beside them.

    Raises:
        ValueError: there is no system.
    """
    n = len(tally.systems)
    if n == 0:
        raise ValueError("A ranking needs at least one system.")
    at = np.zeros(n + 2)
    value, slope, curve = _look(at, tally.counts)
    for _ in range(_MOST_STEPS):
        step = np.linalg.solve(curve, slope)
        if float(slope @ step) < _CLOSE_ENOUGH:
            break
        length = 1.0
        while _look(at + length * step, tally.counts)[0] < value and length > _CLOSE_ENOUGH:
            length /= 2
        at = at + length * step
        value, slope, curve = _look(at, tally.counts)
    spread = np.linalg.inv(curve)
    centring = np.eye(n) - 1 / n
    both_sides = tally.asked + tally.asked.T
    return Ranking(
        systems=tally.systems,
        strengths=centring @ at[:n],
        covariance=centring @ spread[:n, :n] @ centring,
        tie=float(at[n]),
        lean=float(at[n + 1]),
        lean_se=math.sqrt(spread[n + 1, n + 1]),
        groups=_link(both_sides > 0),
        n_votes=both_sides.sum(axis=1),
        level=level,
    )


def _look(at: np.ndarray, counts: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Log posterior at a point (n strengths, tie, lean), its slope, and its negative second derivative."""
    n = len(counts)
    strengths, tie, lean = at[:n], at[n], at[n + 1]
    x = strengths[:, None] - strengths[None, :] + lean
    shares = answer_shares(x, tie)
    asked = counts.sum(axis=2)
    precision = np.array([STRENGTH_SD**-2] * n + [TIE_SD**-2, LEAN_SD**-2])
    value = float((counts * np.log(np.maximum(shares, 1e-300))).sum() - 0.5 * (precision * at**2).sum())

    missed = counts - asked[:, :, None] * shares
    by_x, by_tie = (missed[..., 0] - missed[..., 1]) / 2, missed[..., 2]
    slope = np.concatenate([by_x.sum(axis=1) - by_x.sum(axis=0), [by_tie.sum(), by_x.sum()]]) - precision * at

    xx, xt, tt = (asked * part for part in information_of(shares))
    curve = np.diag(precision)
    linked = xx + xx.T
    curve[:n, :n] += np.diag(linked.sum(axis=1)) - linked
    curve[:n, n] = curve[n, :n] = xt.sum(axis=1) - xt.sum(axis=0)
    curve[:n, n + 1] = curve[n + 1, :n] = xx.sum(axis=1) - xx.sum(axis=0)
    curve[n, n + 1] = curve[n + 1, n] = xt.sum()
    curve[n, n] += tt.sum()
    curve[n + 1, n + 1] += xx.sum()
    return value, slope, curve


def information_of(shares: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What one vote tells about x, about x and the tie weight together, and about the tie weight."""
    left, right, tie = np.moveaxis(shares, -1, 0)
    return (left + right - (left - right) ** 2) / 4, -(left - right) / 2 * tie, tie * (1 - tie)


def _link(has_votes: np.ndarray) -> np.ndarray:
    """Number the groups of systems that are linked by votes: (n, n) yes or no in, (n,) numbers out."""
    groups = np.arange(len(has_votes))
    for one, other in np.argwhere(has_votes):
        if groups[one] != groups[other]:
            groups[groups == groups[other]] = groups[one]
    return groups
