"""The tab of the versions: the list, two of them compared, and the way back to one."""

import reflex as rx

from qlora_studio.components.buttons import button, link_button, page_link
from qlora_studio.components.details import time_text
from qlora_studio.components.dialogs import confirm_dialog
from qlora_studio.components.differences import text_piece
from qlora_studio.components.feedback import empty_state, loading_switch, skeleton_rows
from qlora_studio.components.forms import compact_number
from qlora_studio.components.status import badge
from qlora_studio.components.surfaces import card
from qlora_studio.components.tables import Column, data_table, menu_item, pager, row_menu
from qlora_studio.state.dataset import DatasetState
from qlora_studio.state.dataset_versions import DifferenceRow, FieldRow, VersionRow, VersionsState

_KINDS = {"added": ("plus", "Added"), "removed": ("minus", "Removed"), "changed": ("pencil", "Changed")}


def versions_tab() -> rx.Component:
    """The list, or two versions compared."""
    return rx.fragment(
        rx.cond(VersionsState.later != "", _comparison(), _list()),
        confirm_dialog(
            is_open=VersionsState.restoring > 0,
            title=rx.Var.create("Restore version ") + VersionsState.restoring.to_string() + "?",
            body="A new version with its content is made. Nothing is lost: what came since can be restored too, "
            "and jobs keep the version they were trained on.",
            confirm_label="Restore",
            variant="primary",
            on_confirm=VersionsState.restore,
            on_cancel=VersionsState.cancel_restore,
            sending=VersionsState.is_sending,
        ),
    )


def _address(earlier: rx.Var, later: rx.Var) -> rx.Var:
    start = rx.Var.create("/datasets/") + DatasetState.dataset.id
    return start + "?tab=versions&earlier=" + earlier.to_string() + "&later=" + later.to_string()


def _list() -> rx.Component:
    return rx.fragment(
        rx.el.div(
            rx.el.p(
                "Each change of the content makes a version; nothing is overwritten.",
                class_name="text-[13px] text-muted-foreground",
            ),
            _chooser(),
            class_name="flex flex-wrap items-center justify-between gap-x-6 gap-y-2 mb-4",
        ),
        data_table(
            VersionsState,
            rows=VersionsState.rows,
            label="Versions",
            columns=[
                Column("Version", _version),
                Column("What", _summary, width="w-[40%]"),
                Column("When", lambda r: time_text(r.when, r.when_exact)),
                Column("Who", lambda r: r.who),
                Column("Clips", lambda r: r.clips, align="right"),
                Column("Audio", lambda r: r.audio, align="right"),
                Column("Hash", _hash),
            ],
            search_placeholder=None,
            row_menu=_menu,
            empty=empty_state(
                "No versions yet", "The first one is made when the files are in.", icon="history"
            ),
            on_retry=VersionsState.load,
        ),
    )


def _chooser() -> rx.Component:
    return rx.form(
        compact_number(
            "Compare", name="earlier", unit="", hint="Number of a version", error="", min=1, step=1
        ),
        compact_number("with", name="later", unit="", hint="Number of a version", error="", min=1, step=1),
        button("Compare", size="sm", icon="git-compare", type="submit"),
        on_submit=VersionsState.compare,
        reset_on_submit=False,
        no_validate=True,
        class_name="flex flex-wrap items-center gap-2 !w-auto",
    )


def _version(row: VersionRow) -> rx.Component:
    return rx.el.span(
        rx.el.span(row.number.to_string(), class_name="font-medium tabular"),
        rx.cond(row.is_present, badge("Now", tone="primary"), rx.fragment()),
        class_name="inline-flex items-center gap-2",
    )


def _summary(row: VersionRow) -> rx.Component:
    return rx.cond(
        row.before > 0,
        page_link(
            row.summary,
            href=_address(row.before, row.number),
            title="What changed",
            class_name="hover:underline underline-offset-4 whitespace-normal line-clamp-2",
        ),
        rx.el.span(row.summary, class_name="whitespace-normal line-clamp-2"),
    )


def _hash(row: VersionRow) -> rx.Component:
    return rx.el.code(row.content_hash, class_name="text-xs text-muted-foreground")


def _menu(row: VersionRow) -> rx.Component:
    present = VersionsState.newest
    menu = row_menu(
        rx.Var.create("version ") + row.number.to_string(),
        rx.cond(
            row.before > 0,
            menu_item(
                "What changed", icon="git-compare", on_click=rx.redirect(_address(row.before, row.number))
            ),
            rx.fragment(),
        ),
        rx.cond(
            row.is_present,
            rx.fragment(),
            rx.fragment(
                menu_item(
                    "Compare with now", icon="diff", on_click=rx.redirect(_address(row.number, present))
                ),
                rx.cond(
                    DatasetState.dataset.may_change,
                    menu_item("Restore", icon="history", on_click=VersionsState.ask_restore(row.number)),
                    rx.fragment(),
                ),
            ),
        ),
    )
    return rx.cond(row.is_present & (row.before == 0), rx.fragment(), menu)


def _comparison() -> rx.Component:
    state = VersionsState
    back = rx.Var.create("/datasets/") + DatasetState.dataset.id + "?tab=versions"
    same = empty_state(
        "Nothing differs",
        "Both versions train on the same clips with the same words.",
        link_button("All versions", href=back),
        icon="equal",
    )
    return rx.fragment(
        rx.el.div(
            rx.el.div(
                link_button("All versions", href=back, icon="arrow-left", size="sm", variant="ghost"),
                rx.el.h2(
                    "From version ",
                    state.earlier,
                    " to ",
                    state.later,
                    class_name="text-[15px] font-semibold",
                ),
                class_name="flex flex-wrap items-center gap-2",
            ),
            rx.el.div(
                *(_kind_button(kind) for kind in _KINDS),
                role="group",
                aria_label="Show only",
                class_name="flex flex-wrap gap-2",
            ),
            class_name="flex flex-wrap items-center justify-between gap-3 mb-4",
        ),
        card(
            loading_switch(
                is_loading=state.is_loading,
                error=state.load_error,
                is_empty=state.differences.length() == 0,
                loading=skeleton_rows(),
                empty=same,
                full=rx.el.ul(
                    rx.foreach(state.differences, _difference),
                    aria_label="Differences",
                    class_name="list-none m-0 p-0 divide-y divide-border",
                ),
                on_retry=state.load,
            ),
            pager(state),
            class_name="!p-0 overflow-hidden",
        ),
    )


def _kind_button(kind: str) -> rx.Component:
    icon, label = _KINDS[kind]
    is_on = VersionsState.kind == kind
    base = "inline-flex items-center gap-1.5 h-8 px-3 rounded-lg border text-[13px] cursor-pointer tabular "
    return rx.el.button(
        rx.icon(icon, size=14, aria_hidden="true"),
        f"{label} ",
        rx.el.span(VersionsState.counts.get(kind, "0"), class_name="font-medium"),
        type="button",
        aria_pressed=is_on,
        on_click=VersionsState.show_kind(kind),
        class_name=rx.cond(
            is_on, base + "border-primary bg-primary-soft", base + "border-border bg-card hover:bg-muted"
        ),
    )


def _difference(row: DifferenceRow) -> rx.Component:
    kind = rx.match(
        row.kind,
        ("added", badge("Added", icon="plus", tone="success")),
        ("removed", badge("Removed", icon="minus", tone="danger")),
        badge("Changed", icon="pencil", tone="info"),
    )
    return rx.el.li(
        rx.el.div(
            rx.el.span(row.filename, title=row.filename, class_name="text-[13px] font-medium truncate"),
            kind,
            class_name="flex items-center justify-between gap-3 min-w-0",
        ),
        rx.cond(
            row.fields.length() > 0,
            rx.el.dl(rx.foreach(row.fields, _field), class_name="m-0 mt-1.5 text-[13px]"),
            rx.fragment(),
        ),
        class_name="px-5 py-3.5",
    )


def _field(row: FieldRow) -> rx.Component:
    return rx.el.div(
        rx.el.dt(row.name, class_name="text-muted-foreground"),
        rx.el.dd(rx.foreach(row.pieces, text_piece), class_name="m-0 min-w-0 break-words leading-6"),
        class_name="grid grid-cols-[5.5rem_1fr] gap-3 py-0.5",
    )
