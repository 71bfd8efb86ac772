"""What is new about a job for one open page. Runs in threads; holds no state of the page's."""

import math
import time
from collections.abc import Hashable
from dataclasses import replace
from typing import Any

from qlora_studio.contracts.enums import TERMINAL_STATUSES, JobStatus
from qlora_studio.contracts.spec import TrainSpec
from qlora_studio.db import engine as db
from qlora_studio.db.models import Adapter, BaseAudioModel, Dataset, User
from qlora_studio.jobs import run_files
from qlora_studio.services import job_checks, job_logs, job_reading, jobs
from qlora_studio.services.access import Action
from qlora_studio.services.job_schemas import JobView
from qlora_studio.state.confusion import confusion_of
from qlora_studio.state.job_curves import CurveFeed
from qlora_studio.state.job_rows import JobPage, NextAction, job_page
from qlora_studio.state.job_samples import sample_row
from qlora_studio.state.once import OnceAStamp
from qlora_studio.state.range_test import range_view
from qlora_studio.state.sharing import closed_links, facts_of

ROW_EVERY_S = 1.0  # while there is no more than progress
LOG_EVERY_S = 0.4  # lines come without a stamp
_rows: OnceAStamp[dict[str, Any]] = OnceAStamp()
OVERVIEW_CURVES = tuple(
    "loss wer cer accuracy macro_f1 der missed_speech false_alarm confusion "
    "train_reward_accuracy reward_accuracy mel_distance eval_loss".split()
)


class JobLook:
    """Looks at one job for one tab of its page, and remembers what it has shown."""

    def __init__(self, actor: User, job_id: str, *, tab: str, step: str = "", attempt: str = "") -> None:
        self._actor = actor
        self.job_id = job_id
        self._tab = tab
        self._step = step
        self._attempt = attempt
        self._stamp = self._turn = -1
        self._page = JobPage()
        self._next_row = 0.0
        self._is_row_due = True
        self._steps: list[int] = []
        self._log_end = ""
        keys = OVERVIEW_CURVES if tab == "overview" else None
        self._feed = CurveFeed(job_id, keys) if tab in ("overview", "charts") else None
        self.is_over = False

    def has_news(self, stamps: tuple[int, int] | None = None) -> bool:
        """Whether `news` may find something.

        Args:
            stamps: of the job and of its last turn, if they were just looked at.
        """
        stamp, turn = stamps or self._read_stamps()
        if stamp != self._stamp:
            if turn != self._turn:
                self._next_row = 0.0
            self._stamp, self._turn, self._is_row_due = stamp, turn, True
            return True
        return self.wait_s() <= 0

    def wait_s(self) -> float:
        """Seconds until something that leaves no stamp may have changed: times left, lines, places in the
        queue, which change with other people's jobs.
        """
        is_moving = self._is_row_due or self._page.is_active or self._page.status == JobStatus.QUEUED
        return self._next_row - time.monotonic() if is_moving else math.inf

    def _read_stamps(self) -> tuple[int, int]:
        return job_reading.read_stamp(self.job_id), job_reading.read_turn(self.job_id)

    def everything(self) -> dict[str, Any]:
        """The whole page: values by the name of the state's var."""
        self._stamp, self._turn = self._read_stamps()
        self._steps, self._log_end = [], ""
        return self.text() | self.curves()

    def text(self) -> dict[str, Any]:
        """The whole page but the curves."""
        found = self._row(anew=True) | self._samples() | self._log()
        return found | self._config() if self._tab == "config" else found

    def curves(self) -> dict[str, Any]:
        """The curves of this tab, whole."""
        return {"curves": self._feed.whole(), "tail": {}} if self._feed else {}

    def is_at_hand(self) -> bool:
        """Whether `news` would read nothing, because another tab of the same person has just looked."""
        if self._feed is None or not self._feed.is_at_hand(self._stamp):
            return False
        if not self._is_row_wanted(with_points=True):
            return True
        return self._tab == "overview" and _rows.peek(self._row_key, self._row_stamp()) is not None

    def news(self) -> dict[str, Any]:
        """What has changed since the last look."""
        found: dict[str, Any] = {}
        if self._feed is not None:
            tail = self._feed.more(self._stamp)
            found |= self.curves() if tail is None else {"tail": tail} if self._feed.has_grown else {}
        if self._is_row_wanted(with_points=bool(found)):
            before = self._page
            row = self._row()
            found |= row if self._page != before else {}
            found |= self._samples() | self._log()
        return found

    def _is_row_wanted(self, *, with_points: bool = False) -> bool:
        """Whether the row is due, or soon enough to go along with points."""
        return time.monotonic() >= self._next_row - (ROW_EVERY_S / 2 if with_points else 0.0)

    def _row(self, *, anew: bool = False) -> dict[str, Any]:
        self._next_row = time.monotonic() + (LOG_EVERY_S if self._tab == "logs" else ROW_EVERY_S)
        self._is_row_due = False
        found = _rows.get(self._row_key, self._row_stamp(), self._read_row, anew=anew)
        self._page = found["job"]
        self.is_over = self._page.status in TERMINAL_STATUSES
        return found

    @property
    def _row_key(self) -> Hashable:
        return self.job_id, self._actor.id, self._actor.role

    def _row_stamp(self) -> Hashable:
        """What a row read by another tab may be taken for: the same progress, and of the last half second."""
        if not self._stamp or not ROW_EVERY_S:
            return None
        return self._stamp, int(2 * time.monotonic() / ROW_EVERY_S)

    def _read_row(self) -> dict[str, Any]:
        with db.read() as session:
            view = jobs.get_view(session, actor=self._actor, job_id=self.job_id)
            facts = facts_of(session, self._actor, [view.job])[self.job_id]
            if facts["owner"]:
                facts |= closed_links(
                    session,
                    self._actor,
                    model_href=(BaseAudioModel, view.job.model_id),
                    dataset_href=(Dataset, view.job.dataset_id),
                    adapter_href=(Adapter, view.adapter_id),
                )
        found: dict[str, Any] = {"job": _page_of(view, facts)}
        report = view.job.report
        over = {"confusion": confusion_of(report), "range_test": range_view(report)}
        return found | over if view.job.status in TERMINAL_STATUSES else found

    def _samples(self) -> dict[str, Any]:
        if self._tab != "samples":
            return {}
        with db.read() as session:
            steps = job_reading.list_sample_steps(session, actor=self._actor, job_id=self.job_id)
            if steps == self._steps:
                return {}
            self._steps = steps
            step = int(self._step) if self._step and int(self._step) in steps else None
            found = job_reading.list_samples(session, actor=self._actor, job_id=self.job_id, step=step)
            clips = job_reading.find_sample_clips(session, samples=found)
        choices = [["", "Newest"]] + [[str(s), f"Step {s:,}" if s else "Base model"] for s in reversed(steps)]
        return {"samples": [sample_row(s, clips.get(s.clip_id)) for s in found], "sample_steps": choices}

    def _log(self) -> dict[str, Any]:
        """Where the log ends now: the page asks for the lines up to there by itself."""
        if self._tab != "logs":
            return {}
        with db.read() as session:
            job = jobs.get_job(session, actor=self._actor, job_id=self.job_id, action=Action.SEE)
        chosen = int(self._attempt) if self._attempt else job.attempt
        # How it stands is part of it: the last line may only be whole once the job has ended.
        end = f"{job_logs.read_end(job, min(chosen, job.attempt))} {job.status.value}"
        if end == self._log_end:
            return {}
        self._log_end = end
        attempts = [["", "Newest attempt"], *([str(n), f"Attempt {n}"] for n in range(job.attempt, 0, -1))]
        return {"log_end": end, "log_attempts": attempts if job.attempt > 1 else []}

    def _config(self) -> dict[str, Any]:
        with db.read() as session:
            job = jobs.get_job(session, actor=self._actor, job_id=self.job_id, action=Action.SEE)
        spec = TrainSpec.model_validate(job.spec)
        return {"config": run_files.to_yaml(spec), "command": job_checks.command_of(spec)}


def _page_of(view: JobView, facts: dict[str, Any]) -> JobPage:
    runtime = job_reading.read_runtime(view.job)
    checkpoint_step = job_reading.find_checkpoint_step(view.job.id)
    page = replace(job_page(view, device=runtime.device, checkpoint_step=checkpoint_step), **facts)
    if page.may_change:
        return page
    # nothing is offered that would be refused
    return replace(
        page,
        can_stop=False,
        can_discard=False,
        can_resume=False,
        can_delete=False,
        action=NextAction(),
        sweep_href="",
    )
