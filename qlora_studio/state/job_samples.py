"""The sample panel of a job as its page shows it: what a clip is, and what the model made of it."""

from dataclasses import dataclass
from typing import Any

from qlora_studio.db.models import Clip, JobSample
from qlora_studio.services.sample_sounds import Which, read_shape
from qlora_studio.services.words import Word, compare
from qlora_studio.state import formats
from qlora_studio.state.dataset_rows import peaks_text
from qlora_studio.state.timelines import NOTHING, Timeline, timeline_of


@dataclass(frozen=True)
class ClassRow:
    """A class that a clip may be of, and how likely the model finds it."""

    label: str
    share: str
    is_right: bool


@dataclass(frozen=True)
class SoundRow:
    """A sound that the model made, as a player takes it."""

    name: str
    label: str
    src: str
    seconds: str
    peaks: str


@dataclass(frozen=True)
class SampleRow:
    """One clip of the fixed panel.

    `classes` are the likeliest ones, `sounds` those made, `timeline` who speaks when, where there are any.
    """

    clip_id: str
    duration_s: str
    peaks: str
    reference: str
    base: list[Word]
    has_base: bool
    now: list[Word]
    classes: list[ClassRow]
    sounds: list[SoundRow]
    verdict: str
    is_right: bool
    timeline: Timeline = NOTHING


def sample_row(sample: JobSample, clip: Clip | None) -> SampleRow:
    """Return one clip of the panel: its words compared, its likeliest classes, or who speaks when in it."""
    timeline = timeline_of(
        sample.reference, sample.base, sample.now, duration_s=clip.duration_s if clip else None
    )
    if timeline.speakers:
        return _speakers_row(sample, clip, timeline)
    classes = [_class_row(top, sample.reference) for top in sample.details.get("top", [])]
    return SampleRow(
        clip_id=clip.id if clip else sample.clip_id,
        duration_s=f"{clip.duration_s:.3f}" if clip else "",
        peaks=peaks_text(clip.peaks) if clip else "",
        reference=sample.reference,
        base=[Word(sample.base or "", "same")] if classes else compare(sample.reference, sample.base or ""),
        has_base=sample.base is not None,
        now=compare(sample.reference, sample.now),
        classes=classes,
        sounds=_sound_rows(sample),
        verdict=_verdict(sample, has_classes=bool(classes)),
        is_right=sample.now == sample.reference if classes else sample.error == 0,
    )


def _speakers_row(sample: JobSample, clip: Clip | None, timeline: Timeline) -> SampleRow:
    return SampleRow(
        clip_id=sample.clip_id,
        duration_s=f"{clip.duration_s:.3f}" if clip else "",
        peaks=peaks_text(clip.peaks) if clip else "",
        reference=", ".join(speaker.name for speaker in timeline.speakers),
        base=[],
        has_base=sample.base is not None,
        now=[],
        classes=[],
        sounds=[],
        verdict="Exact" if sample.error == 0 else f"DER {formats.percent(sample.error, 0)}",
        is_right=sample.error == 0,
        timeline=timeline,
    )


def _class_row(top: dict[str, Any], reference: str) -> ClassRow:
    label = str(top["label"])
    return ClassRow(label, formats.percent(top["probability"], 0), label == reference)


def _sound_rows(sample: JobSample) -> list[SoundRow]:
    """What the base model made of the clip's text, and what the model makes of it now."""
    rows = []
    names: dict[Which, str] = {"base": "Base", "now": "Now"}
    for which, name in names.items():
        shape = read_shape(sample, which)
        if shape is None or (which == "base" and sample.step == 0):  # then it is the same sound twice
            continue
        src = f"/api/v1/jobs/{sample.job_id}/samples/{sample.step}/{sample.clip_id}/sound?of={which}"
        label = f"{name}: {sample.reference}"
        rows.append(SoundRow(name, label, src, f"{shape.seconds:.3f}", peaks_text(shape.peaks)))
    return rows


def _verdict(sample: JobSample, *, has_classes: bool) -> str:
    """How right an output is; of a class, how likely the model finds the right one."""
    if "sound" in sample.details:
        return "Not measured" if sample.error is None else f"{sample.error:.1f} dB from the recording"
    if not has_classes:
        return "Exact" if sample.error == 0 else f"{formats.percent(sample.error, 0)} wrong"
    sure = formats.percent(None if sample.error is None else 1 - sample.error, 0)
    return f"Right, {sure} sure" if sample.now == sample.reference else f"Wrong, {sure} for the right class"
