"""How many votes it takes until two systems can be told apart.

Sources:
    J. M. Lachin, A review of methods for futility stopping based on conditional power, Statistics in Medicine
    24 (2005), for the chance that a study under way still succeeds.
"""

import math
from statistics import NormalDist

import numpy as np

from qlora_studio.listening.strengths import LEVEL, Ranking, answer_shares, information_of

POWER = 0.8
MOST = 100_000  # a figure beyond this says nothing but “practically equal”


def chance_to_tell_apart(ranking: Ranking, one: str, other: str, *, n_more: int) -> float:
    """How likely so many more votes between two systems tell them apart, if they are what they seem now.

    The votes there are stay as they are; only the new ones are left to chance. With the difference d, its
    precision p now and q after the new votes, the difference found then is normal around d with the deviation
    sqrt(q - p) / q, and it has to exceed z / sqrt(q).

    Raises:
        ValueError: a system isn't in the test, or it is the same one twice.
    """
    now = ranking.compare(one, other)
    if n_more == 0 or not now.is_linked:
        return float(now.is_told_apart)
    a, b = ranking.place_of(one), ranking.place_of(other)
    _, errors = ranking.differences()
    new = n_more * float(ranking.information()[a, b])
    then = float(errors[a, b]) ** -2 + new
    apart = NormalDist(mu=abs(now.difference), sigma=math.sqrt(new) / then)
    return 1 - apart.cdf(ranking.z / math.sqrt(then))


def votes_needed(
    ranking: Ranking, one: str, other: str, *, power: float = POWER, most: int = MOST
) -> int | None:
    """Count the further votes between two systems that tell them apart with a chance of `power`.

    Returns:
        0 if they are told apart already; None if more than `most` are needed, or nothing links the two yet.

    Raises:
        ValueError: a system isn't in the test, or it is the same one twice.
    """
    now = ranking.compare(one, other)
    if now.is_told_apart:
        return 0
    if not now.is_linked or chance_to_tell_apart(ranking, one, other, n_more=most) < power:
        return None
    too_few, enough = 0, most
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if chance_to_tell_apart(ranking, one, other, n_more=middle) < power:
            too_few = middle
        else:
            enough = middle
    return enough


def votes_to_plan(share: float, *, tie_share: float = 0.0, power: float = POWER, level: float = LEVEL) -> int:
    """Count the votes between two systems that a new test needs to tell them apart.

    Args:
        share: of the votes that are no ties, those for the better one; above 0.5 and below 1.
        tie_share: how many answer with a tie when both are equally good; at least 0 and below 1.

    Raises:
        ValueError: a share is out of its range.
    """
    if not 0.5 < share < 1 or not 0 <= tie_share < 1:
        raise ValueError(
            "The better one's share lies between one half and 1, the share of ties between 0 and 1."
        )
    difference = math.log(share / (1 - share))
    tie = math.log(2 * tie_share / (1 - tie_share)) if tie_share else -math.inf
    of_one = float(information_of(answer_shares(np.array(difference), tie))[0])
    reach = NormalDist().inv_cdf(0.5 + level / 2) + NormalDist().inv_cdf(power)
    return math.ceil((reach / difference) ** 2 / of_one)
