"""The card “Lineage” on an adapter's page: a graph where there is room for it, else a list."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import page_link
from qlora_studio.components.surfaces import card
from qlora_studio.state.lineage import LineageState

_ICONS = {
    "dataset": "database",
    "job": "activity",
    "adapter": "layers",
    "elsewhere": "package",
    "generations": "audio-lines",
    "dictation": "file-text",
    "feedback": "star",
}
_BOX = "block h-full rounded-lg border px-3 py-2 min-w-0 transition-colors duration-150 "


def lineage_card() -> rx.Component:
    """What the adapter came from and what came of it, to click through."""
    graph = LineageState.graph
    return card(
        rx.el.div(
            rx.el.div(
                rx.el.svg(
                    rx.foreach(graph.lines, _line),
                    view_box="0 0 100 " + graph.height.to_string(),
                    preserve_aspect_ratio="none",
                    aria_hidden="true",
                    class_name="absolute inset-0 w-full h-full",
                ),
                rx.el.ol(
                    rx.foreach(graph.boxes, _placed),
                    aria_label="Lineage",
                    class_name="list-none m-0 p-0",
                ),
                class_name="relative",
                style={
                    "height": graph.height.to_string() + "px",
                    "minWidth": graph.width.to_string() + "px",
                },
            ),
            class_name="hidden xl:block overflow-x-auto",
        ),
        rx.el.ol(
            rx.foreach(graph.boxes, _listed),
            aria_label="Lineage",
            class_name="list-none m-0 p-0 flex flex-col gap-2 xl:hidden",
        ),
        rx.cond(
            graph.left_out != "",
            rx.el.p(graph.left_out, class_name="text-xs text-muted-foreground mt-3"),
            rx.fragment(),
        ),
        title="Lineage",
        description="What it came from, and what came of it.",
        class_name="mt-4",
        id="lineage",
    )


def _line(path: Any) -> rx.Component:
    return rx.el.path(
        d=path,
        fill="none",
        stroke="var(--border-strong)",
        stroke_width="1.25",
        custom_attrs={"vectorEffect": "non-scaling-stroke"},
    )


def _placed(box: Any) -> rx.Component:
    return rx.el.li(
        _linked(box, _content(box)),
        class_name="absolute h-[68px]",
        style={"left": box.left, "top": box.top, "width": box.width},
    )


def _listed(box: Any) -> rx.Component:
    after = rx.cond(
        box.after != "",
        rx.el.p("from ", box.after, class_name="text-xs text-muted-foreground truncate"),
        rx.fragment(),
    )
    return rx.el.li(_linked(box, rx.fragment(_content(box), after)))


def _linked(box: Any, content: rx.Component) -> rx.Component:
    still = rx.cond(
        box.is_here,
        _BOX + "border-primary bg-primary-soft",
        rx.cond(box.is_gone, _BOX + "border-dashed border-border-strong", _BOX + "border-border bg-card"),
    )
    return rx.cond(
        box.href != "",
        page_link(content, href=box.href, class_name=_BOX + "border-border bg-card hover:bg-muted"),
        rx.el.div(content, class_name=still, aria_current=rx.cond(box.is_here, "true", "false")),
    )


def _content(box: Any) -> rx.Component:
    return rx.fragment(
        rx.el.span(
            rx.match(
                box.kind,
                *((kind, rx.icon(icon, size=12, aria_hidden="true")) for kind, icon in _ICONS.items()),
                rx.fragment(),
            ),
            box.step,
            class_name="flex items-center gap-1.5 text-[11px] leading-4 text-muted-foreground",
        ),
        rx.el.span(box.name, class_name="block text-[13px] leading-5 font-medium truncate", title=box.name),
        rx.el.span(box.detail, class_name="block text-xs leading-4 text-muted-foreground truncate"),
    )
