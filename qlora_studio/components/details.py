"""The header of a page of one thing, names with their values, tabs, code to copy, times, and small curves."""

from collections.abc import Sequence
from typing import Any

import reflex as rx

from qlora_studio.components.buttons import page_link
from qlora_studio.components.status import status_badge
from qlora_studio.components.surfaces import page_header


def detail_header(name: Any, status: Any, description: Any, *actions: Any) -> rx.Component:
    """The header of the page of one thing: its status beside its name, and actions that wrap on a phone."""
    badge = rx.el.span(status_badge(status), class_name="ml-3 align-middle tracking-normal")
    return page_header(
        rx.el.span(name, badge),
        description,
        rx.el.div(*actions, class_name="flex flex-wrap items-center gap-2 max-w-full"),
    )


def key_values(*rows: tuple[Any, Any], columns: int = 1) -> rx.Component:
    """A list of names and values, in one or two columns."""
    cells = [
        rx.el.div(
            rx.el.dt(name, class_name="text-muted-foreground text-[13px]"),
            rx.el.dd(value, class_name="text-[13px] font-medium text-right min-w-0 break-words tabular m-0"),
            class_name="flex justify-between gap-4 py-2 border-b border-border",
        )
        for name, value in rows
    ]
    return rx.el.dl(
        *cells, class_name="grid grid-cols-1 m-0 " + ("md:grid-cols-2 gap-x-8" if columns == 2 else "")
    )


def tabs(items: Sequence[tuple[Any, ...]], *, current: Any) -> rx.Component:
    """Tabs that are links, so that the address names the tab.

    Args:
        items: (key, label, href), and a Var where a tab isn't always shown.
    """
    base = "px-1 pb-2.5 pt-1 text-sm border-b-2 -mb-px whitespace-nowrap transition-colors duration-150 "

    def tab(key: str, label: str, href: Any, shown_if: Any = None) -> rx.Component:
        link = page_link(
            label,
            href=href,
            aria_current=rx.cond(current == key, "page", "false"),
            class_name=rx.cond(
                current == key,
                base + "border-primary font-medium",
                base + "border-transparent text-muted-foreground hover:text-foreground",
            ),
        )
        return link if shown_if is None else rx.cond(shown_if, link, rx.fragment())

    return rx.el.nav(
        *(tab(*item) for item in items),
        aria_label="Tabs",
        class_name="flex gap-2.5 sm:gap-6 border-b border-border mb-5 overflow-x-auto",
    )


def code_block(text: Any, *, label: str = "Copy", max_height: str = "320px") -> rx.Component:
    """Text as it is, with a button that copies it."""
    return rx.el.div(
        rx.el.pre(
            rx.el.code(text),
            class_name="text-[12.5px] leading-[1.6] whitespace-pre overflow-auto p-4 m-0",
            style={"max_height": max_height},
            tab_index=0,
        ),
        copy_button(label=label, class_name="absolute right-2 top-2"),
        class_name="relative rounded-lg border border-border bg-muted",
    )


def copy_button(*, text: Any = None, label: str = "Copy", class_name: str = "") -> rx.Component:
    """Copies `text`, or else the code beside it."""
    extra = {"data_copy": text if text is not None else ""}
    return rx.el.button(
        rx.icon("copy", size=14, class_name="copy-idle", aria_hidden="true"),
        rx.icon("check", size=14, class_name="copy-done text-success", aria_hidden="true"),
        type="button",
        aria_label=label,
        title=label,
        class_name=f"copy-button inline-grid place-items-center h-7 w-7 rounded-md border border-border bg-card hover:bg-subtle cursor-pointer {class_name}",
        **extra,
    )


def time_text(relative: Any, exact: Any) -> rx.Component:
    """A relative time with the exact one on hover; see `state.formats.when`."""
    return rx.el.time(relative, title=exact, class_name="whitespace-nowrap")


def sparkline(
    path: Any,
    *,
    label: Any,
    width: int = 120,
    height: int = 32,
    tone: str = "var(--chart-1)",
    class_name: str = "max-w-full",
) -> rx.Component:
    """A small curve in plain SVG. `path` is what `state.charts.sparkline_path` returns."""
    return rx.el.svg(
        rx.el.path(
            d=path,
            fill="none",
            stroke=tone,
            stroke_width="1.6",
            stroke_linejoin="round",
            stroke_linecap="round",
            custom_attrs={"vectorEffect": "non-scaling-stroke"},
        ),
        view_box="0 0 100 32",
        preserve_aspect_ratio="none",
        width=str(width),
        height=str(height),
        role="img",
        aria_label=label,
        class_name=f"overflow-visible {class_name}",
    )
