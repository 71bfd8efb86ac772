"""The worker's event stream: one JSON object a line in `events.jsonl`, appended and never changed.

Every event has `v` (protocol version), `seq` (1, 2, 3 … within an attempt), `ts` (seconds since the epoch)
and `type`. A reader takes whole lines only and ignores types it does not know, so that an older server can
watch a newer worker. `docs/job-protocol.md` tells the whole story.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from qlora_studio.contracts.enums import ExitReason
from qlora_studio.contracts.probe import ProbeReport


class _Event(BaseModel):
    model_config = ConfigDict(extra="ignore")

    v: int = 1
    seq: int
    ts: float


class StartedEvent(_Event):
    type: Literal["started"] = "started"
    pid: int
    device: str
    versions: dict[str, str] = {}


class PhaseEvent(_Event):
    """A stretch of work with a name for people: "Loading the model", "Measuring the base model"."""

    type: Literal["phase"] = "phase"
    name: str
    label: str


class ProgressEvent(_Event):
    type: Literal["progress"] = "progress"
    step: int
    total_steps: int
    epoch: float
    eta_s: float | None = None


class MetricEvent(_Event):
    """Numbers at a step: `loss`, `learning_rate`, `grad_norm`, `samples_per_s`, `cpu_percent`, …"""

    type: Literal["metric"] = "metric"
    step: int
    values: dict[str, float | None]  # None: not a number


class EvalEvent(_Event):
    """Held-out metrics: `wer`, `cer`, `wer_normalised`, `cer_normalised` or `accuracy`, `macro_f1`
    or `der`, `missed_speech`, `false_alarm`, `confusion`; and `loss`.

    `base` marks the unadapted model.
    """

    type: Literal["eval"] = "eval"
    step: int
    values: dict[str, float | None]
    base: bool = False
    is_best: bool = False


class ClassProbability(BaseModel):
    """How likely a class is, from 0 to 1."""

    label: str
    probability: float


class SampleEvent(_Event):
    """One clip of the fixed panel at one evaluation; `now` is the model's output at `step`.

    `error` is the clip's word error rate, 1 minus the probability of the right class, the diarization error
    rate, or the mel distance of a made sound in dB. Only classification has `top`: the likeliest classes, at
    most three, the likeliest first. Of diarization, `reference`, `base` and `now` are lines of RTTM. Only
    text to audio has `sound` and `base_sound`: files of what the model made, named from the run's folder.
    """

    type: Literal["sample"] = "sample"
    step: int
    clip_id: str
    reference: str
    base: str | None = None
    now: str
    error: float | None = None
    top: list[ClassProbability] | None = None
    sound: str | None = None
    base_sound: str | None = None

    @property
    def details(self) -> dict[str, Any]:
        """What only some tasks tell, as JSON values."""
        return self.model_dump(mode="json", include={"top", "sound", "base_sound"}, exclude_none=True)


class ProbeEvent(ProbeReport, _Event):
    """What the sanity probe found before the first step; see `contracts.probe`."""

    type: Literal["probe"] = "probe"


class CheckpointEvent(_Event):
    type: Literal["checkpoint"] = "checkpoint"
    step: int
    name: str
    size_bytes: int


class HeartbeatEvent(_Event):
    """Every two seconds or so, also between steps: what the process uses. Memory in bytes.

    The peaks are those since the attempt began; `peak_gpu_bytes` is what torch took of the first card.
    """

    type: Literal["heartbeat"] = "heartbeat"
    step: int
    cpu_percent: float | None = None
    rss_bytes: int | None = None
    gpu_percent: float | None = None
    gpu_memory_bytes: int | None = None
    disk_free_bytes: int | None = None
    peak_rss_bytes: int | None = None
    peak_gpu_bytes: int | None = None


class WarningEvent(_Event):
    type: Literal["warning"] = "warning"
    code: str
    message: str


class ErrorEvent(_Event):
    type: Literal["error"] = "error"
    reason: ExitReason
    message: str


class FinishedEvent(_Event):
    type: Literal["finished"] = "finished"
    reason: ExitReason


Event = Annotated[
    StartedEvent
    | PhaseEvent
    | ProgressEvent
    | MetricEvent
    | EvalEvent
    | SampleEvent
    | ProbeEvent
    | CheckpointEvent
    | HeartbeatEvent
    | WarningEvent
    | ErrorEvent
    | FinishedEvent,
    Field(discriminator="type"),
]
EVENT_TYPES = frozenset(
    "started phase progress metric eval sample probe checkpoint heartbeat warning error finished".split()
)

EXIT_DISK_FULL = 73  # a worker's exit status when there was no room even for `result.json`


class ResultFile(BaseModel):
    """`result.json`: written last, by rename, by a worker that ended in order (also after a stop)."""

    v: int = 1
    reason: ExitReason
    message: str = ""
    step: int
    adapter_path: str | None = None
    metrics: dict[str, float | None] = {}
    base_metrics: dict[str, float | None] = {}
    best_step: int | None = None
    peak_rss_bytes: int | None = None
    peak_gpu_bytes: int | None = None
    samples_per_s: float | None = None
    extra: dict[str, Any] = {}


class ExitFile(BaseModel):
    """`exit.json`: written by the shim after it has waited for the worker. `signal` if one ended it."""

    v: int = 1
    returncode: int | None
    signal: int | None = None
    escalated: bool = False
    ended_at: float
