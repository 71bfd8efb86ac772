"""The list of listening tests."""

import reflex as rx

from qlora_studio.components.buttons import link_button
from qlora_studio.components.details import time_text
from qlora_studio.components.dialogs import delete_row_dialog
from qlora_studio.components.feedback import empty_state
from qlora_studio.components.navigation import sections
from qlora_studio.components.shell import studio_page
from qlora_studio.components.status import progress_bar, status_badge
from qlora_studio.components.surfaces import page_header
from qlora_studio.components.tables import Column, data_table, menu_item, menu_separator, name_cell, row_menu
from qlora_studio.state.listening import ListeningTestsState
from qlora_studio.state.listening_rows import TestRow

ABOVE = [(section.label, section.href) for section in sections() if section.key == "feedback"]
DELETED_WITH_IT = "Its takes, answers and votes go with it. This can't be undone."


@studio_page(
    "/listening",
    title="Listening tests",
    section="feedback",
    crumbs=[*ABOVE],
    on_load=ListeningTestsState.load,
)
def listening() -> rx.Component:
    """Tests to take, and one's own to read."""
    state = ListeningTestsState
    add = link_button("New test", href="/listening/new", icon="plus", variant="primary")
    return rx.fragment(
        page_header(
            "Listening tests",
            "Blind comparisons of models and adapters: who is better, and how sure that is.",
            link_button("Compare takes", href="/feedback/pairs", icon="headphones"),
            add,
        ),
        data_table(
            state,
            rows=state.rows,
            label="Listening tests",
            search_placeholder=None,
            columns=[
                Column(
                    "Name",
                    lambda r: name_cell(r.name, href=_href(r), detail=r.detail),
                ),
                Column("Status", _status),
                Column("Votes", lambda r: r.votes, align="right"),
                Column("Your answers", lambda r: r.mine, align="right"),
                Column("Made", lambda r: time_text(r.created, r.created_exact), align="right"),
            ],
            row_menu=_menu,
            empty=empty_state(
                "No listening tests yet",
                "Compare a base model with its adapters, or adapters with each other, without knowing which is which.",
                link_button("Set up a test", href="/listening/new", icon="plus", variant="primary"),
                icon="headphones",
            ),
            on_retry=state.load,
        ),
        delete_row_dialog(state, "listening test", body=DELETED_WITH_IT, sending=state.is_sending),
    )


def _href(row: TestRow) -> rx.Var[str]:
    take = rx.Var.create("/listening/") + row.id
    return rx.cond(row.is_own, take + "/results", take)


def _status(row: TestRow) -> rx.Component:
    making = rx.el.div(
        progress_bar(row.percent, label="Takes made", active=True),
        rx.el.span(row.progress, class_name="text-xs text-muted-foreground tabular"),
        class_name="flex flex-col gap-1 w-36",
    )
    return rx.cond(row.status == "making", making, status_badge(row.status))


def _menu(row: TestRow) -> rx.Component:
    at = rx.Var.create("/listening/") + row.id
    own = rx.fragment(
        menu_item("Results", icon="chart-no-axes-column", on_click=rx.redirect(at + "/results")),
        menu_separator(),
        menu_item("Delete", icon="trash-2", danger=True, on_click=ListeningTestsState.ask_delete(row.id)),
    )
    return row_menu(
        row.name,
        menu_item("Take the test", icon="headphones", disabled=~row.is_open, on_click=rx.redirect(at)),
        rx.cond(row.is_own, own, rx.fragment()),
    )
