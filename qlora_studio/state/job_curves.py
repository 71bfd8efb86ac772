"""Curves on their way into a page: whole once, then only what is new."""

import math
import random
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

from qlora_studio.jobs import metrics
from qlora_studio.jobs.metrics import Points, Records
from qlora_studio.services.job_reading import read_curves
from qlora_studio.state.once import OnceAStamp
from qlora_studio.storage import layout

Curves = dict[str, dict[str, list[float | None]]]
POINTS_A_CURVE = 600
# Points, at most; then the curve is sent whole again, thinned. A tail goes along with each new point, so that
# half of it, and the whole curve now and then, are the least at about forty.
MAX_TAIL = 64


@dataclass(frozen=True)
class _Curve:
    """One curve as far as it has been written; its newest points are in memory."""

    records: Records
    newest: Points

    @classmethod
    def of(cls, folder: Path, key: str) -> "_Curve":
        records = metrics.read_all(folder, key)
        return cls(records, records[max(0, len(records) - MAX_TAIL) : len(records)])

    def since(self, n_sent: int) -> Points:
        first = len(self.records) - len(self.newest)
        whole = n_sent < first
        return self.records[n_sent : len(self.records)] if whole else self.newest[n_sent - first :]


_curves: OnceAStamp[dict[str, _Curve]] = OnceAStamp()


class CurveFeed:
    """What one page has been sent of one job's curves."""

    def __init__(
        self, job_id: str, wanted: tuple[str, ...] | None = None, *, max_points: int = POINTS_A_CURVE
    ) -> None:
        self._job_id = job_id
        self._wanted = wanted
        self._max_points = max_points
        self.has_grown = False
        self._most = random.randint(MAX_TAIL // 2, MAX_TAIL)  # tabs opened together don't take turns together
        self._folder: Path = layout.run_path(job_id) / "metrics"
        self._sent: dict[str, int] = {}
        self._tail: Curves = {}

    def whole(self) -> Curves:
        """Every curve, thinned; what comes after is given by `more`."""
        self._sent = {key: len(metrics.read_all(self._folder, key)) for key in self._keys()}
        self._tail = {}
        found = read_curves(self._job_id, list(self._sent), max_points=self._max_points)
        return {
            key: {"x": [*s.step], "t": [*s.time], "y": [_number(v) for v in s.value]}
            for key, s in found.items()
        }

    def is_at_hand(self, stamp: Hashable) -> bool:
        """Whether `more` has all it needs: another tab's feed has read the job under this stamp, and no
        curve has to be sent whole.
        """
        curves = _curves.peek((self._folder, self._wanted), stamp)
        return curves is not None and all(self._fits(key, len(c.records)) for key, c in curves.items())

    def more(self, stamp: Hashable = None) -> Curves | None:
        """All points since `whole`; None when the curves have to be sent whole again.

        Args:
            stamp: of the job, looked at before; what was read under it is not read again.
        """
        tail = {key: {axis: [*values] for axis, values in part.items()} for key, part in self._tail.items()}
        self.has_grown = False
        curves = _curves.get((self._folder, self._wanted), stamp, self._read)
        for key, curve in curves.items():
            n_sent, n_points = self._sent.get(key), len(curve.records)
            if n_sent is None or n_points < n_sent:
                return None
            if n_points > n_sent:
                _extend(tail.setdefault(key, {"x": [], "t": [], "y": []}), curve.since(n_sent))
                self._sent[key] = n_points
                self.has_grown = True
        if any(len(part["x"]) > self._most for part in tail.values()):
            return None
        self._tail = tail
        return tail

    def _fits(self, key: str, n_points: int) -> bool:
        n_sent = self._sent.get(key)
        n_tail = len(self._tail[key]["x"]) if key in self._tail else 0
        return n_sent is not None and 0 <= n_points - n_sent <= self._most - n_tail

    def _read(self) -> dict[str, _Curve]:
        return {key: _Curve.of(self._folder, key) for key in self._keys()}

    def _keys(self) -> list[str]:
        found = metrics.keys(self._folder)
        return found if self._wanted is None else [key for key in found if key in self._wanted]


def _extend(part: dict[str, list[float | None]], points: Points) -> None:
    part["x"] += points["step"].tolist()
    part["t"] += points["time"].tolist()
    part["y"] += [_number(v) for v in points["value"].tolist()]


def _number(value: float) -> float | None:
    """JSON has no word for not-a-number; the chart shows a gap for None."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
