"""The dialog that deals a dataset's clips out anew: what it would give is shown before it is used."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import reflex as rx
from pydantic import ValidationError
from typing_extensions import TypedDict

from qlora_studio.contracts.enums import Role, Split
from qlora_studio.core.errors import Conflict, InvalidInput
from qlora_studio.db import engine
from qlora_studio.db.models.user import User
from qlora_studio.services import datasets, reports, splits
from qlora_studio.services.splits import SplitPlan, SplitPreview, SplitRequest
from qlora_studio.state import formats
from qlora_studio.state.auth import authorized
from qlora_studio.state.dataset import DatasetState
from qlora_studio.state.dataset_clips import ClipsState
from qlora_studio.state.dataset_quality import QualityState
from qlora_studio.state.dialogs import DialogState

_SHOWN = 4
_NAMES = {Split.TRAIN: "Train", Split.VALIDATION: "Validation", Split.TEST: "Test"}


class SplitFields(TypedDict, total=False):
    """The form; shares in percent; a switch that isn't there comes as None.

    `has_labels` is sent where there is a choice about labels.
    """

    validation: str
    test: str
    seed: str
    has_labels: str
    stratify: str | bool | None
    by_speaker: str | bool


@dataclass(frozen=True)
class PartRow:
    """What one split would hold."""

    name: str = ""
    clips: str = ""
    audio: str = ""
    speakers: str = ""
    labels: str = ""
    share: str = ""


@dataclass(frozen=True)
class PreviewView:
    """What dealing out would give; `moved` is empty while there is no preview."""

    parts: list[PartRow] = field(default_factory=list)
    moved: str = ""
    changes: bool = False
    warnings: list[str] = field(default_factory=list)


class SplitState(DialogState, rx.State):
    """The dialog. A preview is of the form that was sent and of the content as it was then."""

    _request: dict[str, Any] = {}
    _content: str = ""
    _turn: int = 0  # of the form: a plan made for a former one isn't shown

    preview: PreviewView = PreviewView()
    by_speaker: bool = False
    has_labels: bool = False
    is_planning: bool = False
    is_sending: bool = False
    field_errors: dict[str, str] = {}

    @rx.event
    @authorized(Role.TRAINER)
    async def open(self, actor: User, by_speaker: bool):
        """Open the dialog; `by_speaker` ticks that speakers stay on one side."""
        self._start_over()
        self.has_labels = await asyncio.to_thread(_has_labels, actor, self.dataset_id)
        self.by_speaker, self.dialog, self.field_errors = by_speaker, "split", {}

    @rx.event
    @authorized()
    async def start_over(self):
        """The form has changed: what is shown isn't what it says any more."""
        self._start_over()

    def _start_over(self) -> None:
        self._turn, self._request, self.preview, self.is_planning = self._turn + 1, {}, PreviewView(), False

    @rx.event(background=True)
    @authorized(Role.TRAINER)
    async def plan(self, actor: User, form: SplitFields):
        """Show what the form would give. Of many clips that takes a while, so it is done beside the rest."""
        request = request_of(form)
        async with self:
            self._start_over()
            self.field_errors, self.is_planning = {}, True
            turn, dataset_id = self._turn, self.dataset_id
        try:
            made = await asyncio.to_thread(_plan, actor, dataset_id, request)
        finally:
            async with self:
                self.is_planning = False
        async with self:
            if turn == self._turn:
                self._request, self._content = request.model_dump(mode="json"), made.content_hash
                self.preview = preview_of(made.preview)

    @rx.event
    @authorized(Role.TRAINER)
    async def apply(self, actor: User):
        """Use what was shown; if the clips have changed since, say so instead."""
        if not self._request:
            return
        self.is_sending = True
        yield
        try:
            await asyncio.to_thread(_apply, actor, self.dataset_id, self._request, self._content)
        finally:
            self.is_sending = False
            self._start_over()
        self.dialog = ""
        yield rx.toast.success("The clips are dealt out anew")
        yield DatasetState.refresh
        yield ClipsState.load
        yield QualityState.load


def request_of(form: SplitFields) -> SplitRequest:
    """Read the form.

    Raises:
        InvalidInput: a field isn't a number, or out of bounds.
    """
    shares: dict[str, float] = {}
    for name in ("validation", "test"):
        try:
            shares[name] = float(form.get(name) or 0) / 100
        except ValueError:
            raise InvalidInput("Give a number.", fields={name: "Give a number."}) from None
        if not 0 <= shares[name] <= 0.9:
            raise InvalidInput("Out of bounds.", fields={name: "Between 0 and 90."})
    ratios = {Split.VALIDATION: shares["validation"], Split.TEST: shares["test"]}
    ratios[Split.TRAIN] = 1 - sum(ratios.values())
    stratify = bool(form.get("stratify")) if "has_labels" in form else None
    try:
        seed = int(form.get("seed") or 0)
        return SplitRequest(
            ratios=ratios, seed=seed, stratify=stratify, group_by_speaker=bool(form.get("by_speaker"))
        )
    except (ValueError, ValidationError):
        raise InvalidInput("Wrong seed.", fields={"seed": "A whole number from 0 on."}) from None


def preview_of(preview: SplitPreview) -> PreviewView:
    """Format what dealing out would give."""
    total = max(1, sum(part.n_clips for part in preview.splits.values()))
    parts = [
        PartRow(
            name=_NAMES[split],
            clips=formats.count(part.n_clips),
            share=formats.percent(part.n_clips / total, 0),
            audio=formats.hours(part.duration_s),
            speakers=formats.count(part.n_speakers) if part.n_speakers else "–",
            labels=_labels(part.labels, part.n_labels),
        )
        for split, part in preview.splits.items()
    ]
    warnings = []
    if preview.n_shared_speakers:
        named = ", ".join(preview.shared_speakers[:_SHOWN])
        more = ", …" if preview.n_shared_speakers > _SHOWN else ""
        n = formats.count(preview.n_shared_speakers, "speaker is", "speakers are")
        warnings.append(f"{n} in several splits ({named}{more}); results look better than they are.")
    if preview.n_shared_texts:
        n = formats.count(preview.n_shared_texts, "text is", "texts are")
        warnings.append(f"{n} said in several splits.")
    moved = formats.count(preview.n_moved, "clip changes its split", "clips change their split")
    return PreviewView(parts, moved if preview.n_moved else "Nothing changes.", preview.n_moved > 0, warnings)


def _labels(labels: dict[str, int], n_labels: int) -> str:
    shown = [f"{label} {n:,}" for label, n in list(labels.items())[:_SHOWN]]
    more = [f"{n_labels - len(shown):,} more"] if n_labels > len(shown) else []
    return ", ".join(shown + more) or "–"


def _has_labels(actor: User, dataset_id: str) -> bool:
    with engine.read() as session:
        datasets.get_dataset(session, actor=actor, dataset_id=dataset_id)
        return bool(reports.list_labels(session, dataset_id=dataset_id)[1])


def _plan(actor: User, dataset_id: str, request: SplitRequest) -> SplitPlan:
    with engine.read() as session:
        return splits.plan(session, actor=actor, dataset_id=dataset_id, form=request)


def _apply(actor: User, dataset_id: str, request: dict[str, Any], content: str) -> None:
    """Plan once more, outside the writing session, and use it if it is still what was shown."""
    made = _plan(actor, dataset_id, SplitRequest.model_validate(request))
    if made.content_hash != content:
        raise Conflict("The dataset has changed meanwhile. Look at the preview again.")
    with engine.write() as session:
        splits.apply(session, actor=actor, plan=made)
