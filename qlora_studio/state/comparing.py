"""The same text and seeds made otherwise: by the base model alone, or by another adapter."""

import asyncio

import reflex as rx

from qlora_studio.contracts.enums import Role
from qlora_studio.contracts.inference import MAX_STRENGTH
from qlora_studio.core.errors import StudioError
from qlora_studio.db import engine as db
from qlora_studio.db.models import User
from qlora_studio.services import twins
from qlora_studio.services.twins import Makers
from qlora_studio.state.auth import authorized

BASE = "base"  # a choice needs a value of its own


class ComparingState(rx.State, mixin=True):
    """A dialog that asks with what a generation is compared. The two are then `_pair`, A and B."""

    _pair: tuple[str, ...] = ()
    _makers: Makers | None = None

    comparing_id: str = ""
    comparing_name: str = ""
    compared_by: str = ""
    makers: list[tuple[str, str]] = []
    other: str = BASE
    other_strength: str = "1"
    compare_refusal: str = ""
    is_comparing: bool = False

    @rx.event
    @authorized(Role.TRAINER)
    async def ask_compare(self, actor: User, generation_id: str):
        """Ask what a generation is compared with."""
        row = next((row for row in self.rows if row.id == generation_id), None)
        found = await asyncio.to_thread(_read_makers, actor, generation_id)
        made = found.generation
        self._makers, self.compare_refusal = found, ""
        base = [(BASE, "Base model alone")] if made.adapter_id else []
        self.makers = [*base, *found.adapters]
        self.comparing_name, self.compared_by = made.prompt, row.made_by if row else made.model_name
        self._choose_other(self.makers[0][0] if self.makers else "")
        self.comparing_id = made.id

    @rx.event
    @authorized()
    async def choose_other(self, other: str):
        """Compare with another adapter, or with the base model."""
        self._choose_other(other)

    @rx.event
    @authorized()
    async def set_other_strength(self, value: str | float):
        """How strong the other adapter is."""
        try:
            self.other_strength = f"{min(max(float(value), 0.0), MAX_STRENGTH):g}"
        except ValueError:
            return

    @rx.event
    @authorized()
    async def close_compare(self):
        """Compare with nothing."""
        self.comparing_id = ""

    @rx.event
    @authorized(Role.TRAINER)
    async def compare(self, actor: User):
        """Have the same made by the other, unless it is there, and put the two side by side."""
        if self.is_comparing or not self.comparing_id or self.other not in dict(self.makers):
            return
        self.is_comparing, self.compare_refusal = True, ""
        yield
        adapter_id = None if self.other == BASE else self.other
        asked = (self.comparing_id, adapter_id, float(self.other_strength))
        try:
            other_id, is_new = await asyncio.to_thread(_find_or_start, actor, *asked)
        except StudioError as error:
            self.compare_refusal = error.message
            return
        finally:
            self.is_comparing = False
        self._pair, self.comparing_id = (self.comparing_id, other_id), ""
        await self._show(actor)
        if not is_new:
            yield rx.toast.info("These takes were there already. B changes over.")
        if {row.id for row in self.rows} >= set(self._pair):
            yield type(self).watch
        else:  # it is on another page, or hidden by a filter
            self.filters = {}
            yield self._go(query="", page=1, like=self._pair[0], replace=False)

    def _choose_other(self, other: str) -> None:
        self.other = other
        active = self._makers is not None and other == self._makers.active_id
        self.other_strength = f"{self._makers.active_strength:g}" if active and self._makers else "1"


def _read_makers(actor: User, generation_id: str) -> Makers:
    with db.read() as session:
        return twins.list_makers(session, actor=actor, generation_id=generation_id)


def _find_or_start(
    actor: User, generation_id: str, adapter_id: str | None, strength: float
) -> tuple[str, bool]:
    with db.write() as session:
        other, is_new = twins.find_or_start(
            session, actor=actor, generation_id=generation_id, adapter_id=adapter_id, strength=strength
        )
        return other.id, is_new
