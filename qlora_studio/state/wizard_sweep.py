"""The wizard's part about trying several values: up to three parameters, each with a list of values."""

import asyncio
from typing import Any

import reflex as rx

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db.models.user import User
from qlora_studio.services import draft_sweeps, sweeps
from qlora_studio.services.draft_sweeps import SWEEPABLE
from qlora_studio.services.drafts import Draft
from qlora_studio.state.auth import authorized
from qlora_studio.state.wizard_fields import ADAPTER, BASIC, OPTIMIZATION, PREFERENCE

MAX_TYPED = 200
OPTIONS = [[p.name, p.label] for p in (*BASIC, *ADAPTER, *OPTIMIZATION, *PREFERENCE) if p.name in SWEEPABLE]


class SweepFields(rx.State, mixin=True):
    """What is tried; `sweep_note` counts the jobs that it makes.

    Each of the `axes` is a parameter, what was typed as its values, and the key of its line. While the key
    stays the same the browser keeps what is typed in the line, however late an answer comes.
    """

    axes: list[list[str]] = []
    sweep_note: str = ""

    def _sweep(self) -> dict[str, str]:
        return {axis: text for axis, text, _ in self.axes if axis}

    def _show_sweep(self, draft: Draft) -> None:
        first = self._new_key()
        self.axes = [
            [axis, text, str(first + place)] for place, (axis, text) in enumerate(draft.sweep.items())
        ]
        self.sweep_note = sweep_note(draft)

    def _new_key(self) -> int:
        return 1 + max((int(key) for _, _, key in self.axes), default=0)

    async def _sweep_changed(self, actor: User) -> None:
        state: Any = self
        errors = {k: v for k, v in state.field_errors.items() if not k.startswith("axes")}
        draft = state._draft()
        state.field_errors = errors | await asyncio.to_thread(sweep_errors, draft)
        self.sweep_note = sweep_note(draft)
        await state._keep(actor)

    @rx.event
    @authorized(Role.TRAINER)
    async def add_axis(self, actor: User):
        """Begin to try values of one more parameter: the first that isn't tried yet."""
        taken = {axis for axis, _, _ in self.axes}
        free = next((name for name, _ in _by_use() if name not in taken), "")
        if len(self.axes) < sweeps.MAX_AXES and free:
            now = str(getattr(self, "values", {}).get(free, ""))
            self.axes = [*self.axes, [free, now, str(self._new_key())]]
            await self._sweep_changed(actor)

    @rx.event
    @authorized(Role.TRAINER)
    async def remove_axis(self, actor: User, index: int):
        """Try no values of a parameter any more."""
        self.axes = [axis for place, axis in enumerate(self.axes) if place != index]
        await self._sweep_changed(actor)

    @rx.event
    @authorized(Role.TRAINER)
    async def set_axis(self, actor: User, index: int, name: str):
        """Choose the parameter that is varied; its values begin with the one it has. Each is varied once."""
        if not 0 <= index < len(self.axes):
            return
        before, text, key = self.axes[index]
        if name in SWEEPABLE and name not in {axis for axis, _, _ in self.axes}:
            changed = [name, str(getattr(self, "values", {}).get(name, "")), key]
        else:  # a line made anew shows what holds
            changed = [before, text, str(self._new_key())]
        self.axes = [changed if place == index else axis for place, axis in enumerate(self.axes)]
        await self._sweep_changed(actor)

    @rx.event
    @authorized(Role.TRAINER)
    async def set_axis_values(self, actor: User, index: int, name: str, text: str):
        """Keep what was typed as the values to try of a parameter, and count the jobs.

        What was typed for another parameter, before the line was given this one, is too late.
        """
        if 0 <= index < len(self.axes) and self.axes[index][0] == name:
            changed = [name, text[:MAX_TYPED], self.axes[index][2]]
            self.axes = [changed if place == index else axis for place, axis in enumerate(self.axes)]
            await self._sweep_changed(actor)


def _by_use() -> list[list[str]]:
    """The parameters, what is varied most often first."""
    first = ("optimization.learning_rate", "qlora.rank", "optimization.batch_size")
    return sorted(OPTIONS, key=lambda option: first.index(option[0]) if option[0] in first else len(first))


def sweep_note(draft: Draft) -> str:
    """How many jobs the values make, as a sentence; empty where nothing is tried."""
    try:
        axes = draft_sweeps.read_axes(draft)
    except InvalidInput:
        return "Some values can't be read yet."
    if not axes:
        return ""
    n_jobs = sweeps.count_jobs(axes)
    counts = " × ".join(str(len(values)) for values in axes.values())
    times = f"{counts} values: " if len(axes) > 1 else ""
    if n_jobs < 2:
        return "One job. Give more values, separated by commas."
    if n_jobs > sweeps.MAX_JOBS:
        return f"{times}{n_jobs} jobs. A sweep has {sweeps.MAX_JOBS} at most."
    return f"{times}{n_jobs} jobs, as one group."


def sweep_errors(draft: Draft) -> dict[str, str]:
    """What is wrong with the values to try; what is wrong elsewhere is said there."""
    try:
        draft_sweeps.build_sweep(draft)
    except InvalidInput as error:
        return {name: text for name, text in error.fields.items() if name.startswith("axes")}
    return {}
