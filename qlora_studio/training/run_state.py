"""What a run knows about itself beyond the weights; stored with every checkpoint."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from qlora_studio.contracts.enums import Task, TrainingType
from qlora_studio.contracts.metrics import METRICS, deciding
from qlora_studio.contracts.spec import EvaluationSpec
from qlora_studio.training.failures import BadData

_TASK_NAMES = {
    Task.SPEECH_TO_TEXT: "Speech to text",
    Task.AUDIO_CLASSIFICATION: "Audio classification",
    Task.SPEAKER_DIARIZATION: "Speaker diarization",
    Task.TEXT_TO_AUDIO: "Text to audio",
}
_NO_VALUE = 1e9  # worse than any real one, and still a number in JSON


@dataclass
class RunState:
    """Metrics so far. `best_rank` orders evaluations, lower is better; it was reached at `best_step`.

    `probe` is the sanity probe's report. `last_report` is what the task keeps of the last evaluation beyond
    numbers, `last_files` what as files.
    """

    base_values: dict[str, float | None] = field(default_factory=dict)
    base_texts: dict[str, str] = field(default_factory=dict)
    last_values: dict[str, float | None] = field(default_factory=dict)
    last_report: dict[str, Any] = field(default_factory=dict)
    last_files: dict[str, str] = field(default_factory=dict)
    last_eval_step: int = -1
    probe: dict[str, Any] = field(default_factory=dict)
    best_rank: list[float] = field(default_factory=list)
    best_step: int | None = None
    evaluations_since_best: int = 0
    n_clips_seen: int = 0
    training_s: float = 0.0

    def note_evaluation(
        self,
        step: int,
        values: dict[str, float | None],
        metric: str,
        report: dict[str, Any] | None = None,
        files: dict[str, str] | None = None,
    ) -> bool:
        """Record an evaluation; returns whether it is the best so far.

        Equal values are told apart by characters, where there are any, then by the loss: early on every word
        is wrong.
        """
        self.last_values, self.last_report, self.last_files = values, report or {}, files or {}
        self.last_eval_step = step
        rank = [_rank(key, values.get(key)) for key in (metric, "cer", "loss")]
        is_best = rank[0] < _NO_VALUE and (not self.best_rank or rank < self.best_rank)
        if is_best:
            self.best_rank, self.best_step, self.evaluations_since_best = rank, step, 0
        else:
            self.evaluations_since_best += 1
        return is_best

    def note_step(self, n_clips: int, took_s: float) -> None:
        self.n_clips_seen += n_clips
        self.training_s += took_s

    @property
    def samples_per_s(self) -> float | None:
        """Mean clips a second over all training steps; evaluations and saves don't count."""
        return self.n_clips_seen / self.training_s if self.training_s else None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "RunState":
        return cls(**value)


def _rank(metric: str, value: float | None) -> float:
    """Lower is better, whatever the metric's own direction."""
    if value is None or not math.isfinite(value):
        return _NO_VALUE
    is_higher_better = metric in METRICS and METRICS[metric].is_higher_better
    return -value if is_higher_better else value


def check_metric(
    spec: EvaluationSpec,
    task: Task = Task.SPEECH_TO_TEXT,
    training_type: TrainingType = TrainingType.QLORA,
) -> str:
    """Return the name of the metric that decides.

    A spec that leaves the contract's default gets the task's own first metric.

    Raises:
        BadData: the task does not measure it.
    """
    choices = deciding(task, training_type)
    if not choices or spec.metric in choices:  # a task that is not trained is refused with its model
        return spec.metric
    if spec.metric == EvaluationSpec.model_fields["metric"].default:
        return choices[0]
    raise BadData(f"{_TASK_NAMES[task]} does not measure {spec.metric}; choose one of {', '.join(choices)}.")
