"""The Studio's dialog that puts the same text and seeds, made otherwise, beside what is there."""

import reflex as rx

from qlora_studio.components.buttons import button
from qlora_studio.components.dialogs import dialog
from qlora_studio.components.forms import select_field, slider_field
from qlora_studio.components.surfaces import notice
from qlora_studio.state.comparing import BASE
from qlora_studio.state.takes import TakesState


def compare_dialog() -> rx.Component:
    """Choose what B is."""
    state = TakesState
    return dialog(
        rx.cond(
            state.makers.length() > 0,
            _choice(),
            notice(
                "This model has no adapters yet. Train one, or compare takes of an adapter with the base."
            ),
        ),
        is_open=state.comparing_id != "",
        title="Compare",
        description=rx.fragment(
            "The same text with the same seeds, made otherwise: “", state.comparing_name, "”"
        ),
        on_close=state.close_compare,
    )


def _choice() -> rx.Component:
    state = TakesState
    return rx.el.div(
        rx.el.p(rx.el.strong("A"), " ", state.compared_by, class_name="text-[13px] break-words"),
        select_field(
            "B",
            name="compare-other",
            options=state.makers,
            value=state.other,
            on_change=state.choose_other,
        ),
        rx.cond(
            state.other == BASE,
            rx.fragment(),
            slider_field(
                "Strength",
                name="compare-strength",
                unit="×",
                min="0",
                max="2",
                step="0.05",
                value=state.other_strength,
                on_change=state.set_other_strength,
                error="",
            ),
        ),
        rx.cond(
            state.compare_refusal != "",
            notice(state.compare_refusal, tone="danger", icon="circle-alert"),
            rx.fragment(),
        ),
        rx.el.div(
            button("Cancel", on_click=state.close_compare),
            button("Compare", variant="primary", loading=state.is_comparing, on_click=state.compare),
            class_name="flex justify-end gap-2",
        ),
        class_name="flex flex-col gap-4",
    )
