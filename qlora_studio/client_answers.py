"""What the client gives back. Fields that it does not know are kept, for servers newer than it is."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from qlora_studio.contracts.enums import (
    AdapterStage,
    DatasetStatus,
    DictationStatus,
    GenerationStatus,
    JobStatus,
    ListeningStatus,
    ModelStatus,
    Preference,
    Task,
)


class Answer(BaseModel):
    """Base of every answer."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Dataset(Answer):
    id: str
    name: str
    task: Task
    status: DatasetStatus
    n_clips: int
    n_excluded: int
    duration_s: float
    size_bytes: int
    version: int
    content_hash: str
    error: str | None = None


class QualityCheck(Answer):
    """What one check of the quality report found."""

    key: str
    title: str
    n_clips: int
    n_to_leave_out: int
    n_left_out: int
    clip_ids: list[str]


class Report(Answer):
    version: int
    is_current: bool
    n_clips: int
    n_flagged: int
    checks: list[QualityCheck]


class Exclusion(Answer):
    id: str
    check: str
    n_clips: int
    n_left_out: int


class Version(Answer):
    number: int
    content_hash: str
    n_clips: int
    duration_s: float
    summary: str
    created_at: datetime


class Credential(Answer):
    """A key to a cloud or the Hub, without what it holds. `kind` is s3, gs or hub."""

    id: str
    name: str
    kind: str
    created_at: datetime


class MappingPreview(Answer):
    """How files would be read: `rows` are the first clips, `refusal` says why nothing would be taken in."""

    columns: list[str]
    guessed: dict[str, str]
    mapping: dict[str, str]
    rows: list[dict[str, Any]]
    n_matched: int
    n_unmatched: int
    refusal: str | None = None


class Model(Answer):
    id: str
    name: str
    task: Task
    architecture: str
    status: ModelStatus
    n_parameters: int
    size_bytes: int
    sample_rate: int
    lora_targets: list[str]
    error: str | None = None


class Progress(Answer):
    step: int
    total_steps: int
    epoch: float
    percent: float
    eta_s: float | None = None


class Job(Answer):
    id: str
    name: str
    status: JobStatus
    progress: Progress
    metrics: dict[str, dict[str, Any]]
    attempt: int
    adapter_id: str | None = None
    reason: str | None = None
    message: str | None = None
    queue_position: int | None = None
    next_action: dict[str, Any] | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


class QueuedJob(Answer):
    id: str
    name: str
    position: int
    own_position: int


class Queue(Answer):
    is_paused: bool
    note: str
    n_slots: int
    n_busy: int
    n_queued: int
    items: list[QueuedJob]


class SweepRow(Answer):
    job_id: str
    values: dict[str, Any]
    status: JobStatus
    best: float | None = None
    base: float | None = None
    is_best: bool
    adapter_id: str | None = None


class Sweep(Answer):
    id: str
    name: str
    axes: dict[str, list[Any]]
    n_jobs: int
    statuses: dict[JobStatus, int]
    metric: str = ""
    best_job_id: str | None = None
    rows: list[SweepRow] = []


class Log(Answer):
    """Lines of a job's log with the level of each; `n_found` counts what a search found in all."""

    lines: list[str]
    levels: list[str]
    cursor: str
    attempt: int
    n_found: int | None = None
    is_complete: bool = True


class Check(Answer):
    """The answer of a check: whether the job could start, what it needs, and how to repeat it."""

    ok: bool
    errors: list[dict[str, str]]
    warnings: list[str]
    forecast: dict[str, Any]
    command: str
    yaml: str


class Adapter(Answer):
    """What a job left. `replaces` names the one that it has just followed in production."""

    id: str
    name: str
    version: int
    base_model_id: str
    job_id: str | None = None
    metrics: dict[str, Any]
    stage: AdapterStage
    tags: list[str]
    notes: str
    is_active: bool
    active_strength: float
    size_bytes: int
    archived_at: datetime | None = None
    replaces: str | None = None


class Lineage(Answer):
    """Nodes with `id`, `kind`, `column`, `object_id`, `name`, `detail`; edges with `source` and `target`."""

    nodes: list[dict[str, Any]]
    edges: list[dict[str, str]]
    n_left_out: int


class Push(Answer):
    """An adapter on its way to the Hub: waiting, running, succeeded, failed or cancelled. Sizes in bytes."""

    id: str
    repo_id: str
    status: str
    done_bytes: int
    total_bytes: int
    url: str
    error: str


class JobEvent(Answer):
    """One server-sent event: `type` is status, progress, metric, sample or log."""

    id: str
    type: str
    data: dict[str, Any]


class PromptTemplate(Answer):
    """A text that is kept under a name, with its settings."""

    id: str
    name: str
    prompt: str
    model_id: str | None = None
    adapter_id: str | None = None
    strength: float
    duration_s: float
    n_takes: int
    guidance: float
    temperature: float
    seed: int | None = None


class Take(Answer):
    """One sound of a generation; `index` counts from 0, `is_favorite` is your own."""

    id: str
    generation_id: str
    index: int
    seed: int
    duration_s: float
    sample_rate: int
    n_ratings: int
    mean_stars: float | None = None
    is_favorite: bool = False


class Generation(Answer):
    """Takes asked for, and those that are there."""

    id: str
    prompt: str
    model_id: str
    adapter_id: str | None = None
    status: GenerationStatus
    seed: int
    n_takes: int
    n_done: int
    percent: int
    error: str
    takes: list[Take]


class Rating(Answer):
    """What one person says of one take by one criterion."""

    take_id: str
    rater_id: str
    criterion: str
    stars: int
    tags: list[str]
    note: str


class PairSide(Answer):
    """A take to compare: its length in seconds."""

    id: str
    duration_s: float


class BlindPair(Answer):
    """Two takes of a text; `first` belongs on the left."""

    id: str
    prompt: str
    first: PairSide
    second: PairSide


class PreferenceVote(Answer):
    """What one person says of two takes; `verdict` is left, right, tie or skip."""

    id: str
    first_take_id: str
    second_take_id: str
    verdict: Preference


class ListeningTest(Answer):
    """A listening test; `contestants` and `error` are told to its owner alone."""

    id: str
    name: str
    status: ListeningStatus
    n_takes: int
    n_takes_done: int
    n_votes: int
    n_raters: int
    n_answered: int
    contestants: list[dict[str, Any]]
    error: str


class ListeningQuestion(Answer):
    """Two sounds of one text, without what made them."""

    id: str
    prompt: str


class ListeningResults(Answer):
    """What the answers say; each list as the server tells it."""

    summary: str
    n_votes: int
    standings: list[dict[str, Any]]
    comparisons: list[dict[str, Any]]
    agreement: dict[str, Any]
    raters: list[dict[str, Any]]


class Dictation(Answer):
    """Clips being written down, or written down."""

    id: str
    dataset_id: str
    model_id: str
    status: DictationStatus
    n_clips: int
    n_done: int
    n_checked: int
    error: str = ""


class Transcript(Answer):
    """What was heard in a clip, and what somebody says was said."""

    clip_id: str
    filename: str
    duration_s: float
    heard: str | None = None
    text: str | None = None
    error: str = ""
