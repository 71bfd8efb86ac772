"""What the pages of base models show, formatted."""

from collections.abc import Mapping
from dataclasses import dataclass

from qlora_studio.contracts.enums import ModelStatus, Task
from qlora_studio.contracts.metrics import first_of
from qlora_studio.db.models.adapter import Adapter
from qlora_studio.db.models.job import Job
from qlora_studio.db.models.model import BaseAudioModel
from qlora_studio.modelfiles.layers import count_packed, is_packed
from qlora_studio.state import formats
from qlora_studio.state.datasets import TASK_LABELS

_NF4_BYTES_A_WEIGHT = 0.516
# Where the model itself has no limit: memory grows with the longest clip.
_LONGEST = {  # seconds that go through a model at once, and what becomes of longer clips
    Task.AUDIO_CLASSIFICATION: (30.0, "their beginning is heard"),
    Task.TEXT_TO_AUDIO: (30.0, "their beginning is heard"),
    Task.SPEAKER_DIARIZATION: (20.0, "longer ones are heard in pieces"),
}


@dataclass(frozen=True)
class ModelRow:
    """One line of the list. `progress` is of a download, in words and in percent."""

    id: str
    name: str
    detail: str
    task: str
    architecture: str
    parameters: str
    size: str
    status: str
    progress: str
    percent: int
    in_use: str
    added: str
    added_exact: str
    owner: str = ""
    sharing: str = "private"
    may_change: bool = True
    may_train: bool = True


@dataclass(frozen=True)
class LayerRow:
    """Linear layers of one name and size."""

    name: str
    shape: str
    count: str
    parameters: str
    stored_in: str
    is_packed: bool


@dataclass(frozen=True)
class PresetRow:
    """What a choice of target modules stands for."""

    name: str
    layers: str


@dataclass(frozen=True)
class UseRow:
    """A job or an adapter made with the model."""

    href: str
    name: str
    status: str
    detail: str
    added: str
    added_exact: str


@dataclass(frozen=True)
class ModelView:
    """A model's page."""

    id: str = ""
    name: str = ""
    description: str = ""
    task: str = ""
    architecture: str = ""
    family: str = ""
    status: str = ""
    error: str = ""
    source: str = ""
    can_retry: bool = False
    is_upload: bool = False
    parameters: str = ""
    size: str = ""
    four_bit_size: str = ""
    sample_rate: str = ""
    makes_sound: bool = False
    max_duration: str = ""
    languages: str = ""
    license: str = ""
    shape: str = ""
    of_longer_ones: str = ""
    vocabulary: str = ""
    dtypes: str = ""
    content_hash: str = ""
    added: str = ""
    added_exact: str = ""
    progress: str = ""
    percent: int = 0
    owner: str = ""
    sharing: str = "private"
    may_change: bool = True
    may_train: bool = True


def model_row(model: BaseAudioModel, n_active: int) -> ModelRow:
    """Format one line of the list."""
    added = formats.when(model.created_at)
    return ModelRow(
        id=model.id,
        name=model.name,
        detail=source_text(model),
        task=TASK_LABELS[model.task],
        architecture=str(model.details.get("family_label") or model.architecture or "–"),
        parameters=formats.parameters(model.n_parameters) if model.n_parameters else "–",
        size=formats.size(model.size_bytes or None),
        status=model.status.value,
        progress=_progress(model),
        percent=_percent(model),
        in_use=formats.count(n_active, "job") if n_active else "",
        added=added.relative,
        added_exact=added.exact,
    )


def model_view(model: BaseAudioModel) -> ModelView:
    """Format a model's page."""
    details, added = model.details, formats.when(model.created_at)
    longest, of_longer_ones = _LONGEST.get(model.task, (40.0, "longer ones are left out"))
    return ModelView(
        id=model.id,
        name=model.name,
        description=model.description,
        task=TASK_LABELS[model.task],
        architecture=model.architecture or "–",
        family=str(details.get("family_label") or "–"),
        status=model.status.value,
        error=model.error or "",
        source=source_text(model),
        can_retry=model.status is ModelStatus.ERROR and model.source.get("kind") in ("hub", "path"),
        is_upload=model.source.get("kind") == "upload",
        parameters=formats.parameters(model.n_parameters) if model.n_parameters else "–",
        size=formats.size(model.size_bytes or None),
        four_bit_size=_four_bit_size(model),
        sample_rate=f"{model.sample_rate / 1000:g} kHz" if model.sample_rate else "–",
        makes_sound=model.task is Task.TEXT_TO_AUDIO,
        max_duration=formats.duration(details.get("window_s") or model.max_duration_s or longest),
        of_longer_ones=of_longer_ones,
        languages=", ".join(model.languages[:12]) or "not stated",
        license=model.license or "not stated",
        shape=f"{details.get('n_hidden_layers', '–')} layers, width {details.get('hidden_size', '–')}",
        vocabulary=formats.count(int(details["vocab_size"])) if details.get("vocab_size") else "–",
        dtypes=", ".join(details.get("dtypes", [])) or "–",
        content_hash=model.content_hash[:12],
        added=added.relative,
        added_exact=added.exact,
        progress=_progress(model),
        percent=_percent(model),
    )


def layer_rows(model: BaseAudioModel) -> list[LayerRow]:
    """The linear layers, largest first."""
    kinds = model.details.get("layers", {}).get("linear", [])
    ordered = sorted(kinds, key=lambda kind: -kind["n_in"] * kind["n_out"] * kind["n_layers"])
    return [
        LayerRow(
            name=kind["name"],
            shape=f"{kind['n_in']:,} to {kind['n_out']:,}",
            count=formats.count(kind["n_layers"]),
            parameters=formats.parameters(kind["n_in"] * kind["n_out"] * kind["n_layers"]),
            stored_in="4 bits" if is_packed(kind["n_in"], kind["n_out"]) else "32 bits",
            is_packed=is_packed(kind["n_in"], kind["n_out"]),
        )
        for kind in ordered
    ]


def preset_rows(model: BaseAudioModel) -> list[PresetRow]:
    """What auto, attention and all-linear stand for on this model."""
    presets = model.details.get("layers", {}).get("presets", {})
    return [PresetRow(name, ", ".join(layers)) for name, layers in presets.items() if layers]


def job_row(job: Job) -> UseRow:
    added = formats.when(job.created_at)
    return UseRow(
        href=f"/training/{job.id}",
        name=job.name,
        status=job.status.value,
        detail=_change(job.base_metrics, job.best_metrics),
        added=added.relative,
        added_exact=added.exact,
    )


def adapter_row(adapter: Adapter) -> UseRow:
    added = formats.when(adapter.created_at)
    return UseRow(
        href=f"/adapters/{adapter.id}",
        name=adapter.name,
        status=adapter.stage.value,
        detail=_change(adapter.base_metrics, adapter.metrics),
        added=added.relative,
        added_exact=added.exact,
    )


def source_text(model: BaseAudioModel) -> str:
    """Where a model came from, in a few words."""
    source = model.source
    if source.get("kind") == "hub":
        return f"Hugging Face: {source.get('repo_id', '')}"
    if source.get("kind") == "path":
        return f"Folder: {source.get('path', '')}"
    if source.get("kind") == "upload":
        return "Uploaded"
    if source.get("kind") == "merged":
        return "An adapter merged into its base"
    return "Comes with the studio"


def _change(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> str:
    metric = first_of(after)
    values = before.get(metric.key), after.get(metric.key)
    if None in values or not metric.is_share:
        return ""
    return f"{metric.short} {formats.percent(values[0])} to {formats.percent(values[1])}"


def _percent(model: BaseAudioModel) -> int:
    if model.status is not ModelStatus.DOWNLOADING or not model.size_bytes:
        return 0
    return min(100, 100 * model.downloaded_bytes // model.size_bytes)


def _progress(model: BaseAudioModel) -> str:
    if model.status is ModelStatus.CHECKING:
        return "Reading the weights"
    if model.status is not ModelStatus.DOWNLOADING:
        return ""
    if not model.size_bytes:
        return "Asking the Hub"
    return f"{formats.size(model.downloaded_bytes)} of {formats.size(model.size_bytes)}"


def _four_bit_size(model: BaseAudioModel) -> str:
    n_packed = count_packed(model.details.get("layers", {}))
    if not n_packed:
        return "–"
    return formats.size(n_packed * _NF4_BYTES_A_WEIGHT + (model.n_parameters - n_packed) * 4)
