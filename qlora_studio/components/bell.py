"""The bell: how much is unread, a panel with the newest of it, and what the browser itself may tell.

`assets/js/bell.js` reads `#bell-fresh` and asks the browser to show what is new there, where the person has
switched that on and looks at something else.
"""

from typing import Any, ClassVar

import reflex as rx

from qlora_studio.components.buttons import page_link
from qlora_studio.components.details import time_text
from qlora_studio.components.player import CustomElement
from qlora_studio.state.bell import BellState, NoticeRow

_LINK = "text-[13px] text-primary-text font-medium hover:underline underline-offset-4 cursor-pointer rounded"


class _StudioBell(CustomElement):
    """The custom element of `assets/js/bell.js`: tells the browser what is fresh in it."""

    tag = "StudioBell"
    _script: ClassVar[str] = "bell.js"


class _BellSwitch(CustomElement):
    """The switch of `assets/js/bell.js`, which asks the browser whether it may show notifications."""

    tag = "StudioBellSwitch"
    _script: ClassVar[str] = "bell.js"


def bell() -> rx.Component:
    """The button in the top bar, its panel, and what is fresh for the browser to tell."""
    return rx.fragment(
        rx.popover.root(
            rx.popover.trigger(_button()),
            rx.popover.content(
                _panel(),
                align="end",
                side_offset=6,
                class_name="!p-0 !w-[min(380px,calc(100vw-24px))] !max-w-none",
                aria_label="Notifications",
            ),
        ),
        rx.el.p(
            rx.cond(BellState.n_unread > 0, BellState.badge + " unread notifications", ""),
            role="status",
            class_name="sr-only",
        ),
        _StudioBell.create(
            rx.foreach(BellState.rows, _fresh),
            custom_attrs={"data-owner": BellState.owner},
            class_name="hidden",
        ),
    )


def browser_switch() -> rx.Component:
    """The switch for notifications by the browser; it says by itself where the browser has none."""
    return _BellSwitch.create(custom_attrs={"data-owner": BellState.owner}, class_name="block min-h-12")


def _button() -> rx.Component:
    count = rx.el.span(
        BellState.badge,
        aria_hidden="true",
        class_name="absolute -top-0.5 -right-0.5 min-w-4 h-4 px-1 rounded-full bg-danger-hover text-primary-foreground text-[10px] leading-4 font-semibold tabular text-center",
    )
    return rx.el.button(
        rx.icon("bell", size=16, aria_hidden="true"),
        rx.cond(BellState.n_unread > 0, count, rx.fragment()),
        type="button",
        id="bell",
        aria_label=rx.cond(
            BellState.n_unread > 0,
            rx.Var.create("Notifications, ") + BellState.badge + " unread",
            "Notifications",
        ),
        title="Notifications",
        class_name="relative inline-grid place-items-center h-8 w-8 rounded-lg hover:bg-muted cursor-pointer",
    )


def _panel() -> rx.Component:
    read_all = rx.cond(
        BellState.n_unread > 0,
        rx.el.button("Mark all as read", type="button", on_click=BellState.read_all, class_name=_LINK),
        rx.fragment(),
    )
    return rx.el.div(
        rx.el.div(
            rx.el.h2("Notifications", class_name="text-[15px] font-semibold"),
            read_all,
            class_name="flex items-center justify-between gap-4 px-4 h-12 border-b border-border",
        ),
        rx.cond(
            BellState.rows.length() > 0,
            rx.el.ul(
                rx.foreach(BellState.rows, _line),
                class_name="list-none m-0 p-0 max-h-[min(440px,60dvh)] overflow-y-auto divide-y divide-border",
                tab_index=-1,
            ),
            _nothing(),
        ),
        rx.el.div(
            rx.popover.close(page_link("All notifications", href="/notifications", class_name=_LINK)),
            rx.popover.close(page_link("Settings", href="/settings/notifications", class_name=_LINK)),
            class_name="flex items-center justify-between px-4 h-11 border-t border-border",
        ),
    )


def _nothing() -> rx.Component:
    return rx.el.div(
        rx.icon("bell-off", size=22, class_name="text-muted-foreground", aria_hidden="true"),
        rx.el.p("Nothing yet", class_name="font-medium mt-2"),
        rx.el.p(
            "When a training ends, it is told here.", class_name="text-[13px] text-muted-foreground mt-0.5"
        ),
        class_name="flex flex-col items-center text-center py-10 px-6",
    )


def _line(row: NoticeRow) -> rx.Component:
    link = page_link(
        tone_icon(row),
        rx.el.span(
            rx.el.span(
                row.title,
                class_name=rx.cond(
                    row.is_unread,
                    "block text-[13px] font-semibold break-words",
                    "block text-[13px] break-words",
                ),
            ),
            rx.cond(
                row.body != "",
                rx.el.span(
                    row.body, class_name="block text-[13px] text-muted-foreground line-clamp-3 break-words"
                ),
                rx.fragment(),
            ),
            rx.el.span(
                time_text(row.relative, row.exact),
                class_name="block text-xs text-muted-foreground mt-0.5",
            ),
            class_name="min-w-0 flex-1",
        ),
        rx.cond(
            row.is_unread,
            rx.el.span(
                rx.el.span("Unread", class_name="sr-only"),
                class_name="mt-1.5 h-2 w-2 rounded-full bg-primary shrink-0",
            ),
            rx.fragment(),
        ),
        href=row.href,
        on_click=BellState.read_one(row.id),
        class_name="flex w-full items-start gap-3 px-4 py-3 hover:bg-muted transition-colors duration-100",
    )
    return rx.el.li(rx.popover.close(link), key=row.id)


def tone_icon(row: Any) -> rx.Component | rx.Var:
    """The mark of a notification: went well, went wrong, or neither."""
    base = "shrink-0 mt-0.5 "
    return rx.match(
        row.tone,
        ("success", rx.icon("circle-check", size=16, class_name=base + "text-success", aria_hidden="true")),
        ("danger", rx.icon("circle-x", size=16, class_name=base + "text-danger", aria_hidden="true")),
        rx.icon("info", size=16, class_name=base + "text-muted-foreground", aria_hidden="true"),
    )


def _fresh(row: NoticeRow) -> rx.Component:
    """What the browser may tell. A click on it goes to the page without a reload, as any link does."""
    link = page_link(
        href=row.href,
        on_click=BellState.read_one(row.id),
        tab_index=-1,
        custom_attrs={"data-notice": row.id, "data-title": row.title, "data-body": row.body},
    )
    return rx.cond(row.is_fresh, link, rx.fragment())
