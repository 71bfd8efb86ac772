"""The wizard's card “Try one step”: does the job run at all, and what does a step take?"""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button
from qlora_studio.components.surfaces import card, notice
from qlora_studio.state.rehearsal import RehearsalState

_CELL = "py-2 text-[13px] border-b border-border"


def rehearsal_card() -> rx.Component:
    """A button, then how far it is, then what came of it beside the forecast."""
    state = RehearsalState
    return card(
        rx.el.p(
            "Loads the model, trains on the longest clips for a moment, saves, and reads all clips. "
            "Nothing of it is kept.",
            class_name="text-[13px] text-muted-foreground mb-3",
        ),
        rx.cond(state.is_busy, _under_way(), _buttons()),
        rx.match(
            state.view.tone,
            ("success", _outcome("success", "circle-check")),
            ("danger", _outcome("danger", "circle-x")),
            rx.fragment(),
        ),
        rx.cond(state.rows.length() > 0, _table(), rx.fragment()),
        title="Try one step",
        class_name="mt-4",
        id="rehearsal",
        on_mount=state.forget,
    )


def _buttons() -> rx.Component:
    state = RehearsalState
    return rx.el.div(
        button("Try one step", icon="flask-conical", on_click=state.start),
        rx.cond(
            state.can_wait,
            button("Wait for the running job", icon="clock", on_click=state.start_and_wait),
            rx.fragment(),
        ),
        class_name="flex flex-wrap gap-2",
    )


def _under_way() -> rx.Component:
    state = RehearsalState
    return rx.el.div(
        rx.icon("loader-circle", size=16, class_name="spinner shrink-0", aria_hidden="true"),
        rx.el.span(state.view.label, class_name="text-[13px] min-w-0", role="status"),
        button("Cancel", size="sm", variant="ghost", on_click=state.cancel),
        class_name="flex items-center gap-2.5",
    )


def _outcome(tone: str, icon: str) -> rx.Component:
    return rx.el.div(notice(RehearsalState.view.sentence, tone=tone, icon=icon), class_name="mt-3")


def _table() -> rx.Component:
    headings = (("What", "sr-only", "text-left"), ("Forecast", "", "text-right"), ("Found", "", "text-right"))
    return rx.el.table(
        rx.el.thead(
            rx.el.tr(
                *(
                    rx.el.th(
                        rx.el.span(text, class_name=hidden),
                        scope="col",
                        class_name=f"{_CELL} {side} font-normal text-muted-foreground",
                    )
                    for text, hidden, side in headings
                )
            )
        ),
        rx.el.tbody(rx.foreach(RehearsalState.rows, _row)),
        class_name="w-full border-collapse mt-3",
    )


def _row(row: Any) -> rx.Component:
    name = f"{_CELL} font-normal text-left text-muted-foreground pr-3"
    return rx.el.tr(
        rx.el.th(row.name, scope="row", class_name=name),
        rx.el.td(row.foretold, class_name=f"{_CELL} text-right tabular"),
        rx.el.td(row.found, class_name=f"{_CELL} text-right tabular font-medium pl-3"),
    )
