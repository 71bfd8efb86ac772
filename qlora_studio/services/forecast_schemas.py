"""What a forecast consists of. Sizes in bytes, times in seconds."""

from dataclasses import dataclass

from pydantic import BaseModel


class MemoryForecast(BaseModel):
    """Bytes at the peak on each device, part by part. `free_bytes` is None when it can't be told.

    `basis` says in words what the figures rest on.
    """

    weights_bytes: int
    adapter_bytes: int
    optimizer_bytes: int
    activations_bytes: int
    runtime_bytes: int
    total_bytes: int
    free_bytes: int | None
    fits: bool
    n_devices: int = 1
    basis: str = ""


class TimeForecast(BaseModel):
    """Seconds; the truth lies between `low_s` and `high_s` more often than not."""

    total_s: float
    low_s: float
    high_s: float
    total_steps: int
    samples_per_s: float
    basis: str


class DiskForecast(BaseModel):
    """Bytes of checkpoints, adapter and cached features."""

    total_bytes: int
    free_bytes: int
    fits: bool


class Forecast(BaseModel):
    """What a job will take. `n_trainable` counts the parameters that move."""

    device: str
    n_trainable: int
    memory: MemoryForecast
    time: TimeForecast
    disk: DiskForecast
    warnings: list[str]


@dataclass(frozen=True)
class ClipStats:
    """The clips that will be used, or of preference tuning the pairs. Seconds, of a clip."""

    n_train: int
    n_validation: int
    mean_s: float
    longest_s: float
