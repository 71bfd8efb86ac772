"""Deal a dataset's clips out to train, validation and test: shown first, then used."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, Field
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import ClipStatus, DatasetStatus, Split
from qlora_studio.contracts.spec import Strict
from qlora_studio.core.errors import Conflict, InvalidInput
from qlora_studio.db.models import Clip, Dataset, User
from qlora_studio.ingest import findings, splits, totals
from qlora_studio.services import access, audit
from qlora_studio.services.datasets import get_dataset

MAX_LISTED = 50
_NAMES = ("id", "sha256", "text", "label", "speaker", "split", "status", "duration_s")
_COLUMNS = [getattr(Clip, name) for name in _NAMES]


class SplitRequest(Strict):
    """How to deal out: shares that sum to 1, the seed of the choice, and what to heed.

    `stratify` deals out each label by itself (None: where clips have no words). `group_by_speaker` keeps all
    clips of a speaker on one side.
    """

    ratios: dict[Split, float]
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    stratify: bool | None = None
    group_by_speaker: bool = False


class SplitPart(BaseModel):
    """What one split holds, of the clips in use. `labels` has the largest ones."""

    n_clips: int = 0
    duration_s: float = 0.0
    n_speakers: int = 0
    n_labels: int = 0
    labels: dict[str, int] = Field(default_factory=dict)


class SplitPreview(BaseModel):
    """What dealing out would give. Shared ones are in several splits; `n_moved` clips would change theirs."""

    splits: dict[Split, SplitPart]
    n_moved: int
    n_shared_speakers: int
    shared_speakers: list[str]
    n_shared_texts: int


@dataclass(frozen=True)
class SplitPlan:
    """A way to deal out, made for one content; `moves` are the clips whose split changes."""

    dataset_id: str
    content_hash: str
    seed: int
    moves: dict[str, Split]
    preview: SplitPreview = field(repr=False)


def plan(session: Session, *, actor: User, dataset_id: str, form: SplitRequest) -> SplitPlan:
    """Work out how the clips would be dealt out. Nothing is changed; a reading session will do.

    Raises:
        NotFound: the dataset isn't the actor's.
        InvalidInput: ratios that aren't between 0 and 1, don't sum to 1, or leave nothing to train on.
        Conflict: it isn't ready.
    """
    dataset = get_dataset(session, actor=actor, dataset_id=dataset_id)
    _check_ratios(form.ratios)
    if dataset.status is not DatasetStatus.READY:
        raise Conflict("The dataset isn't ready yet.")
    sounds = findings.similar_sounds(session, dataset_id)
    where = (col(Clip.dataset_id) == dataset_id, col(Clip.status) != ClipStatus.REJECTED)
    clips = session.exec(select(*_COLUMNS).where(*where).order_by(col(Clip.position))).all()
    items = [
        splits.SplitItem(c.id, c.sha256, c.text, c.label, c.speaker, sounds.get(c.sha256)) for c in clips
    ]
    chosen = splits.assign(
        splits.untie_prompts(items, task=dataset.task),
        ratios=form.ratios,
        seed=form.seed,
        stratify=form.stratify,
        by_speaker=form.group_by_speaker,
    )
    return SplitPlan(
        dataset_id=dataset.id,
        content_hash=dataset.content_hash,
        seed=form.seed,
        moves={c.id: chosen[c.id] for c in clips if chosen[c.id] is not c.split},
        preview=_preview(clips, chosen),
    )


def apply(session: Session, *, actor: User, plan: SplitPlan) -> Dataset:
    """Use a plan: the dataset gets its next version, unless nothing moves.

    Raises:
        NotFound: the dataset isn't the actor's.
        Conflict: its content has changed since the plan was made.
    """
    access.require_role(actor, of="dataset")
    dataset = get_dataset(session, actor=actor, dataset_id=plan.dataset_id)
    if dataset.content_hash != plan.content_hash:
        raise Conflict("The dataset has changed meanwhile. Look at the splits again.")
    edits = {clip_id: {"split": split} for clip_id, split in plan.moves.items()}
    shares = ", ".join(f"{part.n_clips:,} {split.value}" for split, part in plan.preview.splits.items())
    summary = f"Split with seed {plan.seed}: {shares}"
    if totals.change(session, dataset, edits, summary=summary, actor_id=actor.id):
        audit.record(
            session,
            actor=actor,
            action="dataset.split",
            object_type="dataset",
            object_id=dataset.id,
            object_name=dataset.name,
        )
    return dataset


def deal_out(session: Session, *, actor: User, dataset_id: str, form: SplitRequest) -> Dataset:
    """Plan and use it in one writing session.

    Raises:
        NotFound, InvalidInput, Conflict: as `plan`.
    """
    return apply(session, actor=actor, plan=plan(session, actor=actor, dataset_id=dataset_id, form=form))


def _preview(clips: Iterable[Any], chosen: dict[str, Split]) -> SplitPreview:
    parts = {split: SplitPart() for split in Split}
    labels: dict[Split, Counter[str]] = {split: Counter() for split in Split}
    sides_of_speaker: dict[str, set[Split]] = defaultdict(set)
    sides_of_words: dict[str, set[Split]] = defaultdict(set)
    n_moved = 0
    for clip in clips:
        split = chosen[clip.id]
        n_moved += split is not clip.split
        if clip.status is not ClipStatus.OK:
            continue
        parts[split].n_clips += 1
        parts[split].duration_s += clip.duration_s
        if clip.label:
            labels[split][clip.label] += 1
        if clip.speaker:
            sides_of_speaker[clip.speaker].add(split)
        if words := splits.words_of(clip.text):
            sides_of_words[words].add(split)
    for split, part in parts.items():
        part.n_speakers = sum(split in sides for sides in sides_of_speaker.values())
        part.n_labels, part.labels = len(labels[split]), dict(labels[split].most_common(MAX_LISTED))
    shared = sorted(speaker for speaker, sides in sides_of_speaker.items() if len(sides) > 1)
    return SplitPreview(
        splits=parts,
        n_moved=n_moved,
        n_shared_speakers=len(shared),
        shared_speakers=shared[:MAX_LISTED],
        n_shared_texts=sum(len(sides) > 1 for sides in sides_of_words.values()),
    )


def _check_ratios(ratios: dict[Split, float]) -> None:
    message = ""
    if not all(math.isfinite(r) and 0 <= r <= 1 for r in ratios.values()):
        message = "Each ratio lies between 0 and 1."
    elif abs(sum(ratios.values()) - 1) > 0.005:
        message = "The ratios must sum to 1."
    elif ratios.get(Split.TRAIN, 0) <= 0:
        message = "Something must be left to train on: train is above 0."
    if message:
        raise InvalidInput(message, fields={"ratios": message})
