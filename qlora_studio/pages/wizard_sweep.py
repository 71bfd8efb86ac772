"""Several values of up to three parameters, in the wizard's third step."""

import reflex as rx

from qlora_studio.components.buttons import button, icon_button
from qlora_studio.components.forms import error_text, select_input, text_input
from qlora_studio.components.surfaces import card
from qlora_studio.services.sweeps import MAX_AXES
from qlora_studio.state.wizard import WizardState
from qlora_studio.state.wizard_sweep import OPTIONS

_TYPED_PAUSE_MS = 400


def sweep_card() -> rx.Component:
    """A line for each parameter that is varied, and how many jobs that makes."""
    state = WizardState
    add = button(
        rx.cond(state.axes.length() > 0, "Another parameter", "Try several values"),
        icon="plus",
        size="sm",
        on_click=state.add_axis,
    )
    return card(
        rx.el.div(rx.foreach(state.axes, _axis), class_name="flex flex-col gap-4"),
        rx.el.div(
            rx.cond(state.axes.length() < MAX_AXES, add, rx.fragment()),
            rx.el.p(state.sweep_note, role="status", class_name="text-[13px] font-medium tabular"),
            class_name=rx.cond(
                state.axes.length() > 0, "flex flex-wrap items-center gap-4 mt-4", "flex items-center gap-4"
            ),
        ),
        rx.el.div(error_text("axes", state.field_errors.get("axes", "")), class_name="mt-2"),
        title="Try several values",
        description="One job for each combination, compared in one table; at most 64.",
        class_name="mt-4",
    )


def _axis(axis: rx.Var[list[str]], index: rx.Var[int]) -> rx.Component:
    state = WizardState
    number = (index + 1).to_string()
    error = state.field_errors.get(rx.Var.create("axes.") + axis[0], "")
    parameter, name = rx.Var.create("axis-") + number, rx.Var.create("axis-values-") + number
    shown = rx.Var(f"document.getElementById({parameter!s}).value").to(str)  # the page may be ahead of us
    return rx.el.div(
        rx.el.div(
            rx.el.div(
                select_input(
                    name=parameter,
                    options=[(option, label) for option, label in OPTIONS],
                    default_value=axis[0],
                    aria_label=rx.Var.create("Parameter ") + number,
                    on_change=lambda value: [_begin_values(name, value), state.set_axis(index, value)],
                ),
                class_name="sm:w-56 shrink-0",
            ),
            rx.el.div(
                text_input(
                    name=name,
                    error=error,
                    default_value=axis[1],
                    aria_label=rx.Var.create("Values of parameter ") + number,
                    placeholder="Values, separated by commas",
                    auto_complete="off",
                    on_change=lambda text: state.set_axis_values.debounce(_TYPED_PAUSE_MS)(
                        index, shown, text
                    ),
                    on_blur=lambda text: state.set_axis_values(index, shown, text),
                ),
                icon_button(
                    "x", rx.Var.create("Remove parameter ") + number, on_click=state.remove_axis(index)
                ),
                class_name="flex items-center gap-2 grow min-w-0",
            ),
            class_name="flex flex-col sm:flex-row sm:items-center gap-2",
        ),
        rx.el.div(error_text(name, error), class_name="mt-1.5"),
        key=axis[2],
    )


def _begin_values(name: rx.Var[str], parameter: rx.Var[str]) -> rx.event.EventSpec:
    """Have the field begin with the value that the chosen parameter has.

    In the browser: the answer may come when other values have been typed already.
    """
    now = WizardState.values[parameter]
    return rx.call_function(rx.Var(f"() => {{ document.getElementById({name!s}).value = {now!s} ?? ''; }}"))
