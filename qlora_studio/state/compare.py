"""The page that sets two to six jobs side by side. Its address names them; it is live while one runs."""

import asyncio
from typing import Any

import reflex as rx

from qlora_studio.core.errors import InvalidInput, NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models.user import User
from qlora_studio.jobs import metrics
from qlora_studio.services import comparisons, job_reading
from qlora_studio.state.auth import authorized
from qlora_studio.state.compare_rows import (
    ComparedClipRow,
    ComparedJob,
    ComparedLine,
    clip_rows,
    compared_jobs,
    figure_lines,
    runs_of,
    setting_lines,
)
from qlora_studio.state.job_curves import CurveFeed, Curves
from qlora_studio.state.watching import Watch
from qlora_studio.storage import layout

COMPARED_KEYS = tuple(
    "loss eval_loss wer cer accuracy macro_f1 der reward_accuracy mel_distance learning_rate grad_norm "
    "samples_per_s audio_s_per_s".split()
)
POINTS_A_CURVE = 300
LOOK_EVERY_S = 0.5
TABLES_EVERY = 4  # looks


class CompareState(rx.State):
    """Jobs side by side. `curves` are whole, `tail` is what came since, by `<number of the job>/<key>`."""

    jobs: list[ComparedJob] = []
    settings: list[ComparedLine] = []
    figures: list[ComparedLine] = []
    clips: list[ComparedClipRow] = []
    runs: list[dict[str, Any]] = []
    keys: list[str] = []
    curves: Curves = {}
    tail: Curves = {}
    has_epochs: bool = False
    is_loading: bool = True
    load_error: str = ""
    _ids: list[str] = []
    _watch_id: int = 0

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Set the jobs side by side that the address names, then watch them."""
        given = str(self.router.url.query_parameters.get("ids", ""))[:400].split(",")
        self.load_error = ""
        try:
            ids = comparisons.check_ids(given)
            values = await asyncio.to_thread(_look, actor, ids)
        except (InvalidInput, NotFound) as error:
            self.load_error, self.is_loading, self.jobs = error.message, False, []
            return None
        if ids != self._ids:
            self.curves, self.tail = {}, {}
        self._ids = ids
        self._assign(values)
        self.is_loading = False
        return CompareState.watch

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        """Send the curves, then what is new of them while a job runs; the tables every few seconds."""
        watch = Watch(self)
        await watch.take_over()
        ids, feed, n_looks = list(self._ids), CompareFeed(self._ids), 0
        stamps: list[int] = []
        while await watch.goes_on(every_s=LOOK_EVERY_S):
            now = [job_reading.read_stamp(job_id) for job_id in ids]
            values: dict[str, Any] = {}
            if now != stamps or n_looks % TABLES_EVERY == 0:
                stamps = now
                values = await asyncio.to_thread(feed.news)
            if n_looks and n_looks % TABLES_EVERY == 0:
                try:
                    values |= await asyncio.to_thread(_look, actor, ids)
                except NotFound as error:  # one was deleted in another tab
                    async with self:
                        if self._ids == ids:
                            self.load_error, self.jobs = error.message, []
                    return
            n_looks += 1
            if values:
                async with self:
                    if not watch.is_newest or self._ids != ids:
                        return
                    self._assign(values)
            if not any(job.is_active or job.status == "queued" for job in self.jobs):
                return

    def _assign(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if getattr(self, name) != value:
                setattr(self, name, value)


class CompareFeed:
    """What one page has been sent of several jobs' curves."""

    def __init__(self, job_ids: list[str]) -> None:
        self._feeds = [CurveFeed(job_id, COMPARED_KEYS, max_points=POINTS_A_CURVE) for job_id in job_ids]
        self._is_first = True

    def news(self) -> dict[str, Any]:
        """The curves whole, or what came since, by the name of the state's var; empty when nothing did."""
        if not self._is_first:
            tails = [feed.more() for feed in self._feeds]
            if all(tail is not None for tail in tails):
                has_grown = any(feed.has_grown for feed in self._feeds)
                return {"tail": _numbered([tail or {} for tail in tails])} if has_grown else {}
        self._is_first = False
        return {"curves": _numbered([feed.whole() for feed in self._feeds]), "tail": {}}


def _numbered(parts: list[Curves]) -> Curves:
    return {f"{i}/{key}": points for i, part in enumerate(parts) for key, points in part.items()}


def _look(actor: User, ids: list[str]) -> dict[str, Any]:
    """The tables, by the names of the state's vars."""
    with db.read() as session:
        found = comparisons.compare_jobs(session, actor=actor, job_ids=ids)
        clips = clip_rows(found)
    runs = runs_of(found)
    there = {key for job_id in ids for key in metrics.keys(layout.run_path(job_id) / "metrics")}
    return {
        "jobs": compared_jobs(found),
        "settings": setting_lines(found),
        "figures": figure_lines(found),
        "clips": clips,
        "runs": runs,
        "keys": [key for key in COMPARED_KEYS if key in there],
        "has_epochs": all(run["epochs"] > 0 for run in runs),
    }
