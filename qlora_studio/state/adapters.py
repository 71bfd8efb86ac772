"""The list of adapters and the page of one."""

import asyncio
from dataclasses import replace
from typing import Any, ClassVar

import reflex as rx

from qlora_studio.contracts.enums import AdapterStage, Role, Verdict
from qlora_studio.contracts.inference import MAX_STRENGTH
from qlora_studio.core.errors import Conflict, Doubtful, NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models import BaseAudioModel, Dataset, Job, User
from qlora_studio.services import adapters
from qlora_studio.services.access import Action
from qlora_studio.services.adapter_schemas import (
    MAX_NOTES,
    MAX_TAG,
    MOST_TAGS,
    Activation,
    AdapterUpdate,
    AdapterView,
)
from qlora_studio.state.adapter_rows import (
    AdapterPage,
    AdapterRow,
    MetricRow,
    adapter_page,
    adapter_row,
    metric_rows,
)
from qlora_studio.state.auth import authorized
from qlora_studio.state.certificates import CertificateView, certificate_view
from qlora_studio.state.dialogs import DeletingState, DialogState
from qlora_studio.state.sharing import closed_links, facts_of, share
from qlora_studio.state.tables import TableState, parsed


class AdaptersState(DeletingState, TableState, rx.State):
    """One page of adapters."""

    _path: ClassVar[str] = "/adapters"
    _has_shelf: ClassVar[bool] = True
    _filter_names: ClassVar[tuple[str, ...]] = (
        "stage",
        "verdict",
        "tag",
        "model_id",
        "dataset_id",
        "archived",
    )
    rows: list[AdapterRow] = []
    tags: list[list[str]] = []
    models: list[list[str]] = []
    datasets: list[list[str]] = []
    view: str = ""  # cards, or else a table

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show the page that the address names."""
        self._read_address()
        self.view = "cards" if self.router.url.query_parameters.get("view") == "cards" else ""
        choices, self.rows, self.total = await asyncio.to_thread(_page, actor, self._wanted())
        self.tags, self.models, self.datasets = choices
        self.is_loading = False

    def _address(self, **changes: Any) -> str:
        return super()._address(**({"view": self.view} | changes))

    @rx.event
    @authorized()
    async def show_as(self, view: str):
        """Show cards or a table; the address names it."""
        return self._go(view="cards" if view == "cards" else "")

    @rx.event
    @authorized(Role.TRAINER)
    async def archive(self, actor: User, adapter_id: str, is_away: bool):
        """Put an adapter away, or take it back."""
        await asyncio.to_thread(_update, actor, adapter_id[:32], AdapterUpdate(archived=is_away))
        yield rx.toast.success("Adapter archived" if is_away else "Adapter taken back")
        yield AdaptersState.load

    @rx.event
    @authorized(Role.TRAINER)
    async def delete(self, actor: User):
        """Delete the adapter that was asked about."""
        adapter_id, self.deleting_id = self.deleting_id, ""
        await asyncio.to_thread(_delete, actor, adapter_id)
        yield rx.toast.success("Adapter deleted")
        yield AdaptersState.load


class AdapterState(DialogState, rx.State):
    """One adapter."""

    adapter: AdapterPage = AdapterPage()
    metrics: list[MetricRow] = []
    certificate: CertificateView = CertificateView()
    is_loading: bool = True
    load_error: str = ""
    field_errors: dict[str, str] = {}
    strength: str = "1"
    refusal: str = ""  # why the adapter can't be the default
    doubt: str = ""  # why the adapter may not be wanted as the default
    replaces: str = ""  # what is in production now

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Build the page from what is stored."""
        if self.adapter.id != self._shown_id():
            self.is_loading, self.adapter, self.metrics, self.dialog = True, AdapterPage(), [], ""
            self.certificate = CertificateView()
        self.load_error = ""
        try:
            view, self.adapter = await asyncio.to_thread(_one, actor, self._shown_id())
            self.metrics = metric_rows(view)
            self.certificate = certificate_view(view.adapter.certificate)
        except NotFound as error:
            self.load_error = error.message
        finally:
            self.is_loading = False

    @rx.event
    @authorized(Role.TRAINER)
    async def share(self, actor: User, wanted: str):
        """Let others look at the adapter or use it, or neither any more."""
        note = await asyncio.to_thread(share, actor, "adapter", self._shown_id(), wanted)
        if note:
            yield rx.toast.info(note)
        yield AdapterState.load

    @rx.event
    @authorized()
    async def show_dialog(self, name: str):
        """Open one of the dialogs; an empty name closes it."""
        if name in ("", "edit", "delete", "activate"):
            self.dialog, self.field_errors, self.strength = name, {}, "1"
            self.refusal = self.doubt = ""

    @rx.event
    @authorized(Role.TRAINER)
    async def edit(self, actor: User, form: dict[str, str]):
        """Change the adapter's name, tags and notes."""
        tags = [tag for tag in form.get("adapter-tags", "").split(",") if tag.strip()]
        if len(tags) > MOST_TAGS or any(len(tag) > MAX_TAG for tag in tags):
            self.field_errors = {"tags": f"At most {MOST_TAGS} tags of {MAX_TAG} characters."}
            return
        name, notes = form.get("adapter-name", "")[:200], form.get("adapter-notes", "")[:MAX_NOTES]
        await asyncio.to_thread(
            _update, actor, self._shown_id(), AdapterUpdate(name=name, tags=tags, notes=notes)
        )
        self.dialog = ""
        yield AdapterState.load

    @rx.event
    @authorized(Role.TRAINER)
    async def set_stage(self, actor: User, stage: str):
        """Move the adapter to another stage; asks first if another one would leave production."""
        if stage not in set(AdapterStage):
            return
        self.replaces = ""
        if stage == AdapterStage.PRODUCTION:
            self.replaces = await asyncio.to_thread(_in_production, actor, self._shown_id())
        if self.replaces and self.dialog != "production":
            self.dialog = "production"
            return
        self.dialog = ""
        await asyncio.to_thread(_update, actor, self._shown_id(), AdapterUpdate(stage=AdapterStage(stage)))
        yield rx.toast.success(f"Stage set to {stage}")
        yield AdapterState.load

    @rx.event
    @authorized(Role.TRAINER)
    async def archive(self, actor: User, is_away: bool):
        """Put the adapter away, or take it back."""
        await asyncio.to_thread(_update, actor, self._shown_id(), AdapterUpdate(archived=is_away))
        yield rx.toast.success("Adapter archived" if is_away else "Adapter taken back")
        yield AdapterState.load

    @rx.event
    @authorized()
    async def set_strength(self, value: float | str):
        """Choose how much of the adapter counts."""
        try:
            number = float(value)
        except ValueError:
            return
        self.strength = f"{min(max(number, 0.0), MAX_STRENGTH):g}"

    @rx.event
    @authorized(Role.TRAINER)
    async def activate(self, actor: User):
        """Make the adapter its model's default; a doubt is shown first, and overcome by asking again."""
        wish = Activation(strength=float(self.strength), insist=bool(self.doubt))
        try:
            await asyncio.to_thread(_activate, actor, self._shown_id(), wish)
        except Doubtful as error:
            self.refusal, self.doubt = "", error.message
            return
        except Conflict as error:
            self.refusal, self.doubt = error.message, ""
            return
        self.dialog = ""
        yield rx.toast.success("Adapter active")
        yield AdapterState.load

    @rx.event
    @authorized(Role.TRAINER)
    async def deactivate(self, actor: User):
        """Leave the base model without a default."""
        await asyncio.to_thread(_deactivate, actor, self._shown_id())
        yield rx.toast.success("Adapter no longer active")
        yield AdapterState.load

    @rx.event
    @authorized(Role.TRAINER)
    async def delete(self, actor: User):
        """Delete the adapter and go back to the list."""
        self.dialog = ""
        await asyncio.to_thread(_delete, actor, self._shown_id())
        yield rx.toast.success("Adapter deleted")
        yield rx.redirect("/adapters")

    def _shown_id(self) -> str:
        return str(getattr(self, "adapter_id", "") or "")


def _page(actor: User, wanted: dict[str, Any]) -> tuple[Any, list[AdapterRow], int]:
    wanted = parsed(wanted, stage=AdapterStage, verdict=Verdict)
    wanted["archived"] = bool(wanted["archived"])
    with db.read() as session:
        views, total = adapters.list_adapters(session, actor=actor, **wanted)
        found = adapters.list_choices(session, actor=actor)
        tags = [[tag, tag] for tag in found.tags]
        choices = (tags, [list(one) for one in found.models], [list(one) for one in found.datasets])
        facts = facts_of(session, actor, [view.adapter for view in views])
    return choices, [replace(adapter_row(view), **facts[view.adapter.id]) for view in views], total


def _one(actor: User, adapter_id: str) -> tuple[AdapterView, AdapterPage]:
    with db.read() as session:
        view = adapters.get_view(session, actor=actor, adapter_id=adapter_id, action=Action.SEE)
        made = view.adapter
        facts = facts_of(session, actor, [made])[adapter_id] | closed_links(
            session,
            actor,
            model_href=(BaseAudioModel, made.base_model_id),
            try_href=(BaseAudioModel, made.base_model_id),
            dataset_href=(Dataset, made.dataset_id),
            job_href=(Job, made.job_id),
        )
    return view, replace(adapter_page(view), **facts)


def _update(actor: User, adapter_id: str, form: AdapterUpdate) -> None:
    with db.write() as session:
        adapters.update(session, actor=actor, adapter_id=adapter_id, form=form)


def _delete(actor: User, adapter_id: str) -> None:
    with db.write() as session:
        adapters.delete(session, actor=actor, adapter_id=adapter_id)


def _activate(actor: User, adapter_id: str, wish: Activation) -> None:
    with db.write() as session:
        adapters.activate(session, actor=actor, adapter_id=adapter_id, **wish.model_dump())


def _deactivate(actor: User, adapter_id: str) -> None:
    with db.write() as session:
        adapters.deactivate(session, actor=actor, adapter_id=adapter_id)


def _in_production(actor: User, adapter_id: str) -> str:
    """The name of another adapter of the same base model that is in production, or nothing."""
    with db.read() as session:
        adapter = adapters.get_view(session, actor=actor, adapter_id=adapter_id).adapter
        there = adapters.in_production(session, actor=actor, model_id=adapter.base_model_id)
    return there.name if there is not None and there.id != adapter_id else ""
