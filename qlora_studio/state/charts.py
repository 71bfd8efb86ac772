"""Numbers turned into what a small curve needs, on the server, so that the page stays light."""

import math
from collections.abc import Sequence

SPARK_WIDTH, SPARK_HEIGHT = 100, 32
MAX_SPARK_POINTS = 80


def sparkline_path(values: Sequence[float | None]) -> str:
    """Return the `d` of an SVG path in a box of 100 by 32; empty with fewer than two values.

    Values that are None or not finite are left out. Long series keep the minimum and maximum of each stretch.
    """
    known = [v for v in values if v is not None and math.isfinite(v)]
    if len(known) > MAX_SPARK_POINTS:
        known = _keep_extremes(known, MAX_SPARK_POINTS // 2)
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    span = (high - low) or 1.0
    step = SPARK_WIDTH / (len(known) - 1)
    margin = 2.0
    scale = (SPARK_HEIGHT - 2 * margin) / span
    points = (f"{i * step:.1f},{SPARK_HEIGHT - margin - (v - low) * scale:.1f}" for i, v in enumerate(known))
    return "M" + "L".join(points)


def _keep_extremes(values: list[float], n_buckets: int) -> list[float]:
    kept: list[float] = []
    for i in range(n_buckets):
        bucket = values[i * len(values) // n_buckets : (i + 1) * len(values) // n_buckets]
        low, high = min(bucket), max(bucket)
        kept += [low, high] if bucket.index(low) < bucket.index(high) else [high, low]
    return kept
