"""Everything that a person was told."""

import reflex as rx

from qlora_studio.components.bell import tone_icon
from qlora_studio.components.buttons import button, icon_button, page_link
from qlora_studio.components.details import time_text
from qlora_studio.components.feedback import empty_state
from qlora_studio.components.shell import studio_page
from qlora_studio.components.surfaces import page_header
from qlora_studio.components.tables import Column, data_table
from qlora_studio.contracts.notices import KIND_LABELS
from qlora_studio.state.bell import BellState, NoticeRow
from qlora_studio.state.notifications import NotificationsState

_KINDS = [(kind.value, label) for kind, label in KIND_LABELS.items()]


@studio_page(
    "/notifications",
    title="Notifications",
    section="notifications",
    on_load=NotificationsState.load,
)
def notifications() -> rx.Component:
    """The list, newest first, with search and filters."""
    state = NotificationsState
    read_all = rx.cond(
        BellState.n_unread > 0,
        button("Mark all as read", icon="check-check", on_click=state.read_all),
        rx.fragment(),
    )
    return rx.fragment(
        page_header("Notifications", "What has ended, what went wrong, and what to do next.", read_all),
        data_table(
            state,
            rows=state.rows,
            label="Notifications",
            columns=[
                Column("What", _what, width="w-full"),
                Column("When", lambda r: time_text(r.relative, r.exact), align="right", sort="created_at"),
                Column("Read", _read, align="right"),
            ],
            filters=[
                ("status", "States", [("unread", "Unread"), ("read", "Read")]),
                ("kind", "Kinds", _KINDS),
            ],
            empty=empty_state(
                "Nothing yet",
                "When a training ends, fails or is lost, it is told here and by the bell above.",
                icon="bell",
            ),
            on_retry=state.load,
        ),
    )


def _what(row: NoticeRow) -> rx.Component:
    return rx.el.div(
        tone_icon(row),
        rx.el.div(
            page_link(
                row.title,
                href=row.href,
                on_click=BellState.read_one(row.id),
                class_name=rx.cond(
                    row.is_unread,
                    "font-semibold hover:underline underline-offset-4 break-words whitespace-normal",
                    "font-normal hover:underline underline-offset-4 break-words whitespace-normal",
                ),
            ),
            rx.cond(
                row.body != "",
                rx.el.p(
                    row.body, class_name="text-muted-foreground font-normal whitespace-normal break-words"
                ),
                rx.fragment(),
            ),
            class_name="min-w-0",
        ),
        class_name="flex items-start gap-3 py-2.5 max-w-[72ch] text-left",
    )


def _read(row: NoticeRow) -> rx.Component:
    return rx.cond(
        row.is_unread,
        icon_button("check", "Mark as read", on_click=NotificationsState.read_one(row.id)),
        rx.el.span("Read", class_name="text-xs text-muted-foreground"),
    )
