"""“Update from feedback”: the button beside a dataset, and the dialog that says what comes and goes."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button
from qlora_studio.components.dialogs import dialog
from qlora_studio.state.feedback_updates import FeedbackUpdateState


def update_button(dataset_id: Any, name: Any) -> rx.Component:
    """Ask what an update of a dataset would do."""
    return button(
        "Update from feedback",
        icon="refresh-cw",
        size="sm",
        on_click=FeedbackUpdateState.ask(dataset_id),
        aria_label=rx.Var.create("Update from feedback: ") + name,
    )


def update_dialog() -> rx.Component:
    """What comes, goes and stays; nothing changes before it is confirmed."""
    state = FeedbackUpdateState
    counts = rx.el.dl(
        _count("Come", state.added),
        _count("Go", state.removed),
        _count("Stay", state.kept),
        class_name="grid grid-cols-3 gap-3 m-0",
    )
    return dialog(
        rx.el.div(
            rx.cond(state.can_update, counts, rx.fragment()),
            rx.el.p(state.message, id="update-message", class_name="text-sm"),
            rx.el.p(state.problem, role="alert", class_name="text-[13px] text-danger empty:hidden"),
            rx.cond(
                state.can_update,
                rx.el.div(
                    button("Cancel", on_click=state.close),
                    button(
                        "Make the next version",
                        variant="primary",
                        loading=state.is_sending,
                        on_click=state.update_it,
                    ),
                    class_name="flex justify-end gap-2 mt-2",
                ),
                rx.el.div(button("Close", on_click=state.close), class_name="flex justify-end mt-2"),
            ),
            class_name="flex flex-col gap-4",
        ),
        is_open=state.dataset_id != "",
        title="Update from feedback",
        description=rx.el.span("“", state.name, "”: its own filter, asked again. Versions before stay."),
        on_close=state.close,
    )


def _count(label: str, value: Any) -> rx.Component:
    return rx.el.div(
        rx.el.dt(label, class_name="text-xs text-muted-foreground"),
        rx.el.dd(value, class_name="m-0 text-xl font-semibold tabular"),
        class_name="rounded-lg border border-border px-3 py-2",
    )
