"""The list of adapters and the page of one."""

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar

import reflex as rx

from qlora_studio.contracts.enums import AdapterStage, Role
from qlora_studio.contracts.metrics import METRICS, first_of
from qlora_studio.core.errors import NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models import Adapter, User
from qlora_studio.services import adapters, cards
from qlora_studio.services.adapters import AdapterUpdate, AdapterView
from qlora_studio.state import formats
from qlora_studio.state.auth import authorized
from qlora_studio.state.certificates import CertificateView, certificate_view, parse
from qlora_studio.state.dialogs import DeletingState, DialogState
from qlora_studio.state.tables import TableState, parsed


@dataclass(frozen=True)
class AdapterRow:
    """One line of the list."""

    id: str
    name: str
    href: str
    download: str
    model: str
    stage: str
    verdict: str
    result: str
    size: str
    created: str
    created_exact: str


@dataclass(frozen=True)
class MetricRow:
    """One metric of the base model and of the adapter, on the same held-out clips."""

    name: str
    base: str
    adapter: str
    change: str
    is_better: bool


@dataclass(frozen=True)
class AdapterPage:
    """The page of one adapter."""

    id: str = ""
    name: str = ""
    stage: str = ""
    model: str = ""
    model_href: str = ""
    try_href: str = ""
    dataset: str = ""
    dataset_href: str = ""
    job: str = ""
    job_href: str = ""
    size: str = ""
    created: str = ""
    base_hash: str = ""
    origin: str = ""
    download: str = ""
    snippet: str = ""


class AdaptersState(DeletingState, TableState, rx.State):
    """One page of adapters."""

    _path: ClassVar[str] = "/adapters"
    _filter_names: ClassVar[tuple[str, ...]] = ("stage",)
    rows: list[AdapterRow] = []

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show the page that the address names."""
        self._read_address()
        self.rows, self.total = await asyncio.to_thread(_page, actor, self._wanted())
        self.is_loading = False

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

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Build the page from what is stored."""
        if self.adapter.id != self._shown_id():
            self.is_loading, self.adapter, self.metrics, self.dialog = True, AdapterPage(), [], ""
            self.certificate = CertificateView()
        self.load_error = ""
        try:
            view = await asyncio.to_thread(_one, actor, self._shown_id())
            self.adapter, self.metrics = adapter_page(view), metric_rows(view)
            self.certificate = certificate_view(view.adapter.certificate)
        except NotFound as error:
            self.load_error = error.message
        finally:
            self.is_loading = False

    @rx.event
    @authorized()
    async def show_dialog(self, name: str):
        """Open the rename or the delete dialog; an empty name closes it."""
        if name in ("", "rename", "delete"):
            self.dialog, self.field_errors = name, {}

    @rx.event
    @authorized(Role.TRAINER)
    async def rename(self, actor: User, form: dict[str, str]):
        """Give the adapter another name."""
        update = AdapterUpdate(name=str(form.get("adapter-name", ""))[:200])
        await asyncio.to_thread(_update, actor, self._shown_id(), update)
        self.dialog = ""
        yield AdapterState.load

    @rx.event
    @authorized(Role.TRAINER)
    async def set_stage(self, actor: User, stage: str):
        """Move the adapter to another stage."""
        if stage not in set(AdapterStage):
            return
        await asyncio.to_thread(_update, actor, self._shown_id(), AdapterUpdate(stage=AdapterStage(stage)))
        yield rx.toast.success(f"Stage set to {stage}")
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


def adapter_row(view: AdapterView) -> AdapterRow:
    """Return an adapter as a line of the list."""
    adapter = view.adapter
    created = formats.when(adapter.created_at)
    metric = first_of(adapter.metrics)
    before, now = adapter.base_metrics.get(metric.key), adapter.metrics.get(metric.key)
    change = f"{formats.figure(metric, before)} → {formats.figure(metric, now)}"
    return AdapterRow(
        id=adapter.id,
        name=adapter.name,
        href=f"/adapters/{adapter.id}",
        download=f"/api/v1/adapters/{adapter.id}/download",
        model=view.model_name,
        stage=adapter.stage.value,
        verdict=_verdict(adapter),
        result=f"{metric.short} {change}" if now is not None else "–",
        size=formats.size(adapter.size_bytes),
        created=created.relative,
        created_exact=created.exact,
    )


def adapter_page(view: AdapterView) -> AdapterPage:
    """Return an adapter as its page shows it."""
    adapter = view.adapter
    return AdapterPage(
        id=adapter.id,
        name=adapter.name,
        stage=adapter.stage.value,
        model=view.model_name,
        model_href=f"/models/{adapter.base_model_id}",
        try_href=f"/models/{adapter.base_model_id}?adapter={adapter.id}#try",
        dataset=f"{view.dataset_name}, version {adapter.dataset_version}" if view.dataset_name else "–",
        dataset_href=f"/datasets/{adapter.dataset_id}" if adapter.dataset_id else "",
        job=view.job_name or "–",
        job_href=f"/training/{adapter.job_id}" if adapter.job_id else "",
        size=formats.size(adapter.size_bytes),
        created=formats.when(adapter.created_at).exact,
        base_hash=adapter.base_model_hash[:12] or "–",
        origin=_origin_text(adapter),
        download=f"/api/v1/adapters/{adapter.id}/download",
        snippet=cards.read_example(adapter),
    )


def _origin_text(adapter: Adapter) -> str:
    """Where an imported adapter comes from and what was left out of it; "no" for one that a job has made."""
    origin = adapter.origin
    if origin.get("kind") != "imported":
        return "no"
    parts = [str(origin.get("file") or "imported"), f"rank {origin.get('rank')}"]
    if not origin.get("is_base_known"):
        parts.append(f"says its base is {origin['base_name']}" if origin.get("base_name") else "base unknown")
    if origin.get("dropped"):
        parts.append("left out: " + ", ".join(origin["dropped"][:4]))
    return "; ".join(parts)


def metric_rows(view: AdapterView) -> list[MetricRow]:
    """Return what was measured of the base model and of the adapter, side by side."""
    rows: list[MetricRow] = []
    for key, metric in METRICS.items():
        base, now = view.adapter.base_metrics.get(key), view.adapter.metrics.get(key)
        if base is None and now is None:
            continue
        change = f"{(now - base) / base * 100:+.0f}\u00a0%" if base and now is not None else ""
        is_changed = base is not None and now is not None and now != base
        is_better = is_changed and (now > base) is metric.is_higher_better
        name = metric.name[:1].upper() + metric.name[1:]
        shown = formats.figure(metric, base), formats.figure(metric, now)
        rows.append(MetricRow(name, *shown, change, is_better))
    return rows


def _page(actor: User, wanted: dict[str, Any]) -> tuple[list[AdapterRow], int]:
    wanted = parsed(wanted, stage=AdapterStage)
    with db.read() as session:
        views, total = adapters.list_adapters(session, actor=actor, **wanted)
        return [adapter_row(view) for view in views], total


def _verdict(adapter: Adapter) -> str:
    found = parse(adapter.certificate)
    return found.verdict.value if found else ""


def _one(actor: User, adapter_id: str) -> AdapterView:
    with db.read() as session:
        return adapters.get_view(session, actor=actor, adapter_id=adapter_id)


def _update(actor: User, adapter_id: str, form: AdapterUpdate) -> None:
    with db.write() as session:
        adapters.update(session, actor=actor, adapter_id=adapter_id, form=form)


def _delete(actor: User, adapter_id: str) -> None:
    with db.write() as session:
        adapters.delete(session, actor=actor, adapter_id=adapter_id)
