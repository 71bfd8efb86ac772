"""Curves on their way into a page: whole once, then only what is new."""

import math
from pathlib import Path

from qlora_studio.jobs import metrics
from qlora_studio.jobs.metrics import Points
from qlora_studio.services.job_reading import read_curves
from qlora_studio.storage import layout

Curves = dict[str, dict[str, list[float | None]]]
POINTS_A_CURVE = 600
MAX_TAIL = 150  # points; then the curve is sent whole again, thinned


class CurveFeed:
    """What one page has been sent of one job's curves."""

    def __init__(
        self, job_id: str, wanted: tuple[str, ...] | None = None, *, max_points: int = POINTS_A_CURVE
    ) -> None:
        self._job_id = job_id
        self._wanted = wanted
        self._max_points = max_points
        self.has_grown = False
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

    def more(self) -> Curves | None:
        """All points since `whole`; None when the curves have to be sent whole again."""
        tail = {key: {axis: [*values] for axis, values in part.items()} for key, part in self._tail.items()}
        self.has_grown = False
        for key in self._keys():
            records = metrics.read_all(self._folder, key)
            n_sent = self._sent.get(key)
            if n_sent is None or len(records) < n_sent:
                return None
            if len(records) > n_sent:
                _extend(tail.setdefault(key, {"x": [], "t": [], "y": []}), records[n_sent : len(records)])
                self._sent[key] = len(records)
                self.has_grown = True
        if any(len(part["x"]) > MAX_TAIL for part in tail.values()):
            return None
        self._tail = tail
        return tail

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
