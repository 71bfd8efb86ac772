"""Where a dataset from feedback came from: the feedback, the takes that it was given to, and their makers."""

from dataclasses import dataclass

from sqlalchemy import func
from sqlmodel import Session, col, select

from qlora_studio.core.errors import NotFound
from qlora_studio.core.ids import new_id
from qlora_studio.db.models import Adapter, Dataset, Generation, Take
from qlora_studio.ingest import history
from qlora_studio.services.feedback_filter import FeedbackFilter

_TAKE_ID = len(new_id("take"))  # clips are called after their takes
_AT_ONCE = 5_000


@dataclass(frozen=True)
class Makers:
    """Takes of a dataset that one adapter made (none: a model as it is), and in how many generations."""

    adapter: Adapter | None
    adapter_id: str | None
    n_generations: int
    n_takes: int


def is_of_feedback(dataset: Dataset) -> bool:
    """Whether its clips are takes that people rated or compared."""
    return dataset.source.get("kind") == "feedback"


def describe(dataset: Dataset) -> str:
    """What feedback it is made of, for people."""
    said = FeedbackFilter.model_validate(dataset.source.get("filter") or {}).describe()
    return said[:1].upper() + said[1:]


def find_makers(session: Session, dataset: Dataset, *, version: int) -> list[Makers]:
    """Return who made the takes of a version of a dataset, those who made the most first.

    A version that isn't known any more is taken to be the present one. Takes that were deleted don't count.
    """
    try:
        clips = history.clips_at(session, dataset, version)
    except NotFound:
        clips = history.clips_at(session, dataset)
    take_ids = sorted({clip.filename[:_TAKE_ID] for clip in clips})
    found: dict[str | None, list[int]] = {}
    for start in range(0, len(take_ids), _AT_ONCE):
        query = select(Generation.adapter_id, func.count(func.distinct(Generation.id)), func.count())
        query = query.select_from(Take).join(Generation, col(Generation.id) == Take.generation_id)
        query = query.where(col(Take.id).in_(take_ids[start : start + _AT_ONCE]))
        for adapter_id, n_generations, n_takes in session.exec(query.group_by(col(Generation.adapter_id))):
            counts = found.setdefault(adapter_id, [0, 0])
            counts[0] += n_generations
            counts[1] += n_takes
    makers = [
        Makers(session.get(Adapter, adapter_id) if adapter_id else None, adapter_id, *counts)
        for adapter_id, counts in found.items()
    ]
    return sorted(makers, key=lambda one: (-one.n_takes, one.adapter_id or ""))
