"""What a learning-rate range test found, ready to show."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qlora_studio.state.charts import sparkline_path


@dataclass(frozen=True)
class RangeView:
    """The curve of loss over rate. `best` is empty where the loss does not fall; `best_at` in percent."""

    path: str = ""
    best: str = ""
    best_at: str = ""
    lowest: str = ""
    highest: str = ""
    sentence: str = ""


def range_view(report: Mapping[str, Any]) -> RangeView:
    """Return the range test of a job's report; empty where it was none."""
    found = report.get("range_test")
    if not isinstance(found, Mapping) or len(found.get("rates", [])) < 2:
        return RangeView()
    rates, best = found["rates"], found.get("best_rate")
    ends = {"lowest": f"{rates[0]:.0e}", "highest": f"{rates[-1]:.0e}"}
    path = sparkline_path(found["changes"])
    if best is None:
        return RangeView(
            path, sentence="The loss does not fall at any of these rates. Check texts and labels.", **ends
        )
    nearest = min(range(len(rates)), key=lambda i: abs(rates[i] - best))
    sentence = "Where the loss falls steepest. Half of it is safer for long runs."
    return RangeView(path, f"{best:g}", f"{100 * nearest / (len(rates) - 1):.1f}%", sentence=sentence, **ends)
