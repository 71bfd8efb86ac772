"""Which classes the finished model takes for which."""

from typing import Any

import reflex as rx

from qlora_studio.components.surfaces import card
from qlora_studio.state.job import JobState

_HEAD = "px-1.5 py-1 text-left align-bottom text-xs font-medium text-muted-foreground"
_NUMBER = "px-2 text-right tabular text-muted-foreground whitespace-nowrap"


def confusion_card() -> rx.Component:
    """Rows are what clips are, columns what they were taken for; the diagonal is right."""
    confusion = JobState.confusion
    table = rx.el.table(
        rx.el.thead(
            rx.el.tr(
                rx.el.th("Class", scope="col", class_name=_HEAD),
                rx.el.th("Clips", scope="col", class_name=_HEAD + " text-right px-2"),
                rx.el.th("Right", scope="col", class_name=_HEAD + " text-right px-2"),
                rx.foreach(confusion.columns, _column),
            )
        ),
        rx.el.tbody(rx.foreach(confusion.lines, _row)),
        aria_label="Which classes are taken for which",
        class_name="border-separate border-spacing-0.5 text-xs",
    )
    return rx.cond(
        confusion.lines.length() > 0,
        card(
            rx.el.div(
                table, class_name="overflow-x-auto", tab_index=0, role="region", aria_label="Confusion matrix"
            ),
            rx.cond(
                confusion.worst.length() > 0,
                rx.el.div(
                    rx.el.h3("Most often", class_name="text-[13px] font-medium mt-4 mb-1"),
                    rx.el.ul(
                        rx.foreach(confusion.worst, rx.el.li),
                        class_name="m-0 pl-4 list-disc text-[13px] text-muted-foreground",
                    ),
                ),
                rx.fragment(),
            ),
            rx.el.p(confusion.hidden, class_name="text-xs text-muted-foreground mt-2 empty:hidden"),
            title="Which classes are taken for which",
            description="Held-out clips. Rows are what a clip is, columns what the model says; the diagonal is right.",
            class_name="mt-4",
        ),
        rx.fragment(),
    )


def _column(label: Any) -> rx.Component:
    return rx.el.th(
        rx.el.span(label, class_name="[writing-mode:vertical-rl] rotate-180 max-h-28 truncate inline-block"),
        scope="col",
        title=label,
        class_name=_HEAD + " text-center",
    )


def _row(line: Any) -> rx.Component:
    return rx.el.tr(
        rx.el.th(
            line.label,
            scope="row",
            title=line.label,
            class_name="pr-2 text-left font-medium max-w-[160px] truncate",
        ),
        rx.el.td(line.n_clips, class_name=_NUMBER),
        rx.el.td(line.recall, class_name=_NUMBER),
        rx.foreach(line.cells, _cell),
    )


def _cell(cell: Any) -> rx.Component:
    tone = rx.cond(cell.is_right, "var(--success)", "var(--danger)")
    return rx.el.td(
        cell.text,
        title=cell.title,
        style={
            "backgroundColor": "color-mix(in oklab, " + tone + " calc(" + cell.tint + " * 0.5), var(--muted))"
        },
        class_name="min-w-8 h-8 px-1 rounded text-center tabular",
    )
