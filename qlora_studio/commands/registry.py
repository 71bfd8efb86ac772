"""`qlora-studio adapters show|edit|archive|unarchive|activate|deactivate|delete|unmerge|lineage`."""

from typing import Annotated, Any

import typer

from qlora_studio.commands.completing import AdapterId
from qlora_studio.commands.console import (
    JsonFlag,
    UserName,
    YesFlag,
    acting,
    command,
    confirm,
    print_json,
    print_line,
    say,
    tell,
)
from qlora_studio.contracts.enums import AdapterStage
from qlora_studio.contracts.metrics import METRICS, first_of
from qlora_studio.db.models import Adapter
from qlora_studio.services import adapters, merging
from qlora_studio.services.access import Action
from qlora_studio.services.adapter_schemas import AdapterChanged, AdapterPublic, AdapterUpdate, AdapterView
from qlora_studio.services.lineage import get_lineage as find_lineage

_NOTES = "What to remember; replaces what was noted before."


@command
def show(adapter_id: AdapterId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Print what is known of an adapter."""
    with acting(user) as (session, actor):
        view = adapters.get_view(session, actor=actor, adapter_id=adapter_id, action=Action.SEE)
    _print(view, as_json=as_json)


@command
def edit(
    adapter_id: AdapterId,
    *,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    stage: Annotated[AdapterStage | None, typer.Option(help="How far it has come.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag, once for each; they replace all.")] = None,
    no_tags: Annotated[bool, typer.Option("--no-tags", help="Take all tags off.")] = False,
    notes: Annotated[str | None, typer.Option(help=_NOTES)] = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Rename an adapter, or change its stage, tags or notes."""
    tags = [] if no_tags else tag or None
    _change(adapter_id, user, as_json=as_json, name=name, stage=stage, tags=tags, notes=notes)


@command
def archive(adapter_id: AdapterId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Put an adapter away; it is no longer listed, offered or active."""
    _change(adapter_id, user, as_json=as_json, archived=True)


@command
def unarchive(adapter_id: AdapterId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Take an archived adapter back."""
    _change(adapter_id, user, as_json=as_json, archived=False)


@command
def activate(
    adapter_id: AdapterId,
    *,
    strength: Annotated[float, typer.Option(help="The share of it that counts, 0 to 2.")] = 1.0,
    insist: Annotated[bool, typer.Option("--insist", help="Even if it is said to be broken.")] = False,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Make an adapter the default of its base model, in place of another."""
    with acting(user, writes=True) as (session, actor):
        view = adapters.activate(
            session, actor=actor, adapter_id=adapter_id, strength=strength, insist=insist
        )
    _print(view, as_json=as_json)


@command
def deactivate(adapter_id: AdapterId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Leave the adapter's base model without a default."""
    with acting(user, writes=True) as (session, actor):
        view = adapters.deactivate(session, actor=actor, adapter_id=adapter_id)
    _print(view, as_json=as_json)


@command
def delete(
    adapter_id: AdapterId, yes: YesFlag = False, user: UserName = "", as_json: JsonFlag = False
) -> None:
    """Delete an adapter and its files; the job that made it stays."""
    confirm(f"Delete {adapter_id} and its files?", yes=yes)
    with acting(user, writes=True) as (session, actor):
        adapters.delete(session, actor=actor, adapter_id=adapter_id)
    tell(f"{adapter_id} is gone.", {"id": adapter_id, "is_deleted": True}, as_json=as_json)


@command
def unmerge(adapter_id: AdapterId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Remove what an adapter was merged into; base models that were made of it stay."""
    with acting(user, writes=True) as (session, actor):
        merging.remove(session, actor=actor, adapter_id=adapter_id)
    tell(f"{adapter_id} is merged no more.", {"id": adapter_id, "is_merged": False}, as_json=as_json)


@command
def lineage(adapter_id: AdapterId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Print what an adapter came from and what came of it, a line for each step."""
    with acting(user) as (session, actor):
        graph = find_lineage(session, actor=actor, adapter_id=adapter_id)
    if as_json:
        print_json(graph)
        return
    nodes = {node.id: node for node in graph.nodes}
    for edge in sorted(graph.edges, key=lambda edge: nodes[edge.source].column):
        print_line(f"{nodes[edge.source].name} -> {nodes[edge.target].name}")
    if graph.n_left_out:
        say(f"{graph.n_left_out:,} older ones are left out.")


def result_text(adapter: Adapter) -> str:
    """The first metric before and after, such as `WER 80.0 % -> 40.0 %`."""
    metric = first_of(adapter.metrics)
    before, after = adapter.base_metrics.get(metric.key), adapter.metrics.get(metric.key)
    return f"{metric.short} {metric.text(before)} -> {metric.text(after)}"


def _change(adapter_id: str, user: str, *, as_json: bool, **changes: Any) -> None:
    form = AdapterUpdate(**changes)
    with acting(user, writes=True) as (session, actor):
        changed = adapters.update(session, actor=actor, adapter_id=adapter_id, form=form)
    if as_json:
        print_json(AdapterChanged.after(changed))
        return
    _print(changed.view, as_json=False)
    if changed.replaced:
        say(f"“{changed.replaced.name}” is a candidate again.")


def _print(view: AdapterView, *, as_json: bool) -> None:
    if as_json:
        print_json(AdapterPublic.of(view))
        return
    adapter = view.adapter
    print_line(f"{adapter.id}  {adapter.name}, version {adapter.version}")
    dataset = f"{view.dataset_name}, version {adapter.dataset_version}" if view.dataset_name else ""
    lines = {
        "base model": f"{view.model_name} {adapter.base_model_hash[:12]}".strip(),
        "dataset": dataset,
        "job": view.job_name,
        "stage": adapter.stage.value + (", archived" if adapter.archived_at else ""),
        "active": f"at strength {adapter.active_strength:g}" if adapter.is_active else "no",
        "effect": str(adapter.certificate.get("verdict", "")).replace("_", " "),
        "size": f"{adapter.size_bytes / 1e6:.1f} MB",
        "tags": ", ".join(adapter.tags),
        "notes": adapter.notes,
    }
    for key, metric in METRICS.items():
        if key in adapter.metrics:
            before, after = adapter.base_metrics.get(key), adapter.metrics.get(key)
            lines[metric.name] = f"{metric.text(before)} -> {metric.text(after)}"
    for name, text in lines.items():
        if text:
            print_line(f"  {name}: {text}")
