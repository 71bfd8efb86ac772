"""Whether a difference over the same clips is more than chance."""

from collections.abc import Sequence

import numpy as np

from qlora_studio.contracts.certificate import Comparison, Pairing

_SAME = 1e-9
_RESAMPLES = 4999
_AT_ONCE = 2_000_000  # values; all resamples of many clips together would take gigabytes


def compare(before: Sequence[float], after: Sequence[float]) -> Comparison | None:
    """Compare one figure (lower is better) of the same clips before and after; None without clips.

    The test flips the signs of the clips' differences (Fisher's randomisation test), so it needs no
    assumption on how they are distributed; with fewer than six clips that differ it never finds anything.
    The interval is a percentile bootstrap over clips. Both draw with a fixed seed.
    """
    old, new = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    if not old.size:
        return None
    change = new - old
    low, high = _interval(change)
    return Comparison(
        n_better=int((change < -_SAME).sum()),
        n_worse=int((change > _SAME).sum()),
        n_same=int((np.abs(change) <= _SAME).sum()),
        before=float(old.mean()),
        after=float(new.mean()),
        difference=float(change.mean()),
        low=low,
        high=high,
        p=_chance(change, "two-sided"),
    )


def sign_test(n_better: int, n_all: int) -> float:
    """Return how often chance alone makes at least so many of `n_all` better."""
    from scipy.stats import binomtest

    return float(binomtest(n_better, n_all, alternative="greater").pvalue) if n_all else 1.0


def pairing(before: Sequence[float], after: Sequence[float]) -> Pairing | None:
    """Sum up the extra losses of swapped targets, one a pair of clips; None without pairs."""
    if not after:
        return None
    extra = np.asarray(after, dtype=float)
    return Pairing(
        n_pairs=len(extra),
        before=float(np.mean(before)),
        after=float(extra.mean()),
        p=_chance(extra, "greater"),
    )


def _chance(change: np.ndarray, alternative: str) -> float:
    """The sign-flip test of mean 0; exact for few values."""
    from scipy.stats import permutation_test

    moved = change[np.abs(change) > _SAME]  # what did not change says nothing either way
    if moved.size < 2:
        return 1.0
    found = permutation_test(
        (moved,),
        np.mean,
        permutation_type="samples",
        alternative=alternative,
        n_resamples=_RESAMPLES,
        vectorized=True,
        batch=_batch(moved.size),
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def _batch(n_values: int) -> int:
    """How many resamples to hold in memory at a time."""
    return max(1, _AT_ONCE // n_values)


def _interval(change: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the mean."""
    from scipy.stats import bootstrap

    if change.size < 2 or np.ptp(change) <= _SAME:
        return float(change.mean()), float(change.mean())
    found = bootstrap(
        (change,),
        np.mean,
        method="percentile",
        n_resamples=_RESAMPLES,
        batch=_batch(change.size),
        rng=np.random.default_rng(0),
    )
    interval = found.confidence_interval
    return float(interval.low), float(interval.high)
