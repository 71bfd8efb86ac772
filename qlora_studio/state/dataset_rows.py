"""What the page of a dataset shows, formatted."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from qlora_studio.contracts.enums import ClipStatus, DatasetStatus, Split, Task
from qlora_studio.db.models.dataset import Clip, ClipFinding, Dataset
from qlora_studio.ingest.quality import BY_KEY
from qlora_studio.state import formats
from qlora_studio.state.datasets import TASK_LABELS

N_BARS = 100  # of a waveform in the table; a row of 320 characters


@dataclass(frozen=True)
class DatasetView:
    """A dataset with its counts. `percent` and `speed` are of taking in."""

    id: str = ""
    name: str = ""
    description: str = ""
    task: str = ""
    is_classes: bool = False
    is_speech: bool = False
    status: str = ""
    error: str = ""
    is_upload: bool = False
    clips: str = ""
    hours: str = ""
    size: str = ""
    version: str = ""
    content_hash: str = ""
    added: str = ""
    added_exact: str = ""
    labels: str = ""
    n_left_out: int = 0
    left_out: str = ""
    train: str = ""
    validation: str = ""
    test: str = ""
    train_percent: float = 0.0
    validation_percent: float = 0.0
    test_percent: float = 0.0
    done: int = 0
    percent: int = 0
    progress: str = ""
    speed: str = ""
    owner: str = ""
    sharing: str = "private"
    may_change: bool = True
    may_train: bool = True

    def with_speed(self, clips_per_s: float) -> "DatasetView":
        """The same, saying how quickly clips are taken in."""
        is_busy = self.status == DatasetStatus.PROCESSING and clips_per_s > 0
        return replace(self, speed=f"{clips_per_s:,.0f} clips a second" if is_busy else "")


@dataclass(frozen=True)
class ReasonRow:
    """A kind of reason and how many clips it cost."""

    kind: str = ""
    count: str = ""


@dataclass(frozen=True)
class FindingRow:
    """What a check of the quality report says of a clip."""

    check: str = ""
    title: str = ""
    detail: str = ""


@dataclass(frozen=True)
class ClipRow:
    """One clip, formatted; `peaks` is base64 of low and high bytes in turn."""

    id: str = ""
    filename: str = ""
    text: str = ""
    label: str = ""
    speaker: str = ""
    split: str = ""
    status: str = ""
    reason: str = ""
    duration: str = ""
    duration_s: str = ""
    format: str = ""
    size: str = ""
    peak: str = ""
    loudness: str = ""
    peaks: str = ""
    findings: list[FindingRow] = field(default_factory=list)


LABELS_COME = {
    "corrections": "from corrected transcripts",
    "manifest": "from a table of labels",
    "transcript list": "from a list of what is said",
    "rttm": "from RTTM files",
    "text files": "from text files",
    "folders": "from folder names",
    "file names": "from file names",
    "none": "none were found",
}


def view_of(dataset: Dataset, counts: dict[Split, tuple[int, float]]) -> DatasetView:
    """Format a dataset. `counts` are usable clips and seconds by split."""
    added = formats.when(dataset.created_at)
    total = max(1, sum(n for n, _ in counts.values()))
    shares = {split: round(100 * n / total, 1) for split, (n, _) in counts.items()}
    texts = {s: f"{formats.count(n, 'clip')}, {formats.hours(seconds)}" for s, (n, seconds) in counts.items()}
    n_left_out = dataset.n_excluded + dataset.n_rejected
    return DatasetView(
        id=dataset.id,
        name=dataset.name,
        description=dataset.description,
        task=TASK_LABELS[dataset.task],
        is_classes=dataset.task is Task.AUDIO_CLASSIFICATION,
        is_speech=dataset.task is Task.SPEECH_TO_TEXT,
        status=dataset.status.value,
        error=dataset.error or "",
        is_upload=dataset.source.get("kind") == "upload",
        clips=formats.count(dataset.n_clips),
        hours=formats.hours(dataset.duration_s),
        size=formats.size(dataset.size_bytes),
        version=str(dataset.version),
        content_hash=dataset.content_hash[:12],
        added=added.relative,
        added_exact=added.exact,
        labels=LABELS_COME.get(str(dataset.source.get("labels")), ""),
        n_left_out=n_left_out,
        left_out=formats.count(n_left_out, "clip"),
        train=texts[Split.TRAIN],
        validation=texts[Split.VALIDATION],
        test=texts[Split.TEST],
        train_percent=shares[Split.TRAIN],
        validation_percent=shares[Split.VALIDATION],
        test_percent=shares[Split.TEST],
        done=dataset.progress_done,
        percent=100 * dataset.progress_done // max(1, dataset.progress_total),
        progress=_progress(dataset),
    )


def _progress(dataset: Dataset) -> str:
    if not dataset.progress_total:
        return "Looking at the files"
    done = f"{dataset.progress_done:,} of {formats.count(dataset.progress_total, 'file')}"
    return f"{done}, {formats.hours(dataset.duration_s)} of audio"


def reason_rows(reasons: list[tuple[str, int]]) -> list[ReasonRow]:
    """Format the counts of what could not be used."""
    return [ReasonRow(kind=kind, count=formats.count(n)) for kind, n in reasons]


def clip_row(clip: Clip, findings: Sequence[ClipFinding] = ()) -> ClipRow:
    """Format a clip, with what the checks say of it."""
    is_used = clip.status is not ClipStatus.REJECTED
    return ClipRow(
        id=clip.id,
        filename=clip.filename,
        text=clip.text or "",
        label=clip.label or "",
        speaker=clip.speaker or "",
        split=clip.split.value if is_used else "",
        status=clip.status.value,
        reason=clip.reason or "",
        duration=formats.duration(clip.duration_s) if is_used else "–",
        duration_s=f"{clip.duration_s:.3f}",
        format=_format(clip),
        size=formats.size(clip.size_bytes),
        peak=formats.percent(clip.peak, 0),
        loudness=f"{clip.loudness_db:.0f} dB" if clip.loudness_db is not None else "silent",
        peaks=peaks_text(clip.peaks),
        findings=[finding_row(finding) for finding in findings],
    )


def finding_row(finding: ClipFinding) -> FindingRow:
    """Format what a check says of a clip."""
    known = BY_KEY.get(finding.check)
    return FindingRow(finding.check, known.title if known else finding.check, finding.detail)


def _format(clip: Clip) -> str:
    if not clip.sample_rate:
        return ""
    channels = {1: "mono", 2: "stereo"}.get(clip.channels, f"{clip.channels} channels")
    return f"{clip.sample_rate / 1000:g} kHz, {channels}"


def peaks_text(peaks: bytes | None, n_bars: int = N_BARS) -> str:
    """Stored peaks as base64, with at most `n_bars` bars: low and high in turn."""
    if not peaks:
        return ""
    pairs = np.frombuffer(peaks, dtype=np.uint8).reshape(-1, 2)
    if len(pairs) > n_bars:
        starts = np.arange(n_bars) * len(pairs) // n_bars
        low, high = np.minimum.reduceat(pairs[:, 0], starts), np.maximum.reduceat(pairs[:, 1], starts)
        pairs = np.stack([low, high], axis=1)
    return base64.b64encode(pairs.astype(np.uint8).tobytes()).decode()
