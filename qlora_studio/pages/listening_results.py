"""What a listening test has found: the ranking with its intervals, who is told apart, and the raters."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button, download_button, link_button
from qlora_studio.components.details import detail_header
from qlora_studio.components.dialogs import confirm_dialog, delete_dialog
from qlora_studio.components.feedback import empty_state, skeleton
from qlora_studio.components.shell import studio_page
from qlora_studio.components.status import badge
from qlora_studio.components.surfaces import card, grid, notice, stat_card
from qlora_studio.components.tables import menu_item, row_menu
from qlora_studio.pages.listening import ABOVE, DELETED_WITH_IT
from qlora_studio.pages.listening_take import making_card, missing
from qlora_studio.state.listening_results import ListeningResultsState
from qlora_studio.state.listening_rows import ComparisonRow, RaterRow, StandingRow

_HEAD = "text-left font-medium text-muted-foreground px-3 h-9 whitespace-nowrap border-b border-border"
_CELL = "px-3 py-2 align-top"
_TABLE = "w-full border-collapse text-[13px]"


@studio_page(
    "/listening/[test_id]/results",
    title="Results",
    section="feedback",
    crumbs=[*ABOVE, ("Listening tests", "/listening")],
    here=ListeningResultsState.test.name,
    on_load=[ListeningResultsState.load, ListeningResultsState.watch],
)
def listening_results() -> rx.Component:
    """How the takes are made, then how the votes stand, live."""
    state = ListeningResultsState
    outline = rx.el.div(
        skeleton("h-8 w-64"),
        grid(*(skeleton("h-24 w-full") for _ in range(4)), class_name="mt-6"),
        role="status",
        aria_label="Loading",
    )
    return rx.cond(state.is_missing, card(missing()), rx.cond(state.test.id == "", outline, _loaded()))


def _loaded() -> rx.Component:
    state = ListeningResultsState
    return rx.fragment(
        detail_header(state.test.name, state.test.status, state.test.detail, *_actions()),
        rx.match(
            state.test.status,
            ("making", _making()),
            ("failed", _failed()),
            _results(),
        ),
        confirm_dialog(
            is_open=state.dialog == "close",
            title="Close this test?",
            body="Nobody can answer any more. The results stay.",
            confirm_label="Close the test",
            on_confirm=state.close,
            on_cancel=state.close_dialog,
            variant="primary",
        ),
        delete_dialog(
            "listening test",
            name=state.test.name,
            body=DELETED_WITH_IT,
            is_open=state.dialog == "delete",
            on_confirm=state.delete,
            on_cancel=state.close_dialog,
            sending=state.is_sending,
        ),
    )


def _actions() -> list[rx.Component]:
    state = ListeningResultsState
    at = rx.Var.create("/listening/") + state.test.id
    export = rx.Var.create("/api/v1/listening-tests/") + state.test.id + "/export?format="
    is_open = state.test.status == "open"
    is_made = is_open | (state.test.status == "closed")
    take = link_button("Take the test", href=at, icon="headphones", variant="primary")
    return [
        rx.cond(is_made, download_button("CSV", href=export + "csv"), rx.fragment()),
        rx.cond(is_made, download_button("JSON", href=export + "json"), rx.fragment()),
        rx.cond(is_open, button("Close", icon="lock", on_click=state.open_dialog("close")), rx.fragment()),
        button("Delete", icon="trash-2", variant="danger", on_click=state.open_dialog("delete")),
        rx.cond(is_open, take, rx.fragment()),
    ]


def _making() -> rx.Component:
    return making_card(
        ListeningResultsState,
        "The takes are being made",
        description="This goes on if you close the page, and after a restart of the server. "
        "Deleting the test calls it off.",
    )


def _failed() -> rx.Component:
    state = ListeningResultsState
    again = button("Make the rest", icon="rotate-cw", size="sm", on_click=state.retry)
    return notice(state.test.error, tone="danger", icon="circle-x", action=again)


def _results() -> rx.Component:
    state, found = ListeningResultsState, ListeningResultsState.results
    empty = empty_state(
        "No votes yet",
        "Send the address of this test to your raters, or begin yourself before you look at results.",
        link_button(
            "Take the test",
            href=rx.Var.create("/listening/") + state.test.id,
            icon="headphones",
            variant="primary",
        ),
        icon="headphones",
    )
    full = rx.fragment(
        notice(found.summary, icon="trophy"),
        grid(
            stat_card("Votes", state.test.votes, icon="check", hint=found.votes + " of them count"),
            stat_card("Raters", state.test.raters, icon="users", hint=found.lean),
            stat_card("Agreement", found.agreement, icon="handshake", hint=found.agreement_detail),
            stat_card("Ties", found.ties, icon="equal", hint="of the votes that count"),
            class_name="mt-4",
        ),
        card(
            _chart(),
            title="Ranking",
            description="Strength in log odds with 95 % intervals. One apart means 73 % of the votes.",
            class_name="mt-4",
        ),
        card(_comparisons(), title="Who is told apart", class_name="mt-4"),
    )
    return rx.fragment(
        rx.cond(found.has_votes, full, card(empty)),
        rx.cond(
            state.raters.length() > 0,
            card(
                _raters(),
                title="Raters",
                description="Catch pairs and repeats show who listens. Who fails too many is left out; you can decide otherwise.",
                class_name="mt-4",
            ),
            rx.fragment(),
        ),
    )


def _chart() -> rx.Component:
    """The table of places, with the interval of each drawn between."""
    axis = rx.el.div(
        rx.foreach(
            ListeningResultsState.results.axis,
            lambda tick: rx.el.span(
                tick[1],
                class_name="absolute -translate-x-1/2 text-[11px] text-muted-foreground tabular",
                style={"left": tick[0].to_string() + "%"},
            ),
        ),
        class_name="relative h-5",
        aria_hidden="true",
    )
    columns = ("Place", "Contestant", "", "Strength", "Votes")
    return rx.el.div(
        rx.el.table(
            rx.el.thead(rx.el.tr(*(_heading(name) for name in columns))),
            rx.el.tbody(
                rx.foreach(ListeningResultsState.standings, _standing),
                rx.el.tr(
                    rx.el.td(),
                    rx.el.td(),
                    rx.el.td(axis, class_name="px-3 hidden sm:table-cell"),
                    rx.el.td(),
                    rx.el.td(),
                    aria_hidden="true",
                ),
            ),
            aria_label="Ranking",
            class_name=_TABLE,
        ),
        class_name="overflow-x-auto",
        tab_index=0,
        role="region",
        aria_label="Ranking of the contestants",
    )


def _standing(row: StandingRow) -> rx.Component:
    line = rx.el.div(
        rx.foreach(
            ListeningResultsState.results.axis,
            lambda tick: rx.el.div(
                class_name="absolute inset-y-0 w-px bg-border", style={"left": tick[0].to_string() + "%"}
            ),
        ),
        rx.el.div(
            class_name="absolute top-1/2 h-1 -translate-y-1/2 rounded-full bg-primary opacity-45 transition-all duration-200",
            style={"left": row.start.to_string() + "%", "width": row.width.to_string() + "%"},
        ),
        rx.el.div(
            class_name="absolute top-1/2 h-3 w-3 -translate-x-1/2 -translate-y-1/2 rounded-full bg-primary transition-all duration-200",
            style={"left": row.at.to_string() + "%"},
        ),
        class_name="relative h-8 min-w-[160px]",
        aria_hidden="true",
    )
    strength = rx.el.div(
        rx.el.span(row.strength, class_name="font-medium"),
        rx.el.div(row.interval, class_name="text-xs text-muted-foreground whitespace-nowrap"),
    )
    return rx.el.tr(
        rx.el.td(row.place, class_name=_CELL + " tabular whitespace-nowrap"),
        rx.el.th(row.label, scope="row", class_name=_CELL + " text-left font-medium break-words"),
        rx.el.td(line, class_name="px-3 w-1/2 hidden sm:table-cell"),
        rx.el.td(strength, class_name=_CELL + " tabular"),
        rx.el.td(row.votes, class_name=_CELL + " tabular"),
        key=row.label,
        class_name="border-b border-border",
    )


def _comparisons() -> rx.Component:
    columns = ("Better", "Than", "Share of votes", "Votes", "Still needed")
    return rx.el.div(
        rx.el.table(
            rx.el.thead(rx.el.tr(*(_heading(name) for name in columns))),
            rx.el.tbody(rx.foreach(ListeningResultsState.comparisons, _comparison)),
            aria_label="Who is told apart",
            class_name="data-table " + _TABLE,
        ),
        class_name="overflow-x-auto",
        tab_index=0,
        role="region",
        aria_label="Comparisons",
    )


def _comparison(row: ComparisonRow) -> rx.Component:
    apart = badge("Told apart", icon="circle-check", tone="success")
    share = rx.el.div(
        rx.el.span(row.share, class_name="font-medium"),
        rx.el.div(row.interval, class_name="text-xs text-muted-foreground whitespace-nowrap"),
    )
    needed = rx.cond(row.is_told_apart, apart, rx.el.span(row.needed, class_name="text-muted-foreground"))
    return rx.el.tr(
        rx.el.td(row.one, class_name=_CELL + " font-medium"),
        _named_cell("Than", row.other),
        _named_cell("Share of votes", share),
        _named_cell("Votes", row.votes),
        _named_cell("Still needed", needed),
        key=row.key,
        class_name="border-b border-border last:border-0",
    )


def _named_cell(label: str, *content: Any) -> rx.Component:
    """A cell that names its column where the table has become cards."""
    return rx.el.td(rx.el.div(*content), data_label=label, class_name=_CELL + " tabular")


def _raters() -> rx.Component:
    columns = ("Rater", "Votes", "Catch pairs", "Repeats", "Counts", "")
    return rx.el.div(
        rx.el.table(
            rx.el.thead(rx.el.tr(*(_heading(name) for name in columns))),
            rx.el.tbody(rx.foreach(ListeningResultsState.raters, _rater)),
            aria_label="Raters",
            class_name="data-table " + _TABLE,
        ),
        class_name="overflow-x-auto",
        tab_index=0,
        role="region",
        aria_label="Raters of this test",
    )


def _rater(row: RaterRow) -> rx.Component:
    state = ListeningResultsState
    counts = rx.cond(
        row.is_left_out,
        badge("Left out", icon="eye-off", tone="warning"),
        badge("Counts", icon="circle-check", tone="success"),
    )
    menu = row_menu(
        row.name,
        menu_item("Leave out", icon="eye-off", on_click=state.decide(row.id, "leave-out")),
        menu_item("Keep", icon="eye", on_click=state.decide(row.id, "keep")),
        menu_item("Go by the rule", icon="scale", on_click=state.decide(row.id, "rule")),
    )
    note = rx.el.p(row.note, class_name="text-xs text-muted-foreground mt-1 max-w-[46ch]")
    return rx.el.tr(
        rx.el.td(row.name, class_name=_CELL + " font-medium"),
        _named_cell("Votes", row.votes),
        _named_cell("Catch pairs", row.catches),
        _named_cell("Repeats", row.repeats),
        _named_cell("Counts", counts, rx.cond(row.note != "", note, rx.fragment())),
        rx.el.td(menu, class_name="row-menu px-1 py-1 text-right"),
        key=row.id,
        class_name="border-b border-border last:border-0",
    )


def _heading(name: str) -> Any:
    if name:
        return rx.el.th(name, scope="col", class_name=_HEAD)
    return rx.el.td(class_name=_HEAD + " hidden sm:table-cell")
