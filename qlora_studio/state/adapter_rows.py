"""Adapters as the list and the page of one show them."""

from dataclasses import dataclass, field

from qlora_studio.contracts.metrics import METRICS, first_of
from qlora_studio.db.models import Adapter
from qlora_studio.services import cards
from qlora_studio.services.adapter_schemas import AdapterView
from qlora_studio.state import formats
from qlora_studio.state.certificates import parse


@dataclass(frozen=True)
class AdapterRow:
    """One line of the list."""

    id: str
    name: str
    href: str
    download: str
    model: str
    model_hash: str
    dataset: str
    stage: str
    verdict: str
    result: str
    size: str
    version: str
    tags: list[str]
    active: str
    is_archived: bool
    created: str
    created_exact: str
    owner: str = ""
    sharing: str = "private"
    may_change: bool = False
    may_train: bool = False


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
    version: str = ""
    tags: list[str] = field(default_factory=list)
    notes: str = ""
    active: str = ""
    is_archived: bool = False
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
    owner: str = ""
    sharing: str = "private"
    may_change: bool = False
    may_train: bool = False


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
        model_hash=adapter.base_model_hash[:8] or "–",
        dataset=_dataset_text(view),
        version=f"Version {adapter.version}",
        tags=adapter.tags,
        active=_active_text(adapter),
        is_archived=adapter.archived_at is not None,
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
        version=f"Version {adapter.version}",
        tags=adapter.tags,
        notes=adapter.notes,
        active=_active_text(adapter),
        is_archived=adapter.archived_at is not None,
        dataset=_dataset_text(view),
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


def _verdict(adapter: Adapter) -> str:
    found = parse(adapter.certificate)
    return found.verdict.value if found else ""


def _dataset_text(view: AdapterView) -> str:
    return f"{view.dataset_name}, version {view.adapter.dataset_version}" if view.dataset_name else "–"


def _active_text(adapter: Adapter) -> str:
    """“Active”, with its strength where it isn't 1; empty for the others."""
    if not adapter.is_active:
        return ""
    return "Active" if adapter.active_strength == 1 else f"Active, strength {adapter.active_strength:g}"
