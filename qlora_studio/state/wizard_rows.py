"""What the wizard shows, formatted."""

from dataclasses import dataclass
from typing import Any

from qlora_studio.contracts.enums import Split
from qlora_studio.db.models.dataset import Dataset
from qlora_studio.db.models.model import BaseAudioModel
from qlora_studio.services.job_schemas import JobCheck
from qlora_studio.services.previews import ClipPreview
from qlora_studio.state import formats
from qlora_studio.state.dataset_rows import peaks_text
from qlora_studio.state.datasets import TASK_LABELS
from qlora_studio.state.model_rows import source_text

_MEMORY_PARTS = (
    ("weights_bytes", "Weights"),
    ("adapter_bytes", "Adapter"),
    ("optimizer_bytes", "Optimiser"),
    ("activations_bytes", "Activations"),
    ("runtime_bytes", "Libraries"),
)


@dataclass(frozen=True)
class ChoiceRow:
    """A dataset or a model that can be chosen."""

    id: str = ""
    name: str = ""
    text: str = ""
    detail: str = ""


@dataclass(frozen=True)
class SplitView:
    """Clips of the chosen dataset by split; `problem` says why it can't be trained on yet."""

    train: str = ""
    validation: str = ""
    test: str = ""
    problem: str = ""


@dataclass(frozen=True)
class PartRow:
    """One part of the memory, and its share of the whole in percent."""

    name: str
    text: str
    percent: float


@dataclass(frozen=True)
class ClipPreviewRow:
    """A clip of the training split, ready to play."""

    id: str
    filename: str
    text: str
    duration_s: str
    heard: str
    peaks: str
    error: str


@dataclass(frozen=True)
class ReviewView:
    """The forecast, against what is free."""

    device: str = ""
    trainable: str = ""
    memory: str = ""
    memory_free: str = ""
    memory_fits: bool = True
    memory_percent: int = 0
    memory_basis: str = ""
    time: str = ""
    time_range: str = ""
    time_basis: str = ""
    steps: str = ""
    disk: str = ""
    disk_free: str = ""
    disk_fits: bool = True
    command: str = ""
    yaml: str = ""


def dataset_choice(dataset: Dataset) -> ChoiceRow:
    clips = formats.count(dataset.n_clips, "clip")
    return ChoiceRow(
        dataset.id,
        dataset.name,
        f"{clips}, {formats.hours(dataset.duration_s)}",
        TASK_LABELS[dataset.task],
    )


def model_choice(model: BaseAudioModel) -> ChoiceRow:
    family = str(model.details.get("family_label") or model.architecture)
    text = f"{family}, {formats.parameters(model.n_parameters)} parameters"
    return ChoiceRow(model.id, model.name, text, source_text(model))


def split_view(counts: dict[Split, tuple[int, float]]) -> SplitView:
    """Format the counts and say what is missing."""
    texts = {s: f"{formats.count(n, 'clip')}, {formats.hours(seconds)}" for s, (n, seconds) in counts.items()}
    problem = ""
    if counts[Split.TRAIN][0] == 0:
        problem = "It has no clip to train on. Change its split first."
    elif counts[Split.VALIDATION][0] == 0:
        problem = "It holds no clip out to measure the result. Change its split first."
    return SplitView(texts[Split.TRAIN], texts[Split.VALIDATION], texts[Split.TEST], problem)


def preview_row(preview: ClipPreview, sample_rate: int) -> ClipPreviewRow:
    clip = preview.clip
    heard_s = preview.n_samples / sample_rate
    return ClipPreviewRow(
        id=clip.id,
        filename=clip.filename,
        text=(clip.text or clip.label or "")[:400],
        duration_s=f"{clip.duration_s:.3f}",
        heard=f"{formats.duration(heard_s)} at {sample_rate / 1000:g} kHz, {preview.n_samples:,} samples",
        peaks=peaks_text(clip.peaks),
        error=preview.error,
    )


def review_view(check: JobCheck) -> ReviewView:
    """Format a forecast; without one only command and YAML."""
    if not check.forecast:
        return ReviewView(command=check.command, yaml=check.yaml)
    memory, time, disk = (check.forecast[name] for name in ("memory", "time", "disk"))
    free, n_devices = memory["free_bytes"], memory.get("n_devices", 1)
    times = f"{n_devices} × " if n_devices > 1 else ""
    is_card = check.forecast["device"] == "cuda"
    wanted = memory["total_bytes"] * (1 if is_card else n_devices)
    return ReviewView(
        device=times + ("CUDA" if is_card else "CPU"),
        trainable=formats.parameters(check.forecast["n_trainable"]),
        memory=times + formats.size(memory["total_bytes"]),
        memory_free=formats.size(free),
        memory_fits=memory["fits"],
        memory_percent=min(100, round(100 * wanted / free)) if free else 0,
        memory_basis=memory.get("basis", ""),
        time=formats.duration(time["total_s"]),
        time_range=f"{formats.duration(time['low_s'])} to {formats.duration(time['high_s'])}",
        time_basis=time["basis"],
        steps=f"{formats.count(time['total_steps'], 'step')}, {time['samples_per_s']:.3g} clips a second",
        disk=formats.size(disk["total_bytes"]),
        disk_free=formats.size(disk["free_bytes"]),
        disk_fits=disk["fits"],
        command=check.command,
        yaml=check.yaml,
    )


def memory_parts(forecast: dict[str, Any]) -> list[PartRow]:
    """The parts of the memory forecast, in the order they come about."""
    memory = forecast.get("memory", {})
    total = max(1, memory.get("total_bytes", 0))
    return [
        PartRow(name, formats.size(memory[key]), round(100 * memory[key] / total, 1))
        for key, name in _MEMORY_PARTS
        if key in memory
    ]
