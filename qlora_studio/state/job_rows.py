"""A job as its pages show it: frozen rows with everything formatted."""

import math
from dataclasses import dataclass, field

from qlora_studio.contracts.enums import ACTIVE_STATUSES, TERMINAL_STATUSES, JobStatus
from qlora_studio.contracts.metrics import METRICS, Metric, first_of
from qlora_studio.core.clock import utc_now
from qlora_studio.db.models import Job
from qlora_studio.jobs import metrics
from qlora_studio.services.job_schemas import JobView, is_stalled, percent_of
from qlora_studio.services.remedies import find_next_action
from qlora_studio.state import formats
from qlora_studio.state.charts import sparkline_path
from qlora_studio.state.job_actuals import ActualRow, actual_rows
from qlora_studio.state.job_checks import CheckRow, check_rows, probe_doubt
from qlora_studio.storage import layout

_CHARTED = (
    "wer",
    "accuracy",
    "der",
    "reward_accuracy",
    "mel_distance",
)  # the base model's value is a line in the chart


@dataclass(frozen=True)
class JobRow:
    """One line of the list of jobs."""

    id: str
    name: str
    href: str
    detail: str
    model: str
    dataset: str
    status: str
    percent: float
    is_active: bool
    progress: str
    eta: str
    metric: str
    spark: str
    created: str
    created_exact: str
    owner: str = ""
    sharing: str = "private"
    may_change: bool = False
    may_train: bool = False


@dataclass(frozen=True)
class NextAction:
    """What to do after a failure: a link, or a button that does it."""

    label: str = ""
    href: str = ""
    is_done_here: bool = False


@dataclass(frozen=True)
class JobPage:
    """The head and overview of a job's page."""

    id: str = ""
    name: str = ""
    status: str = ""
    percent: float = 0.0
    is_active: bool = False
    can_stop: bool = False
    can_discard: bool = False
    can_resume: bool = False
    resume_label: str = ""
    can_delete: bool = False
    has_results: bool = False
    phase: str = ""
    progress: str = ""
    epochs: str = ""
    epochs_per_step: float = 0.0
    eta: str = ""
    metric_name: str = ""
    before: str = ""
    now: str = ""
    change: str = ""
    is_better: bool = False
    is_higher_better: bool = False
    has_classes: bool = False
    has_sounds: bool = False
    has_preferences: bool = False
    has_speakers: bool = False
    without_model: str = ""
    base: float = 0.0
    base_cer: float = 0.0
    message: str = ""
    is_failure: bool = False
    action: NextAction = NextAction()
    model: str = ""
    model_href: str = ""
    dataset: str = ""
    dataset_href: str = ""
    adapter_href: str = ""
    training: str = ""
    device: str = ""
    attempt: str = ""
    speed: str = ""
    memory: str = ""
    created: str = ""
    started: str = ""
    took: str = ""
    clone_href: str = ""
    sweep: str = ""
    sweep_href: str = ""
    owner: str = ""
    sharing: str = "private"
    may_change: bool = False
    may_train: bool = False
    checkpoint: str = ""
    stalled: str = ""
    checks: list[CheckRow] = field(default_factory=list)
    doubt: str = ""
    actuals: list[ActualRow] = field(default_factory=list)


def job_row(view: JobView) -> JobRow:
    """Return a job as a line of the list."""
    job = view.job
    metric, before, now = headline(job)
    created = formats.when(job.created_at)
    return JobRow(
        id=job.id,
        name=job.name,
        href=f"/training/{job.id}",
        detail=f"{job.id} · {view.group_name}" if view.group_name else job.id,
        model=view.model_name,
        dataset=view.dataset_name,
        status=job.status.value,
        percent=percent_of(job),
        is_active=job.status in ACTIVE_STATUSES,
        progress=_short_progress(view),
        eta=f"{formats.duration(job.eta_s)} left" if job.status in ACTIVE_STATUSES and job.eta_s else "",
        metric=_short_metric(metric, before, now),
        spark=_spark(job.id),
        created=created.relative,
        created_exact=created.exact,
    )


def _device(device: str, job: Job) -> str:
    """Where it runs. A worker begins before it has looked which devices there are; the forecast has."""
    name = job.forecast.get("device", "") if device in ("", "auto") else device
    return {"cpu": "CPU", "cuda": "CUDA"}.get(name, name or "–")


def job_page(view: JobView, *, device: str, checkpoint_step: int | None) -> JobPage:
    """Return a job as the head of its page."""
    job = view.job
    metric, before, now = headline(job)
    is_active = job.status in ACTIVE_STATUSES
    is_failure = job.status in (JobStatus.FAILED, JobStatus.LOST)
    change, is_better = _change(metric, before, now)
    return JobPage(
        id=job.id,
        name=job.name,
        status=job.status.value,
        percent=percent_of(job),
        is_active=is_active,
        can_stop=job.status in (JobStatus.QUEUED, JobStatus.STARTING, JobStatus.RUNNING),
        can_discard=is_active,
        can_resume=job.status in (JobStatus.STOPPED, JobStatus.FAILED, JobStatus.LOST),
        resume_label="Resume" if checkpoint_step else "Start again",
        can_delete=not is_active and view.adapter_id is None,
        has_results=job.status in TERMINAL_STATUSES,
        phase=_phase(view),
        progress=f"{job.step:,} of {job.total_steps:,}" if job.total_steps else "–",
        epochs=f"{job.epoch:.2f}" if job.epoch else "–",
        epochs_per_step=epochs_per_step(job),
        eta=formats.duration(job.eta_s) if is_active else "–",
        metric_name=metric.name,
        before=formats.figure(metric, before),
        now=formats.figure(metric, now),
        change=change,
        is_better=is_better,
        is_higher_better=metric.is_higher_better,
        has_classes="accuracy" in (metric.key, *job.base_metrics, *job.last_metrics),
        has_preferences="reward_accuracy" in (*job.base_metrics, *job.last_metrics),
        has_sounds="mel_distance" in (*job.base_metrics, *job.last_metrics),
        has_speakers="der" in (metric.key, *job.base_metrics, *job.last_metrics),
        without_model=_without_model(job),
        base=_finite(next((job.base_metrics[k] for k in _CHARTED if k in job.base_metrics), None)),
        base_cer=_finite(job.base_metrics.get("cer")),
        message=job.message or "",
        is_failure=is_failure,
        action=next_action(job) if is_failure else NextAction(),
        model=view.model_name,
        model_href=f"/models/{job.model_id}",
        dataset=view.dataset_name,
        dataset_href=f"/datasets/{job.dataset_id}",
        adapter_href=f"/adapters/{view.adapter_id}" if view.adapter_id else "",
        training=_training(job),
        device=_device(device, job),
        attempt=str(job.attempt),
        speed=f"{job.samples_per_s:.1f} clips/s" if job.samples_per_s else "–",
        memory=formats.size(job.peak_rss_bytes),
        created=formats.when(job.created_at).exact,
        started=formats.when(job.started_at).exact or "–",
        took=took_text(job),
        clone_href=f"/training/new?clone={job.id}",
        sweep=view.group_name,
        sweep_href=f"/training/sweeps/{job.group_id}" if view.group_name else "",
        checkpoint=f"step {checkpoint_step:,}" if checkpoint_step else "none yet",
        stalled=_stalled(job),
        checks=check_rows(job),
        doubt=probe_doubt(job),
        actuals=actual_rows(job),
    )


def epochs_per_step(job: Job) -> float:
    """How much of an epoch a step is; 0 while that is not known."""
    return float(f"{job.epoch / job.step:.6g}") if job.step else 0.0


def headline(job: Job) -> tuple[Metric, float | None, float | None]:
    """The metric that counts, of the base model and of the best adapter so far."""
    wanted = job.spec.get("evaluation", {}).get("metric", "wer")
    values = {**job.base_metrics, **job.last_metrics, **job.best_metrics}
    name = "eval_loss" if wanted == "loss" else wanted
    found = first_of(values)
    is_measured = values.get(name) is not None or values.get(found.key) is None
    metric = METRICS[name] if is_measured else found
    best = job.best_metrics.get(metric.key)
    now = best if best is not None else job.last_metrics.get(metric.key)
    return metric, job.base_metrics.get(metric.key), now


def _without_model(job: Job) -> str:
    """What answers that need no model would score, to measure a result against."""
    baselines = job.report.get("baselines") or {}
    one = baselines.get("one_speaker") if isinstance(baselines, dict) else None
    if not isinstance(one, int | float):
        return ""
    return f"one voice all the time {formats.percent(one)}, nobody at all 100 %"


def next_action(job: Job) -> NextAction:
    """The one thing to do after a failure."""
    found = find_next_action(job)
    return NextAction(found.label, found.href, is_done_here=found.kind != "open") if found else NextAction()


def _change(metric: Metric, before: float | None, now: float | None) -> tuple[str, bool]:
    """`51 % fewer word errors` and whether that is good."""
    if before is None or now is None or not before:
        return "", False
    rate = (now - before) / before
    is_better = (rate > 0) is metric.is_higher_better
    if abs(rate) < 0.0005:
        return "no change", False
    return f"{abs(rate) * 100:.0f} % {'lower' if rate < 0 else 'higher'} than the base model", is_better


def _short_metric(metric: Metric, before: float | None, now: float | None) -> str:
    if now is None:
        return "–"
    arrow = f"{formats.figure(metric, before)} → " if before is not None else ""
    return f"{metric.short} {arrow}{formats.figure(metric, now)}"


def _short_progress(view: JobView) -> str:
    job = view.job
    if job.status is JobStatus.QUEUED:
        place = f"Place {view.queue_position} in the queue" if view.queue_position else "In the queue"
        return f"{place}, after “{view.after_name}”" if view.after_name else place
    if job.status in ACTIVE_STATUSES and not job.step:
        return job.phase or "Starting"
    if is_stalled(job):
        return f"Stalled at {percent_of(job):.0f} %"
    epochs = f" · epoch {job.epoch:.1f}" if job.epoch else ""
    return f"{percent_of(job):.0f} %{epochs}" if job.total_steps else "–"


def _phase(view: JobView) -> str:
    job = view.job
    if job.status is JobStatus.QUEUED:
        place = f"Place {view.queue_position} in the queue." if view.queue_position else "In the queue."
        if view.after_name:
            return f"{place} It starts by itself after “{view.after_name}”."
        return f"{place} It starts by itself as soon as there is room."
    if job.status is JobStatus.STOPPING:
        return "Stopping: the adapter is being saved"
    return job.phase if job.status in ACTIVE_STATUSES else ""


def _training(job: Job) -> str:
    spec = job.spec.get("qlora", {})
    kinds = {
        "qlora": "QLoRA, 4-bit NF4",
        "lora": f"LoRA, {spec.get('bits')}-bit",
        "pretraining": "Pre-training",
    }
    text = kinds.get(job.training_type.value, job.training_type.value)
    return text if job.training_type.value == "pretraining" else f"{text}, rank {spec.get('rank')}"


def took_text(job: Job) -> str:
    """How long it has run, or ran; a clock that was set back makes it nothing and not less."""
    if job.started_at is None:
        return "–"
    return formats.duration(((job.finished_at or utc_now()) - job.started_at).total_seconds())


def _stalled(job: Job) -> str:
    """A sentence when a worker that lives has fallen silent."""
    if not is_stalled(job):
        return ""
    since = f" since {job.heartbeat_at:%H:%M:%S} UTC" if job.heartbeat_at else ""
    return f"No sign of life{since}: the worker is there, but tells nothing. Stop it if this goes on."


def _spark(job_id: str) -> str:
    found = metrics.query(layout.run_path(job_id) / "metrics", ["loss"], max_points=80)
    return sparkline_path(found["loss"].value) if "loss" in found else ""


def _finite(value: float | None) -> float:
    return float(value) if value is not None and math.isfinite(value) else 0.0
