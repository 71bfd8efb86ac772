"""What was foretold of a job beside what it took."""

from typing import Any

import reflex as rx

from qlora_studio.components.surfaces import card
from qlora_studio.state.job import JobState

_CELL = "py-2 text-[13px] border-b border-border"


def actuals_card() -> rx.Component:
    """Memory, time and disk; nothing for a job without a forecast."""
    table = rx.el.table(
        rx.el.thead(
            rx.el.tr(
                *(_heading(text, end=bool(n)) for n, text in enumerate(("", "Forecast", "What it took"))),
            )
        ),
        rx.el.tbody(rx.foreach(JobState.job.actuals, _row)),
        class_name="w-full border-collapse",
        id="actuals",
    )
    return rx.cond(
        JobState.job.actuals.length() > 0,
        card(table, title="Forecast and what it took", class_name="mt-4"),
        rx.fragment(),
    )


def _heading(text: str, *, end: bool) -> rx.Component:
    name = rx.el.span(text or "What", class_name="" if text else "sr-only")
    side = " text-right" if end else " text-left"
    return rx.el.th(name, scope="col", class_name=f"{_CELL} font-normal text-muted-foreground{side}")


def _row(row: Any) -> rx.Component:
    took = rx.cond(
        row.took != "", row.took, rx.el.span("not known yet", class_name="text-muted-foreground font-normal")
    )
    return rx.el.tr(
        rx.el.th(
            row.name, scope="row", class_name=f"{_CELL} font-normal text-left text-muted-foreground pr-3"
        ),
        rx.el.td(row.foretold, class_name=f"{_CELL} text-right tabular"),
        rx.el.td(took, class_name=f"{_CELL} text-right tabular font-medium pl-3"),
    )
