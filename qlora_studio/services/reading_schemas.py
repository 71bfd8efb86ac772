"""What is read of jobs as REST and the command line give it: curves, samples, comparisons."""

import math
from typing import Any

from pydantic import BaseModel

from qlora_studio.db.models import JobSample
from qlora_studio.jobs.metrics import Series
from qlora_studio.services import comparisons
from qlora_studio.services.comparisons import ComparedClip, Comparison, Output
from qlora_studio.services.job_schemas import JobPublic
from qlora_studio.services.words import Word, compare_output


class SeriesPublic(BaseModel):
    step: list[int]
    time: list[float]
    value: list[float | None]

    @classmethod
    def of(cls, series: Series) -> "SeriesPublic":
        """JSON has no word for not-a-number: such a value is null."""
        values = [v if math.isfinite(v) else None for v in series.value]
        return cls(step=series.step, time=series.time, value=values)


class WordPublic(BaseModel):
    """A word beside the reference: same, wrong or missing."""

    text: str
    kind: str

    @classmethod
    def of(cls, words: list[Word]) -> "list[WordPublic]":
        return [cls(text=word.text, kind=word.kind) for word in words]


class SamplePublic(BaseModel):
    """One clip at one evaluation; `words` and `base_words` are the transcripts beside the reference."""

    step: int
    clip_id: str
    reference: str
    base: str | None
    now: str
    error: float | None
    words: list[WordPublic]
    base_words: list[WordPublic]
    details: dict[str, Any]

    @classmethod
    def of(cls, sample: JobSample) -> "SamplePublic":
        return cls(
            **{name: getattr(sample, name) for name in set(cls.model_fields) - {"words", "base_words"}},
            words=WordPublic.of(compare_output(sample, sample.now)),
            base_words=WordPublic.of(compare_output(sample, sample.base)),
        )


class DifferencePublic(BaseModel):
    """A setting by its dotted name, and its value in each job."""

    key: str
    values: list[Any]


class MetricPublic(BaseModel):
    """A figure of held-out clips in each job."""

    key: str
    base: list[float | None]
    best: list[float | None]
    last: list[float | None]


class OutputPublic(BaseModel):
    """What one job made of the clip at its newest evaluation; all null where it has none."""

    step: int | None
    now: str | None
    error: float | None
    words: list[WordPublic]
    details: dict[str, Any]

    @classmethod
    def of(cls, output: Output) -> "OutputPublic":
        sample = output.sample
        if sample is None:
            return cls(step=None, now=None, error=None, words=[], details={})
        return cls(
            step=sample.step,
            now=sample.now,
            error=sample.error,
            words=WordPublic.of(output.words),
            details=sample.details,
        )


class ComparedClipPublic(BaseModel):
    clip_id: str
    reference: str
    outputs: list[OutputPublic]

    @classmethod
    def of(cls, row: ComparedClip) -> "ComparedClipPublic":
        return cls(
            clip_id=row.clip_id,
            reference=row.reference,
            outputs=[OutputPublic.of(output) for output in row.outputs],
        )


class ComparisonPublic(BaseModel):
    """Lists have one item for each job, in the order of `jobs`."""

    jobs: list[JobPublic]
    differences: list[DifferencePublic]
    metrics: list[MetricPublic]
    curves: list[dict[str, SeriesPublic]]
    samples: list[ComparedClipPublic]

    @classmethod
    def of(cls, found: Comparison, *, keys: list[str], max_points: int) -> "ComparisonPublic":
        """The public form of a comparison, with these curves (all of the training without any)."""
        job_ids = [view.job.id for view in found.views]
        curves = comparisons.read_curves(
            job_ids, keys or comparisons.curve_keys(job_ids), max_points=max_points
        )
        return cls(
            jobs=[JobPublic.of(view) for view in found.views],
            differences=[DifferencePublic(key=row.key, values=row.values) for row in found.differences],
            metrics=[
                MetricPublic(key=row.key, base=row.base, best=row.best, last=row.last)
                for row in found.metrics
            ],
            curves=[{key: SeriesPublic.of(series) for key, series in one.items()} for one in curves],
            samples=[ComparedClipPublic.of(row) for row in found.clips],
        )
