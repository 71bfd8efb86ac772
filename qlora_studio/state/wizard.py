"""The wizard `/training/new`: dataset, model, parameters, review. The draft in the database is its memory.

The step is in the address (`?step=parameters`); every change is kept at once, so a reload, another tab or
Back and Forward show what was typed.
"""

import asyncio
from typing import Any

import reflex as rx

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db.models.user import User
from qlora_studio.services.drafts import FIELDS, STANDING, Draft, preset_values
from qlora_studio.state import wizard_loading as loading
from qlora_studio.state.auth import authorized
from qlora_studio.state.wizard_fields import label_errors
from qlora_studio.state.wizard_rows import ChoiceRow, ClipPreviewRow, PartRow, ReviewView, SplitView
from qlora_studio.state.wizard_sweep import SweepFields

STEPS = ("dataset", "model", "parameters", "review")
_PATH = "/training/new"
_MAX_TYPED = 200


class WizardState(SweepFields, rx.State):
    """What is typed, what can be chosen, and what it comes to."""

    _launch_key: str = ""
    _augmentation: dict[str, Any] | None = None  # of the job that is done again

    step: int = 0
    name: str = ""
    search: str = ""
    dataset: ChoiceRow = ChoiceRow()
    model: ChoiceRow = ChoiceRow()
    datasets: list[ChoiceRow] = []
    models: list[ChoiceRow] = []
    splits: SplitView = SplitView()
    values: dict[str, str] = {}
    layers: list[str] = []
    preset_layers: dict[str, str] = {}
    metrics: list[list[str]] = []
    most_devices: int = 1
    reasons: list[str] = []
    targets: list[list[str]] = []
    training_types: list[list[str]] = []
    befores: list[list[str]] = []  # the jobs that this one can wait for
    starts: list[list[str]] = []  # the adapters that it can start from
    pairs: str = ""  # about preferences; empty where the task can't learn from them
    picked_layers: list[str] = []
    is_expert: bool = False
    is_touched: bool = False
    is_picking_layers: bool = False
    form_key: str = ""  # changes when values come from elsewhere than the keyboard: fields are made anew
    field_errors: dict[str, str] = {}
    problem: str = ""
    review: ReviewView = ReviewView()
    memory_parts: list[PartRow] = []
    warnings: list[str] = []
    batch: list[ClipPreviewRow] = []
    is_loading: bool = True
    is_sending: bool = False
    is_cancelling: bool = False

    @rx.event
    @authorized(Role.TRAINER)
    async def load(self, actor: User):
        """Show the step that the address names, or start from what it asks for."""
        query = dict(self.router.url.query_parameters)
        self.is_cancelling, self.is_sending = False, False
        started = await asyncio.to_thread(loading.start_draft, actor, query)
        if started is not None:
            yield rx.redirect(f"{_PATH}?step={STEPS[started.step]}", replace=True)
            return
        await self._fill(actor, STEPS.index(query["step"]) if query.get("step") in STEPS else None)
        self.is_loading = False
        if self.step == len(STEPS) - 1:
            yield
            yield await self._fill_review(actor)

    async def _fill(self, actor: User, step: int | None = None) -> None:
        loaded = await asyncio.to_thread(loading.load, actor, self.search, step)
        draft = loaded.draft
        self.step, self._launch_key = draft.step, draft.launch_key
        self.dataset, self.datasets, self.splits = loaded.dataset, loaded.datasets, loaded.splits
        self.model, self.models = loaded.model, loaded.models
        self.layers, self.preset_layers = loaded.layers, loaded.preset_layers
        self.metrics, self.reasons = loaded.metrics, loaded.reasons
        self.most_devices = loaded.most_devices
        self.targets = [*loaded.targets, ["pick", "Pick layers …"]]
        self.training_types, self.pairs = loaded.training_types, loaded.pairs
        self.name = draft.name or loading.suggest_name(loaded.dataset, loaded.model)
        self.values, self.picked_layers = draft.values, draft.picked_layers
        self.is_expert, self.is_touched = draft.is_expert, draft.is_touched
        self.is_picking_layers, self._augmentation = draft.is_picking_layers, draft.augmentation
        self.befores, self.starts = loaded.befores, loaded.starts
        self._show_sweep(draft)
        self.form_key, self.field_errors, self.problem = draft.launch_key + loaded.model.id, {}, ""

    def _draft(self) -> Draft:
        return Draft(
            launch_key=self._launch_key or Draft().launch_key,
            step=self.step,
            name=self.name[:_MAX_TYPED],
            dataset_id=self.dataset.id,
            model_id=self.model.id,
            is_expert=self.is_expert,
            is_touched=self.is_touched,
            is_picking_layers=self.is_picking_layers,
            picked_layers=list(self.picked_layers),
            values=dict(self.values),
            sweep=self._sweep(),
            augmentation=self._augmentation,
        )

    async def _keep(self, actor: User) -> None:
        await asyncio.to_thread(loading.save, actor, self._draft())

    # -- dataset and model

    @rx.event
    @authorized(Role.TRAINER)
    async def look_for(self, actor: User, text: str):
        """Search the datasets or models to choose from."""
        self.search = text[:_MAX_TYPED]
        loaded = await asyncio.to_thread(loading.load, actor, self.search, self.step)
        self.datasets, self.models = loaded.datasets, loaded.models

    @rx.event
    @authorized(Role.TRAINER)
    async def choose(self, actor: User, item_id: str):
        """Choose a dataset or a model, by the step that is shown."""
        draft = self._draft()
        if draft.name == loading.suggest_name(self.dataset, self.model):
            draft.name = ""
        if self.step == 0:
            if draft.dataset_id != item_id:
                draft.augmentation = None  # the other dataset has its own
            draft.dataset_id = item_id[:64]
        else:
            draft.model_id = item_id[:64]
        await asyncio.to_thread(loading.save, actor, draft)
        await self._fill(actor, self.step)
        await self._keep(actor)

    @rx.event
    @authorized(Role.TRAINER)
    async def add_example(self, actor: User):
        """Add the embedded dataset; it can be chosen once it is taken in."""
        self.is_sending = True
        yield
        try:
            dataset = await asyncio.to_thread(loading.add_example, actor)
            yield rx.redirect(f"/datasets/{dataset.id}")
        finally:
            self.is_sending = False

    @rx.event
    @authorized(Role.TRAINER)
    async def add_starter(self, actor: User):
        """Add the embedded model and choose it."""
        self.is_sending = True
        yield
        try:
            model_id = await asyncio.to_thread(loading.add_starter, actor)
            yield rx.redirect(f"{_PATH}?model={model_id}", replace=True)
        finally:
            self.is_sending = False

    # -- parameters

    @rx.event
    @authorized(Role.TRAINER)
    async def set_value(self, actor: User, field: str, text: str):
        """Keep what was typed into a field, and say at once if it is wrong."""
        if field not in FIELDS:
            return
        text = text[:_MAX_TYPED]
        changes = {field: text}
        if field == "training_type":
            changes["qlora.bits"] = "32" if text == "lora" else "4"
        if field == "optimization.max_steps" and text.strip():
            changes["optimization.epochs"] = ""
        if field == "optimization.epochs" and text.strip():
            changes["optimization.max_steps"] = ""
        if len(changes) > 1:
            self.form_key += "+"
        is_touched = self.is_touched or field not in STANDING
        await self._change_values(actor, {**self.values, **changes}, {field, *changes})
        self.is_touched = is_touched
        await self._keep(actor)
        if field == "training_type":  # each is judged by figures of its own
            loaded = await asyncio.to_thread(loading.load, actor, "", self.step)
            self.metrics, self.values = loaded.metrics, loaded.draft.values

    @rx.event
    @authorized(Role.TRAINER)
    async def set_switch(self, actor: User, field: str, is_on: bool):
        """Turn a switch on or off."""
        if field in FIELDS:
            await self._change_values(actor, {**self.values, field: "true" if is_on else "false"}, {field})

    async def _change_values(self, actor: User, values: dict[str, str], changed: set[str]) -> None:
        self.values, self.is_touched = values, True
        wrong = loading.field_errors(self._draft())
        kept = {name: text for name, text in self.field_errors.items() if name not in changed}
        self.field_errors = kept | {name: wrong[name] for name in changed if name in wrong}
        await self._keep(actor)

    @rx.event
    @authorized(Role.TRAINER)
    async def set_name(self, actor: User, text: str):
        """Keep the adapter's name."""
        self.name = text[:_MAX_TYPED]
        self.field_errors = {k: v for k, v in self.field_errors.items() if k != "name"}
        await self._keep(actor)

    @rx.event
    @authorized(Role.TRAINER)
    async def set_targets(self, actor: User, choice: str):
        """Choose a preset of target modules, or begin to pick them."""
        self.is_picking_layers = choice == "pick"
        if choice == "pick":
            self.is_expert = True
            if not self.picked_layers:
                now = self.preset_layers.get(self.values.get("qlora.target_modules", ""), "")
                self.picked_layers = [name for name in now.split(", ") if name in self.layers]
            choice = self.values.get("qlora.target_modules") or "auto"
        await self._change_values(
            actor, {**self.values, "qlora.target_modules": choice[:40]}, {"qlora.target_modules"}
        )

    @rx.event
    @authorized(Role.TRAINER)
    async def toggle_layer(self, actor: User, name: str):
        """Put a layer among the picked ones, or take it out."""
        if name in self.layers:
            wanted = set(self.picked_layers) ^ {name}
            self.picked_layers = [layer for layer in self.layers if layer in wanted]
            await self._change_values(actor, dict(self.values), {"qlora.target_modules"})

    @rx.event
    @authorized(Role.TRAINER)
    async def show_expert(self, actor: User, is_expert: bool):
        """Show all parameters, or the six that matter most."""
        self.is_expert = is_expert
        await self._keep(actor)

    @rx.event
    @authorized(Role.TRAINER)
    async def restore_presets(self, actor: User):
        """Put back what was found to work for this family."""
        self.is_touched, self.is_picking_layers = False, False
        kept = {name: text for name, text in self.values.items() if name in STANDING}
        fresh = self._draft().model_copy(update={"values": preset_values() | kept})
        await asyncio.to_thread(loading.save, actor, fresh)
        await self._fill(actor, self.step)
        self.form_key += "!"
        await self._keep(actor)

    @rx.event
    @authorized(Role.TRAINER)
    async def find_rate(self, actor: User):
        """Queue a job that tries learning rates for this draft, and go to its page."""
        self.is_sending, self.problem = True, ""
        yield
        try:
            job_id = await asyncio.to_thread(loading.find_rate, actor, self._draft())
        except InvalidInput as error:
            self.field_errors, self.problem = error.fields, error.message
            return
        finally:
            self.is_sending = False
        yield rx.redirect(f"/training/{job_id}")

    # -- from step to step

    @rx.event
    @authorized(Role.TRAINER)
    async def next_step(self, actor: User):
        """Go on, if this step is right."""
        self.problem = self._missing()
        if self.step == 2:
            self.field_errors = await asyncio.to_thread(loading.field_errors, self._draft())
            if self.field_errors:
                self.problem = "Put these right first. " + label_errors(self.field_errors)
                self._open_expert_for_errors()
                return rx.call_script(_focus(next(iter(self.field_errors))))
        if self.problem:
            return None
        return await self._show(actor, self.step + 1)

    @rx.event
    @authorized(Role.TRAINER)
    async def go_to(self, actor: User, step: int):
        """Go back to a step that is done."""
        return await self._show(actor, min(max(0, step), self.step))

    async def _show(self, actor: User, step: int) -> object:
        self.search = ""
        self.step = min(step, len(STEPS) - 1)
        await self._keep(actor)
        return rx.redirect(f"{_PATH}?step={STEPS[self.step]}")

    def _missing(self) -> str:
        if self.step == 0:
            return self.splits.problem if self.dataset.id else "Choose a dataset first."
        return "Choose a model first." if self.step == 1 and not self.model.id else ""

    def _open_expert_for_errors(self) -> None:
        basic = {"name", "qlora.rank", "qlora.target_modules", "optimization.learning_rate"}
        basic |= {"optimization.epochs", "optimization.batch_size", "optimization.mode"}
        if {name for name in self.field_errors if not name.startswith("axes")} - basic:
            self.is_expert = True

    @rx.event
    @authorized()
    async def ask_cancel(self, is_open: bool):
        """Open or close the question whether to throw the draft away."""
        self.is_cancelling = is_open

    @rx.event
    @authorized()
    async def keep_draft(self):
        """Close the question."""
        self.is_cancelling = False

    @rx.event
    @authorized(Role.TRAINER)
    async def discard(self, actor: User):
        """Throw the draft away and leave."""
        await asyncio.to_thread(loading.discard, actor)
        self.reset()
        return rx.redirect("/training")

    # -- review and launch

    async def _fill_review(self, actor: User) -> object:
        """Check, forecast and decode. Wrong parameters lead back to their step."""
        try:
            found = await asyncio.to_thread(loading.review, actor, self._draft())
        except InvalidInput as error:
            self.field_errors = error.fields
            return await self._show(actor, 2)
        self.review, self.memory_parts, self.batch = found.view, found.parts, found.batch
        self.warnings, self.problem = found.warnings, " ".join(found.errors.values())
        return None

    @rx.event
    @authorized(Role.TRAINER)
    async def launch(self, actor: User):
        """Queue the job, or the jobs of a sweep, and go to its page. Two clicks queue one."""
        self.is_sending, self.problem = True, ""
        yield
        try:
            href = await asyncio.to_thread(loading.launch_from, actor, self._draft())
        except InvalidInput as error:
            self.field_errors, self.problem = error.fields, error.message
            return
        finally:
            self.is_sending = False
        yield rx.redirect(href)


def _focus(field: str) -> str:
    return f"setTimeout(() => document.getElementById({control_id(field)!r})?.focus(), 150)"


def control_id(field: str) -> str:
    """The id of a parameter's control in the page."""
    return field.replace(".", "-").replace("_", "-")


def typed_draft(wizard: WizardState) -> Draft:
    """What is typed, for what else the page offers. (A public method could be called by anyone.)"""
    return wizard._draft()
