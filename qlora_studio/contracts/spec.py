"""What a training job is asked to do.

`TrainSpec` is what people write (REST body, wizard, YAML of the command line). `WorkerSpec` is what the
worker reads from `spec.json`: the same, with everything resolved to files, so that a worker needs neither
the database nor the web server.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from qlora_studio.contracts.enums import Split, Task, TrainingType

PROTOCOL_VERSION = 1
MAX_DEVICES = 16
SAMPLES_FOLDER = "samples"  # in a run's folder: sounds made for its panel


class Strict(BaseModel):
    """Base of everything that comes from outside: unknown keys are refused, NaN and infinity too."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, str_max_length=4096)


class QLoraSpec(Strict):
    """Where the adapter sits and how the frozen base is stored (Dettmers et al. 2023, arXiv:2305.14314).

    With `whole_encoder` only the decoder of a Whisper that writes is packed; other models pay no heed to it.
    """

    rank: Annotated[int, Field(ge=1, le=512)] = 16
    alpha: Annotated[float, Field(gt=0, le=2048)] = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    target_modules: Literal["auto", "attention", "all-linear", "decoder"] | list[str] = "auto"
    bits: Literal[4, 16, 32] = 4
    quant_type: Literal["nf4"] = "nf4"
    double_quant: bool = True
    whole_encoder: bool = False
    compute_dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"


class OptimizationSpec(Strict):
    """How the weights move. One of `epochs` and `max_steps` is set; both None means the task's preset.

    `batch_size` counts the clips of a step's pass; several `devices` share them, so that their number changes
    how long a job takes and not what it learns. The scheduler `range_test` is no training: the rate climbs to
    `learning_rate` to find out which to use.
    """

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 5e-4
    devices: Annotated[int, Field(ge=1, le=MAX_DEVICES)] = 1
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 8
    gradient_accumulation: Annotated[int, Field(ge=1, le=1024)] = 1
    epochs: Annotated[float, Field(gt=0, le=10_000)] | None = None
    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup", "range_test"] = "linear"
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0, le=1000)] = 1.0
    gradient_checkpointing: bool = False
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    mode: Literal["exact", "fast"] = "fast"


class EvaluationSpec(Strict):
    """How often the held-out clips are looked at, what counts as better, and the probe before the start."""

    every_steps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    metric: Literal["wer", "cer", "loss", "accuracy", "macro_f1", "der", "reward_accuracy"] = "wer"
    early_stopping_patience: Annotated[int, Field(ge=1, le=1000)] | None = None
    n_samples: Annotated[int, Field(ge=0, le=50)] = 5
    probe: bool = True
    save_every_steps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=10)]


class NoiseSpec(Strict):
    """White noise, so many dB under the clip's own level."""

    probability: Share = 0.5
    min_snr_db: Annotated[float, Field(ge=-10, le=80)] = 10.0
    max_snr_db: Annotated[float, Field(ge=-10, le=80)] = 30.0

    @model_validator(mode="after")
    def _in_order(self) -> "NoiseSpec":
        _check_order(self, "min_snr_db", "max_snr_db")
        return self


class GainSpec(Strict):
    """Louder or softer; what would go over full scale is clipped, as it is in a recording."""

    probability: Share = 0.5
    min_db: Annotated[float, Field(ge=-40, le=20)] = -6.0
    max_db: Annotated[float, Field(ge=-40, le=20)] = 6.0

    @model_validator(mode="after")
    def _in_order(self) -> "GainSpec":
        _check_order(self, "min_db", "max_db")
        return self


class TimeMaskSpec(Strict):
    """Stretches of silence, each at most `max_s` long and at most a fifth of the clip."""

    probability: Share = 0.5
    count: Count = 2
    max_s: Annotated[float, Field(gt=0, le=5)] = 0.2


class FrequencyMaskSpec(Strict):
    """Bands taken out of the whole clip, each at most `max_share` of the mel scale wide."""

    probability: Share = 0.5
    count: Count = 2
    max_share: Annotated[float, Field(gt=0, le=0.5)] = 0.1


class AugmentationSpec(Strict):
    """How training clips are varied each time they are used; what is None is off. Never for evaluation."""

    noise: NoiseSpec | None = None
    gain: GainSpec | None = None
    time_masks: TimeMaskSpec | None = None
    frequency_masks: FrequencyMaskSpec | None = None

    @property
    def is_on(self) -> bool:
        parts = (self.noise, self.gain, self.time_masks, self.frequency_masks)
        return any(part is not None and part.probability > 0 for part in parts)


def _check_order(spec: Strict, low: str, high: str) -> None:
    if getattr(spec, low) > getattr(spec, high):
        raise ValueError(f"{low} must not be above {high}.")


class PreferenceSpec(Strict):
    """How pairs are learnt from: DPO (Rafailov et al. 2023, arXiv:2305.18290), or a loss of its kin in trl.

    `beta` says how far the model may go from the base: less goes further. `label_smoothing` is the share of
    pairs taken to be the wrong way round, for `robust` only.
    """

    beta: Annotated[float, Field(gt=0, le=10)] = 0.1
    loss: Literal["sigmoid", "hinge", "robust", "apo_zero"] = "sigmoid"
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0

    @model_validator(mode="after")
    def _fits(self) -> "PreferenceSpec":
        if self.label_smoothing and self.loss != "robust":
            raise ValueError("label_smoothing is for the loss robust only.")
        return self


class TrainSpec(Strict):
    """A job as a person asks for it. Without `augmentation` it is the dataset's own at launch.

    It starts after `after_job_id` has ended, or only if that one has succeeded (`after_condition`). With
    `start_adapter_id` it trains that adapter on, with its rank, alpha and layers instead of those given here.
    """

    name: Annotated[str, Field(min_length=1, max_length=120)]
    dataset_id: Annotated[str, Field(min_length=1)]
    model_id: Annotated[str, Field(min_length=1)]
    training_type: TrainingType = TrainingType.QLORA
    qlora: QLoraSpec = Field(default_factory=QLoraSpec)
    optimization: OptimizationSpec = Field(default_factory=OptimizationSpec)
    evaluation: EvaluationSpec = Field(default_factory=EvaluationSpec)
    preference: PreferenceSpec = Field(default_factory=PreferenceSpec)
    augmentation: AugmentationSpec | None = None
    after_job_id: str | None = None
    after_condition: Literal["ended", "succeeded"] = "ended"
    start_adapter_id: str | None = None

    @model_validator(mode="after")
    def _one_length(self) -> "TrainSpec":
        if self.optimization.epochs is not None and self.optimization.max_steps is not None:
            raise ValueError("Set either epochs or max_steps, not both.")
        return self


class ClipItem(BaseModel):
    """One line of a run's `clips.jsonl`: a file, or a part of one.

    A part begins at `start_s` of its file and is `duration_s` long; otherwise the whole file is meant.
    """

    id: str
    path: str
    duration_s: float
    start_s: float = 0.0
    is_part: bool = False
    text: str | None = None
    label: str | None = None
    speaker: str | None = None
    split: Split


class PairItem(BaseModel):
    """One line of a run's `clips.jsonl` in preference tuning: two sounds for one prompt."""

    id: str
    prompt: str
    chosen: str
    rejected: str
    chosen_s: float
    rejected_s: float
    split: Split


class WorkerSpec(BaseModel):
    """`spec.json` of one attempt. Paths are absolute; `clips_path` is a JSON Lines file of `ClipItem`, or of
    `PairItem` in preference tuning.

    `clap_path` is the folder of a CLAP model to judge sounds by, if there is one. `cards` names the CUDA
    devices that are the job's, as CUDA_VISIBLE_DEVICES does; empty: the first ones. `start_path` is the
    folder of the adapter that the job starts from, in PEFT's format.
    """

    v: int = PROTOCOL_VERSION
    job_id: str
    attempt: int = 1
    task: Task
    train: TrainSpec
    model_path: Path
    model_hash: str = ""
    dataset_version: int = 1
    dataset_hash: str = ""
    clips_path: Path
    run_path: Path
    attempt_path: Path
    resume: bool = False
    threads: int | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    cards: list[str] = []
    start_path: Path | None = None
    clap_path: Path | None = None
