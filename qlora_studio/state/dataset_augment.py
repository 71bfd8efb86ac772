"""How training clips are varied: set, heard beside the original, and kept for the jobs to come."""

import asyncio
import json
import random
from dataclasses import dataclass
from typing import Any, ClassVar

import reflex as rx
from pydantic import BaseModel, ValidationError

from qlora_studio.contracts.enums import ClipStatus, Role, Split
from qlora_studio.contracts.spec import (
    AugmentationSpec,
    FrequencyMaskSpec,
    GainSpec,
    NoiseSpec,
    TimeMaskSpec,
)
from qlora_studio.core.errors import InvalidInput, NotFound
from qlora_studio.db import engine
from qlora_studio.db.models.user import User
from qlora_studio.services import clips, datasets
from qlora_studio.services.datasets import DatasetUpdate
from qlora_studio.services.job_checks import fields_of
from qlora_studio.state.auth import authorized
from qlora_studio.state.dataset_rows import ClipRow, clip_row
from qlora_studio.state.dataset_tabs import DatasetTab

PARTS: dict[str, type[BaseModel]] = {
    "noise": NoiseSpec,
    "gain": GainSpec,
    "time_masks": TimeMaskSpec,
    "frequency_masks": FrequencyMaskSpec,
}
_PERCENT = ("probability", "max_share")  # shown in percent
_CLIPS_OFFERED = 50


@dataclass(frozen=True)
class Choice:
    """The clips that can be heard, and the one that is."""

    clip: ClipRow
    offered: list[list[str]]


class AugmentState(DatasetTab, rx.State):
    """The tab. `values` are the fields as typed, by `part.field`; `trial` is what the preview asks for."""

    _tab: ClassVar[str] = "augment"
    _shown_id: str = ""

    on: dict[str, bool] = {}
    values: dict[str, str] = {}
    clip: ClipRow = ClipRow()
    clips: list[list[str]] = []
    draw: int = 0
    trial: str = ""
    is_changed: bool = False
    is_sending: bool = False
    is_loading: bool = True
    field_errors: dict[str, str] = {}

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show the setting and the clip that the address names; what was typed and not saved stays."""
        if not self._is_open():
            return
        clip_id = dict(self.router.url.query_parameters).get("clip", "")[:32]
        try:
            spec, choice = await asyncio.to_thread(_load, actor, self.dataset_id, clip_id)
        except NotFound:  # the head of the page says so
            return
        if self._shown_id != self.dataset_id or not self.is_changed:
            self._shown_id, self.is_changed, self.field_errors = self.dataset_id, False, {}
            self.on, self.values = switches_of(spec), values_of(spec)
        self.clip, self.clips, self.is_loading = choice.clip, choice.offered, False
        self._try()

    @rx.event
    @authorized()
    async def switch(self, part: str, is_on: bool):
        """Turn a part on or off."""
        if part in PARTS:
            self.on = self.on | {part: is_on}
            self._changed()

    @rx.event
    @authorized()
    async def set_value(self, name: str, text: str):
        """Take in what a field says."""
        if name in self.values:
            self.values = self.values | {name: text[:20]}
            self._changed()

    def _changed(self) -> None:
        self.is_changed = True
        self._try()

    def _try(self) -> None:
        """Say what the preview shall ask for; while a field is wrong it asks for what it did before."""
        try:
            spec = spec_of(self.on, self.values)
        except InvalidInput as error:
            self.field_errors = error.fields
            return
        self.field_errors = {}
        asked = {"augmentation": spec.model_dump(exclude_none=True), "epoch": self.draw}
        self.trial = json.dumps(asked) if spec.is_on else ""

    @rx.event
    @authorized()
    async def draw_again(self):
        """Hear another variation of the same clip: what the next epoch would hear."""
        self.draw += 1
        self._try()

    @rx.event
    @authorized()
    async def choose(self, clip_id: str):
        """Hear another clip."""
        return rx.redirect(f"/datasets/{self.dataset_id}?tab=augment&clip={clip_id[:32]}", replace=True)

    @rx.event
    @authorized()
    async def choose_any(self, actor: User):
        """Hear any training clip."""
        found = await asyncio.to_thread(_any_clip, actor, self.dataset_id)
        return AugmentState.choose(found) if found else None

    @rx.event
    @authorized(Role.TRAINER)
    async def save(self, actor: User):
        """Keep the setting; jobs that are launched from now on use it."""
        spec = spec_of(self.on, self.values)
        self.is_sending = True
        yield
        try:
            await asyncio.to_thread(_save, actor, self.dataset_id, spec)
            self.is_changed = False
        finally:
            self.is_sending = False
        yield rx.toast.success(
            "Saved for the next jobs" if spec.is_on else "Clips are trained on as they are"
        )


def switches_of(spec: AugmentationSpec) -> dict[str, bool]:
    """Which parts are on."""
    return {part: getattr(spec, part) is not None for part in PARTS}


def values_of(spec: AugmentationSpec) -> dict[str, str]:
    """The fields of all parts as text; those of a part that is off are its defaults."""
    values: dict[str, str] = {}
    for part, kind in PARTS.items():
        shown = getattr(spec, part) or kind()
        for name, value in shown.model_dump().items():
            values[f"{part}.{name}"] = f"{value * (100 if name in _PERCENT else 1):g}"
    return values


def spec_of(on: dict[str, bool], values: dict[str, str]) -> AugmentationSpec:
    """Read the fields of the parts that are on.

    Raises:
        InvalidInput: some are wrong; `fields` are named `part.field`, or `part` for two that don't fit.
    """
    typed: dict[str, Any] = {}
    for name, text in values.items():
        part, _, key = name.partition(".")
        if on.get(part):
            try:
                number = float(text)
            except ValueError:
                raise InvalidInput("Not a number.", fields={name: "Give a number."}) from None
            typed.setdefault(part, {})[key] = round(number / 100, 6) if key in _PERCENT else number
    try:
        return AugmentationSpec.model_validate(typed)
    except ValidationError as error:
        raise InvalidInput("Some fields are wrong.", fields=fields_of(error)) from error


def _load(actor: User, dataset_id: str, clip_id: str) -> tuple[AugmentationSpec, Choice]:
    asked: dict[str, Any] = {"actor": actor, "dataset_id": dataset_id}
    with engine.read() as session:
        dataset = datasets.get_dataset(session, **asked)
        found, _ = clips.list_clips(
            session, split=Split.TRAIN, status=ClipStatus.OK, page_size=_CLIPS_OFFERED, **asked
        )
        chosen = clips.get_clip(session, actor=actor, clip_id=clip_id) if clip_id else None
        if chosen is None or chosen.dataset_id != dataset_id:
            chosen = found[0] if found else None
        elif all(clip.id != chosen.id for clip in found):
            found.insert(0, chosen)
        choice = Choice(
            clip=clip_row(chosen) if chosen else ClipRow(),
            offered=[[clip.id, clip.filename] for clip in found],
        )
        return AugmentationSpec.model_validate(dataset.augmentation), choice


def _any_clip(actor: User, dataset_id: str) -> str:
    asked: dict[str, Any] = {"actor": actor, "dataset_id": dataset_id, "page_size": 1}
    asked |= {"split": Split.TRAIN, "status": ClipStatus.OK}
    with engine.read() as session:
        _, total = clips.list_clips(session, **asked)
        found, _ = clips.list_clips(session, page=random.randint(1, max(1, total)), **asked)
    return found[0].id if found else ""


def _save(actor: User, dataset_id: str, spec: AugmentationSpec) -> None:
    with engine.write() as session:
        datasets.update(session, actor=actor, dataset_id=dataset_id, form=DatasetUpdate(augmentation=spec))
