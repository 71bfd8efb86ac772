"""What training has left: the list of adapters and the page of one."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button, download_button, icon_button, link_button, link_or_text
from qlora_studio.components.details import code_block, detail_header, key_values, time_text
from qlora_studio.components.dialogs import delete_row_dialog, quoted
from qlora_studio.components.feedback import empty_state, error_state, skeleton
from qlora_studio.components.forms import select_input
from qlora_studio.components.sharing import (
    for_trainers,
    nothing_shared,
    sharing_choice,
    shelf_tabs,
    whose,
)
from qlora_studio.components.shell import studio_page
from qlora_studio.components.status import badge, status_badge
from qlora_studio.components.surfaces import card, grid, page_header
from qlora_studio.components.tables import (
    Column,
    data_table,
    menu_item,
    menu_separator,
    name_cell,
    row_menu,
)
from qlora_studio.pages.adapter_certificate import certificate_card
from qlora_studio.pages.adapter_dialogs import DELETED_WITH_IT, activation_card, adapter_dialogs
from qlora_studio.pages.adapter_import import import_button, import_dialog
from qlora_studio.pages.adapter_lineage import lineage_card
from qlora_studio.pages.adapter_merge import merge_card
from qlora_studio.pages.adapter_push import push_card, push_dialog
from qlora_studio.state.adapters import AdaptersState, AdapterState
from qlora_studio.state.lineage import LineageState
from qlora_studio.state.merging import MergingState
from qlora_studio.state.pushing import PushingState

_STAGES = [("draft", "Draft"), ("candidate", "Candidate"), ("production", "Production")]
_VERDICTS = [
    ("improved", "Improved"),
    ("no_effect", "No effect"),
    ("worse", "Worse"),
    ("broken", "Broken"),
]


@studio_page("/adapters", title="Adapters", section="adapters", on_load=AdaptersState.load)
def adapters() -> rx.Component:
    """Every adapter, newest first."""
    start = for_trainers(link_button("Start training", href="/training/new", icon="plus", variant="primary"))
    return rx.fragment(
        page_header(
            "Adapters", "Small files that teach a base model your recordings.", for_trainers(import_button())
        ),
        import_dialog(),
        shelf_tabs(AdaptersState, what="adapters", path="/adapters"),
        data_table(
            AdaptersState,
            rows=AdaptersState.rows,
            label="Adapters",
            columns=[
                Column("Name", _name, sort="name"),
                Column("Stage", _stage, sort="stage"),
                Column(
                    "Effect", lambda r: rx.cond(r.verdict != "", status_badge(r.verdict), rx.el.span("–"))
                ),
                Column("Result", lambda r: rx.el.span(r.result, class_name="tabular")),
                Column("Base model", lambda r: r.model, sort="model"),
                Column("Size", lambda r: r.size, sort="size_bytes", align="right"),
                Column(
                    "Made", lambda r: time_text(r.created, r.created_exact), sort="created_at", align="right"
                ),
            ],
            filters=[
                ("stage", "Stages", _STAGES),
                ("verdict", "Effects", _VERDICTS),
                ("tag", "Tags", AdaptersState.tags),
                ("model_id", "Models", AdaptersState.models),
                ("dataset_id", "Datasets", AdaptersState.datasets),
                ("archived", "Current", [("yes", "Archived")]),
            ],
            search_placeholder="Search names, tags, notes",
            actions=_view_switch(),
            cards=(AdaptersState.view == "cards", _card),
            row_menu=_menu,
            empty=rx.cond(AdaptersState.shelf == "shared", nothing_shared("adapters"), _no_adapters(start)),
            on_retry=AdaptersState.load,
        ),
        delete_row_dialog(
            AdaptersState, "adapter", name=quoted(AdaptersState.deleting_name), body=DELETED_WITH_IT
        ),
    )


def _no_adapters(start: rx.Component) -> rx.Component:
    return empty_state(
        "No adapters yet",
        "A finished training job leaves one here, ready to download and to load in plain PEFT.",
        start,
        icon="layers",
    )


def _view_switch() -> rx.Component:
    is_cards = AdaptersState.view == "cards"
    return rx.cond(
        is_cards,
        icon_button("list", "Show as a table", variant="secondary", on_click=AdaptersState.show_as("")),
        icon_button(
            "layout-grid", "Show as cards", variant="secondary", on_click=AdaptersState.show_as("cards")
        ),
    )


def _name(row: Any) -> rx.Component:
    detail = rx.el.span(row.version, rx.foreach(row.tags, lambda tag: rx.el.span(" · ", tag)))
    return name_cell(row.name, href=row.href, detail=rx.fragment(detail, " ", whose(row)))


def _stage(row: Any) -> rx.Component:
    return rx.el.span(
        status_badge(row.stage),
        rx.cond(row.active != "", badge(row.active, icon="zap", tone="primary"), rx.fragment()),
        rx.cond(row.is_archived, badge("Archived", icon="archive"), rx.fragment()),
        class_name="inline-flex flex-wrap gap-1",
    )


def _card(row: Any) -> rx.Component:
    verdict = rx.cond(row.verdict != "", status_badge(row.verdict), rx.fragment())
    return rx.el.article(
        rx.el.div(
            _name(row),
            _menu(row),
            class_name="flex items-start justify-between gap-2",
        ),
        rx.el.div(_stage(row), verdict, class_name="flex flex-wrap gap-1 mt-1 mb-2"),
        key_values(
            ("Result", row.result),
            ("Base model", rx.el.span(row.model, " · ", row.model_hash)),
            ("Dataset", row.dataset),
            ("Size", row.size),
            ("Made", time_text(row.created, row.created_exact)),
        ),
        class_name="h-full rounded-[10px] border border-border px-4 pt-2 pb-3",
    )


def _menu(row: Any) -> rx.Component:
    return row_menu(
        row.name,
        menu_item("Download", icon="download", on_click=rx.download(url=row.download)),
        rx.cond(
            row.may_change,
            rx.fragment(
                rx.cond(
                    row.is_archived,
                    menu_item(
                        "Take back", icon="archive-restore", on_click=AdaptersState.archive(row.id, False)
                    ),
                    menu_item("Archive", icon="archive", on_click=AdaptersState.archive(row.id, True)),
                ),
                menu_separator(),
                menu_item("Delete", icon="trash-2", danger=True, on_click=AdaptersState.ask_delete(row.id)),
            ),
            rx.fragment(),
        ),
    )


@studio_page(
    "/adapters/[adapter_id]",
    title="Adapter",
    section="adapters",
    crumbs=[("Adapters", "/adapters")],
    here=AdapterState.adapter.name,
    on_load=[
        AdapterState.load,
        LineageState.load,
        MergingState.load,
        MergingState.watch,
        PushingState.load,
        PushingState.watch,
    ],
)
def adapter() -> rx.Component:
    """One adapter: what it changed, where it came from, how to use it."""
    return rx.cond(
        AdapterState.load_error != "",
        card(error_state(AdapterState.load_error, on_retry=AdapterState.load)),
        rx.cond(
            AdapterState.is_loading & (AdapterState.adapter.id == ""),
            rx.el.div(
                skeleton("h-8 w-64"), skeleton("h-56 w-full mt-6"), role="status", aria_label="Loading"
            ),
            _page(),
        ),
    )


def _page() -> rx.Component:
    shown = AdapterState.adapter
    return rx.fragment(
        detail_header(
            shown.name,
            shown.stage,
            rx.el.span(
                shown.version,
                " of the adapters for ",
                shown.model,
                rx.foreach(shown.tags, lambda tag: rx.el.span(" · ", tag)),
            ),
            sharing_choice(AdapterState, shown, use="All may use it"),
            rx.cond(shown.may_change, _changes(), rx.fragment()),
            rx.cond(
                shown.may_train,
                link_button(
                    "Train it on", href=rx.Var.create("/training/new?adapter=") + shown.id, icon="play"
                ),
                rx.fragment(),
            ),
            rx.cond(
                (shown.try_href != "") & ((shown.owner == "") | (shown.sharing == "use")),
                link_button("Try it", href=shown.try_href, icon="ear"),
                rx.fragment(),
            ),
            download_button("Download adapter", href=shown.download, variant="primary"),
        ),
        activation_card(),
        certificate_card(),
        grid(
            card(
                rx.cond(AdapterState.metrics.length() > 0, _metrics(), _not_measured()),
                title="Before and after",
                description="The base model and the adapter on the same held-out clips.",
            ),
            card(_origin(), title="Where it comes from"),
            columns="lg:grid-cols-2",
        ),
        rx.cond(
            shown.snippet != "",
            card(
                code_block(shown.snippet, label="Copy the code"),
                title="Use it without the studio",
                description="Unpack the download, and give PEFT its folder and the same base model in 4 bits.",
                class_name="mt-4",
            ),
            rx.fragment(),
        ),
        lineage_card(),
        rx.cond(shown.owner == "", rx.fragment(merge_card(), push_card(), push_dialog()), rx.fragment()),
        adapter_dialogs(),
    )


def _changes() -> rx.Component:
    return rx.fragment(
        button("Edit", icon="pencil", on_click=AdapterState.show_dialog("edit")),
        rx.cond(
            AdapterState.adapter.is_archived,
            button("Take back", icon="archive-restore", on_click=AdapterState.archive(False)),
            button("Archive", icon="archive", variant="ghost", on_click=AdapterState.archive(True)),
        ),
        button("Delete", icon="trash-2", variant="ghost", on_click=AdapterState.show_dialog("delete")),
    )


def _metrics() -> rx.Component:
    head = "text-left font-medium text-muted-foreground pb-2"
    return rx.el.div(
        rx.el.table(
            rx.el.thead(
                rx.el.tr(
                    rx.el.th("Metric", scope="col", class_name=head),
                    rx.el.th("Base", scope="col", class_name=head + " !text-right"),
                    rx.el.th("Adapter", scope="col", class_name=head + " !text-right"),
                    rx.el.th("Change", scope="col", class_name=head + " !text-right"),
                )
            ),
            rx.el.tbody(rx.foreach(AdapterState.metrics, _metric), class_name="divide-y divide-border"),
            aria_label="Before and after",
            class_name="w-full text-[13px] border-collapse",
        ),
        class_name="overflow-x-auto",
    )


def _not_measured() -> rx.Component:
    return rx.el.p(
        "Not measured here. Try it on a clip of your own on its base model's page.",
        class_name="text-[13px] text-muted-foreground",
    )


def _metric(row: Any) -> rx.Component:
    cell = "py-2 pl-4 text-right tabular whitespace-nowrap"
    return rx.el.tr(
        rx.el.th(row.name, scope="row", class_name="py-2 text-left font-normal"),
        rx.el.td(row.base, class_name=cell + " text-muted-foreground"),
        rx.el.td(row.adapter, class_name=cell + " font-semibold"),
        rx.el.td(row.change, class_name=rx.cond(row.is_better, cell + " text-success", cell)),
    )


def _origin() -> rx.Component:
    shown = AdapterState.adapter
    stage = select_input(
        name="stage",
        options=_STAGES,
        value=shown.stage,
        on_change=AdapterState.set_stage,
        aria_label="Stage",
        class_name="text-[13px]",
    )
    return key_values(
        ("Stage", rx.cond(shown.may_change, stage, status_badge(shown.stage))),
        ("Base model", link_or_text(shown.model, href=shown.model_href)),
        ("Dataset", link_or_text(shown.dataset, href=shown.dataset_href)),
        ("Job", link_or_text(shown.job, href=shown.job_href)),
        ("Size", shown.size),
        ("Made", shown.created),
        ("Base model's hash", shown.base_hash),
        ("Made elsewhere", shown.origin),
        ("Notes", rx.cond(shown.notes != "", rx.el.span(shown.notes, class_name="whitespace-pre-wrap"), "–")),
    )
