"""Transcribe, correct, retrain: a model writes clips down, people correct it, and that becomes a dataset."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import func, insert, literal
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import ClipStatus, DatasetStatus, DictationStatus, Split, Task
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import Conflict, InvalidInput, NotFound, TooLarge
from qlora_studio.db.commits import after_commit
from qlora_studio.db.models import Clip, Dataset, Dictation, Transcript, User
from qlora_studio.ingest import splits, totals
from qlora_studio.services import access, adapters, audit, dataset_sources, dictating, inference, models
from qlora_studio.services.access import Action
from qlora_studio.services.datasets import get_dataset
from qlora_studio.services.dictation_schemas import Applied, DictationCreate
from qlora_studio.services.trial_clips import TrialClip

Show = Literal["open", "checked"]
_COPIED = set(Clip.model_fields) - {"id", "dataset_id", "position", "text", "split", "exclusion_id", "reason"}


def start(
    session: Session, *, actor: User, dataset_id: str, form: DictationCreate, in_background: bool = True
) -> Dictation:
    """Have a model write down a dataset's clips, one by one.

    Args:
        in_background: begin in a thread of this process as soon as the row is on disk.

    Raises:
        Forbidden: the actor's role may only listen.
        NotFound: the dataset, the model or the adapter isn't there, or isn't the actor's.
        InvalidInput: they don't go together, or there is no clip to write down.
        Conflict: the dataset or the model isn't ready, or the dataset is being written down already.
    """
    access.require_role(actor, of="dictation")
    dataset = get_dataset(session, actor=actor, dataset_id=dataset_id)
    if dataset.task is not Task.SPEECH_TO_TEXT:
        raise InvalidInput("Only recordings of speech can be written down.")
    if dataset.status is not DatasetStatus.READY:
        raise Conflict("The dataset isn't ready yet.")
    session.refresh(dataset, with_for_update=True)  # a second click waits here
    active = select(Dictation.id).where(
        Dictation.dataset_id == dataset.id, col(Dictation.status).in_(dictating.ACTIVE)
    )
    if session.exec(active).first() is not None:
        raise Conflict("These clips are being written down already. Stop that first.")
    dictation = _new(session, actor, dataset, form)
    session.add(dictation)
    session.flush()
    audit.record(
        session,
        actor=actor,
        action="dictation.start",
        object_type="dictation",
        object_id=dictation.id,
        object_name=dataset.name,
        details={"model": dictation.model_name, "adapter": dictation.adapter_name},
    )
    _list_clips(session, dictation, _wanted(dataset, form))
    if in_background:
        waiting = (dictation.id, dictation.owner_id)
        after_commit(session, lambda: dictating.launch(*waiting))
    return dictation


def _new(session: Session, actor: User, dataset: Dataset, form: DictationCreate) -> Dictation:
    nothing = TrialClip("", Path(), 0.0)
    asked = form.model_dump(exclude={"clips"}) | {"adapter_id": form.adapter_id or None}
    inference.prepare(session, actor=actor, clip=nothing, task=Task.SPEECH_TO_TEXT, **asked)
    counted = select(func.count()).select_from(Clip).where(*_wanted(dataset, form))
    n_clips = session.exec(counted).one()
    if not n_clips:
        sentence = "Every clip has its words already. Choose all clips to have them written down anew."
        raise InvalidInput(sentence, fields={"clips": sentence})
    dictation = Dictation(owner_id=actor.id, dataset_id=dataset.id, model_name="", n_clips=n_clips, **asked)
    dictation.model_name = models.get_model(
        session, actor=actor, model_id=form.model_id, action=Action.TRY
    ).name
    if dictation.adapter_id:
        view = adapters.get_view(session, actor=actor, adapter_id=dictation.adapter_id, action=Action.TRY)
        dictation.adapter_name = view.adapter.name
    return dictation


def _wanted(dataset: Dataset, form: DictationCreate) -> list[Any]:
    usable = [col(Clip.dataset_id) == dataset.id, col(Clip.status) == ClipStatus.OK]
    return usable if form.clips == "all" else [*usable, func.coalesce(Clip.text, "") == ""]


def _list_clips(session: Session, dictation: Dictation, where: Sequence[Any]) -> None:
    columns = ("dictation_id", "clip_id", "position", "error")
    clips = select(literal(dictation.id), Clip.id, Clip.position, literal("")).where(*where)
    session.connection().execute(insert(Transcript).from_select(columns, clips))


def get_dictation(session: Session, *, actor: User, dictation_id: str) -> Dictation:
    """Return one of the actor's dictations.

    Raises:
        NotFound: it isn't there, or isn't the actor's.
    """
    dictation = session.get(Dictation, dictation_id)
    if dictation is None or dictation.owner_id != actor.id:
        raise NotFound("There is no such dictation.")
    return dictation


def list_dictations(
    session: Session, *, actor: User, dataset_id: str, page: int = 1, page_size: int = 25
) -> tuple[list[Dictation], int]:
    """Return one page of a dataset's dictations, newest first, and how many there are.

    Raises:
        NotFound: the dataset isn't the actor's.
    """
    get_dataset(session, actor=actor, dataset_id=dataset_id)
    where = col(Dictation.dataset_id) == dataset_id
    total = session.exec(select(func.count()).select_from(Dictation).where(where)).one()
    rows = select(Dictation).where(where).order_by(col(Dictation.created_at).desc(), col(Dictation.id).desc())
    return list(session.exec(rows.offset((page - 1) * page_size).limit(page_size))), total


def list_transcripts(
    session: Session,
    *,
    actor: User,
    dictation_id: str,
    show: Show | None = None,
    query: str = "",
    page: int = 1,
    page_size: int = 25,
) -> tuple[list[tuple[Transcript, Clip]], int]:
    """Return one page of what was heard in which clip, in the dataset's order, and how many match.

    Args:
        show: only what still has to be looked at, or only what has been.
        query: part of what was heard or said, or of the file's name.

    Raises:
        NotFound: the dictation isn't the actor's.
    """
    get_dictation(session, actor=actor, dictation_id=dictation_id)
    where: list[Any] = [col(Transcript.dictation_id) == dictation_id]
    if show is not None:
        where.append(col(Transcript.text).is_(None) if show == "open" else col(Transcript.text).is_not(None))
    if words := query.strip():
        where.append(
            col(Transcript.heard).icontains(words, autoescape=True)
            | col(Transcript.text).icontains(words, autoescape=True)
            | col(Clip.filename).icontains(words, autoescape=True)
        )
    is_same = col(Clip.id) == col(Transcript.clip_id)
    total = session.exec(select(func.count()).select_from(Transcript).join(Clip, is_same).where(*where)).one()
    both = select(Transcript, Clip).join(Clip, is_same).where(*where)
    rows = both.order_by(col(Transcript.position)).offset((page - 1) * page_size).limit(page_size)
    return list(session.exec(rows)), total


def put(session: Session, *, actor: User, dictation_id: str, clip_id: str, text: str) -> Transcript:
    """Say what was really said in a clip; an empty text takes that back.

    Raises:
        NotFound: it isn't the actor's, or the clip isn't one of it.
    """
    dictation = _locked(session, actor, dictation_id)
    row = session.get(Transcript, (dictation.id, clip_id))
    if row is None:
        raise NotFound("There is no such clip in this dictation.")
    after = " ".join(text.split()) or None
    dictation.n_checked += (after is not None) - (row.text is not None)
    row.text = after
    session.add_all([dictation, row])
    return row


def accept(session: Session, *, actor: User, dictation_id: str, clip_ids: Collection[str]) -> int:
    """Say that the model heard these clips rightly; those that have been looked at stay. Returns how many.

    Raises:
        NotFound: it isn't the actor's.
    """
    dictation = _locked(session, actor, dictation_id)
    rows = select(Transcript).where(
        Transcript.dictation_id == dictation.id,
        col(Transcript.clip_id).in_(clip_ids),
        col(Transcript.text).is_(None),
        func.coalesce(Transcript.heard, "") != "",
    )
    found = list(session.exec(rows))
    for row in found:
        row.text = row.heard
        session.add(row)
    dictation.n_checked += len(found)
    session.add(dictation)
    return len(found)


def stop(session: Session, *, actor: User, dictation_id: str) -> Dictation:
    """Write down no more; what was heard stays. One that has ended stays as it is.

    Raises:
        NotFound: it isn't the actor's.
    """
    dictation = _locked(session, actor, dictation_id)
    if dictation.status in dictating.ACTIVE:
        dictation.status, dictation.finished_at = DictationStatus.STOPPED, utc_now()
        session.add(dictation)
    return dictation


def remove(session: Session, *, actor: User, dictation_id: str) -> None:
    """Delete a dictation with what was heard and corrected; texts that were taken over stay.

    Raises:
        NotFound: it isn't the actor's.
    """
    dictation = _locked(session, actor, dictation_id)
    audit.record(
        session, actor=actor, action="dictation.delete", object_type="dictation", object_id=dictation.id
    )
    session.delete(dictation)


def apply(session: Session, *, actor: User, dictation_id: str) -> Applied:
    """Give the dataset's clips the corrected texts, as its next version.

    Raises:
        NotFound: it isn't the actor's.
        Conflict: nothing was looked at yet, or the dataset isn't ready.
    """
    dictation = _locked(session, actor, dictation_id)
    dataset = get_dataset(session, actor=actor, dataset_id=dictation.dataset_id)
    if dataset.status is not DatasetStatus.READY:
        raise Conflict("The dataset isn't ready yet.")
    edits = {clip.id: {"text": text} for clip, text in _checked(session, dictation)}
    summary = f"Texts corrected after {dictation.adapter_name or dictation.model_name}"
    n_changed = totals.change(session, dataset, edits, summary=summary, actor_id=actor.id)
    audit.record(
        session,
        actor=actor,
        action="dictation.apply",
        object_type="dataset",
        object_id=dataset.id,
        object_name=dataset.name,
        details={"dictation": dictation.id, "clips": n_changed},
    )
    return Applied(n_changed=n_changed, version=dataset.version)


def make_dataset(session: Session, *, actor: User, dictation_id: str, name: str) -> Dataset:
    """Make a dataset of the clips that were looked at, with their corrected texts.

    Recordings are shared with the dataset they come from, not copied. Splits stay; where none is held out,
    a share is.

    Raises:
        NotFound: it isn't the actor's.
        Conflict: nothing was looked at yet.
        TooLarge: the account keeps as much as it may.
    """
    dictation = _locked(session, actor, dictation_id)
    dataset_sources.check_count(session, actor=actor)
    checked = _checked(session, dictation)
    if sum(clip.size_bytes for clip, _ in checked) > dataset_sources.left_bytes(session, actor=actor):
        raise TooLarge(
            "There is no room for these clips in your space. Delete datasets that you no longer need."
        )
    source = {
        "kind": "corrections",
        "labels": "corrections",
        "dictation_id": dictation.id,
        "dataset_id": dictation.dataset_id,
    }
    dataset = Dataset(
        owner_id=actor.id,
        name=name,
        description=f"Corrected after {dictation.adapter_name or dictation.model_name}",
        task=Task.SPEECH_TO_TEXT,
        status=DatasetStatus.READY,
        source=source,
    )
    session.add(dataset)
    session.flush()
    copies = [
        Clip(
            dataset_id=dataset.id, position=i, text=text, split=clip.split, **clip.model_dump(include=_COPIED)
        )
        for i, (clip, text) in enumerate(checked)
    ]
    _hold_out(copies)
    session.add_all(copies)
    totals.refresh(session, dataset, summary="Corrected", actor_id=actor.id)
    audit.record(
        session,
        actor=actor,
        action="dataset.create",
        object_type="dataset",
        object_id=dataset.id,
        object_name=dataset.name,
        details=source,
    )
    return dataset


def _hold_out(copies: Sequence[Clip]) -> None:
    if {Split.TRAIN, Split.VALIDATION} <= {clip.split for clip in copies}:
        return
    items = [splits.SplitItem(clip.id, clip.sha256, clip.text, clip.label) for clip in copies]
    chosen = splits.assign(items, ratios=splits.DEFAULT_RATIOS, seed=0)
    for clip in copies:
        clip.split = chosen[clip.id]


def _checked(session: Session, dictation: Dictation) -> list[tuple[Clip, str]]:
    """The usable clips that were looked at, with what was said; at least one."""
    rows = select(Clip, Transcript.text).join(Transcript, col(Transcript.clip_id) == col(Clip.id))
    rows = rows.where(
        Transcript.dictation_id == dictation.id,
        col(Transcript.text).is_not(None),
        col(Clip.status) == ClipStatus.OK,
    )
    found = [(clip, text) for clip, text in session.exec(rows.order_by(col(Clip.position))) if text]
    if not found:
        raise Conflict("Look at some clips first: correct them, or say that they are right.")
    return found


def _locked(session: Session, actor: User, dictation_id: str) -> Dictation:
    """A dictation to change; two changes at once come one after the other."""
    access.require_role(actor, of="dictation")
    dictation = get_dictation(session, actor=actor, dictation_id=dictation_id)
    session.refresh(dictation, with_for_update=True)
    return dictation
