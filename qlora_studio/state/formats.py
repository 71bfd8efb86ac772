"""Numbers and times as people read them. Rows hold the results, ready to show."""

import math
from datetime import datetime
from typing import NamedTuple

from qlora_studio.contracts.metrics import Metric
from qlora_studio.core.clock import utc_now


class When(NamedTuple):
    """A time twice: `relative` to read, `exact` to show on hover."""

    relative: str
    exact: str


def count(value: int, one: str = "", many: str = "") -> str:
    """`count(12480, "clip")` is `12,480 clips`; without words just `12,480`."""
    text = f"{value:,}"
    if not one:
        return text
    return f"{text} {one if value == 1 else many or one + 's'}"


def kept_together(sentence: str) -> str:
    """The same sentence, in which no line ends between a figure and its per cent sign."""
    return sentence.replace(" %", "\u00a0%")


def size(n_bytes: float | None) -> str:
    """`1.3 GB`, `820 kB`; `–` for None. Decimal units, as disks are sold."""
    if n_bytes is None:
        return "–"
    value = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def duration(seconds: float | None) -> str:
    """`3.2 s`, `45 s`, `4 min 10 s`, `2 h 14 min`, `3 d 4 h`; `–` for None."""
    if seconds is None:
        return "–"
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{minutes} min"
    if whole < 86_400:
        hours, rest = divmod(whole // 60, 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    days, rest = divmod(whole // 3600, 24)
    return f"{days} d {rest} h" if rest else f"{days} d"


def hours(seconds: float) -> str:
    """Audio length in a list: `3.4 h`, `22 min`, `45 s`."""
    if seconds >= 3600:
        return f"{seconds / 3600:,.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 99.5 else f"{seconds:.0f} s"


def percent(ratio: float | None, digits: int = 1) -> str:
    """`0.0653` is `6.5 %`, which no line breaks in two; `–` for None."""
    return "–" if ratio is None else f"{ratio * 100:.{digits}f}\u00a0%"


def number(value: float | None, digits: int = 4) -> str:
    """A measured value with up to `digits` significant digits; `–` for None."""
    if value is None:
        return "–"
    return f"{value:.{digits}g}"


def figure(metric: Metric, value: float | None) -> str:
    """A figure of held-out clips, a share in percent; `–` for None and what is no number."""
    if value is None or not math.isfinite(value):
        return "–"
    return percent(value) if metric.is_share else number(value)


def parameters(n: int | None) -> str:
    """`38.2 M`, `1.6 B`; `–` for None."""
    if n is None:
        return "–"
    for unit, scale in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if n >= scale:
            return f"{n / scale:.1f} {unit}"
    return str(n)


def when(at: datetime | None, *, now: datetime | None = None) -> When:
    """A time as `5 min ago` with the exact UTC time for the tooltip; `–` for None."""
    if at is None:
        return When("–", "")
    exact = at.strftime("%d %b %Y, %H:%M:%S UTC")
    past_s = ((now or utc_now()) - at).total_seconds()
    if past_s < 45:
        return When("just now", exact)
    for limit, scale, unit in ((3600, 60, "min"), (86_400, 3600, "h"), (7 * 86_400, 86_400, "d")):
        if past_s < limit:
            return When(f"{max(1, round(past_s / scale))} {unit} ago", exact)
    return When(at.strftime("%d %b %Y"), exact)
