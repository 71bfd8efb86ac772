"""How a dataset's lengths, classes and pace are spread."""

import asyncio
import html
import itertools
from typing import Any, ClassVar

import reflex as rx

from qlora_studio.core.errors import Conflict, NotFound
from qlora_studio.db import engine
from qlora_studio.db.models.user import User
from qlora_studio.services import datasets, reports
from qlora_studio.services.access import Action
from qlora_studio.services.reports import Histogram, LabelCount, Report
from qlora_studio.state import formats
from qlora_studio.state.auth import authorized
from qlora_studio.state.dataset_tabs import DatasetTab

Bars = dict[str, list[Any]]
_NO_BARS: Bars = {"x": [], "y": []}
_NAME_CHARACTERS = 22


class DatasetChartsState(DatasetTab, rx.State):
    """The charts of the overview."""

    _tab: ClassVar[str] = "overview"
    _content: str = ""

    durations: Bars = _NO_BARS
    duration_text: str = ""
    pace: Bars = _NO_BARS
    pace_lines: list[float] = []
    pace_text: str = ""
    labels: Bars = _NO_BARS
    label_text: str = ""
    label_height: int = 220
    is_loading: bool = True

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Draw the charts, if the content isn't the one that is drawn."""
        if not self._is_open():
            return
        try:
            content, report = await asyncio.to_thread(_load, actor, self.dataset_id, self._content)
        except (NotFound, Conflict):  # not ready: the page shows how far it is
            return
        self._content, self.is_loading = content, False
        if report is not None:
            self._draw(report)

    def _draw(self, report: Report) -> None:
        self.durations = bars_of(report.durations, "s")
        self.duration_text = _told("Lengths of the clips in seconds", report.durations)
        self.pace = bars_of(report.pace, "characters per second")
        self.pace_text = _told("Characters per second of the clips", report.pace)
        limits = report.pace_limits
        edges = report.pace.edges
        self.pace_lines = [x for x in (limits.low, limits.high) if edges[0] < x < edges[-1]] if limits else []
        self.labels = label_bars(report.labels)
        self.label_text = f"The largest of {formats.count(report.n_labels, 'class', 'classes')}, in clips"
        self.label_height = max(120, 40 + 22 * len(report.labels))


def bars_of(histogram: Histogram, unit: str) -> Bars:
    """A histogram as plotly's bars; the hover says from where to where."""
    edges = histogram.edges
    pairs = list(itertools.pairwise(edges))
    said = [f"{low:.3g} to {high:.3g} {unit}" for low, high in pairs]
    if histogram.is_open and pairs:
        said[-1] = f"{pairs[-1][0]:.3g} {unit} and more"
    return {
        "x": [round((low + high) / 2, 4) for low, high in pairs],
        "y": list(histogram.counts),
        "width": [round(high - low, 4) for low, high in pairs],
        "customdata": said,
    }


def label_bars(labels: list[LabelCount]) -> Bars:
    """Classes as lying bars. Names are data: what looks like markup must not be read as such."""
    names: list[str] = []
    for row in labels:
        name = html.escape(_short(row.label), quote=False)
        names.append(name + "\u200b" * names.count(name))  # bars of the same name would be one
    return {
        "x": [row.n_clips for row in labels],
        "y": names,
        "customdata": [html.escape(row.label, quote=False) for row in labels],
    }


def _short(name: str) -> str:
    return name if len(name) <= _NAME_CHARACTERS else name[: _NAME_CHARACTERS - 1] + "…"


def _told(what: str, histogram: Histogram) -> str:
    """The chart in a sentence, for those who don't see it."""
    if not histogram.counts:
        return f"{what}: nothing to show."
    most = max(range(len(histogram.counts)), key=histogram.counts.__getitem__)
    low, high = histogram.edges[0], histogram.edges[-1]
    return f"{what}, from {low:.3g} to {high:.3g}; most around {histogram.edges[most]:.3g}."


def _load(actor: User, dataset_id: str, known: str) -> tuple[str, Report | None]:
    with engine.read() as session:
        dataset = datasets.get_dataset(session, actor=actor, dataset_id=dataset_id, action=Action.SEE)
        content = f"{dataset.id} {dataset.content_hash}"
        if content == known:
            return content, None
        return content, reports.get_report(session, actor=actor, dataset_id=dataset_id)
