"""The queue, above the list of jobs: who is next, and whether it moves."""

import reflex as rx

from qlora_studio.components.buttons import button, icon_button, page_link
from qlora_studio.components.dialogs import dialog, dialog_form
from qlora_studio.components.forms import text_field
from qlora_studio.components.sharing import for_trainers
from qlora_studio.components.surfaces import card, notice
from qlora_studio.state.jobs import TrainingState
from qlora_studio.state.queue_rows import QueuedRow


def pause_button() -> rx.Component:
    """For admins, while the queue moves."""
    pause = button("Pause the queue", icon="pause", on_click=TrainingState.ask_pause(True))
    return rx.fragment(rx.cond(TrainingState.queue.may_pause, pause, rx.fragment()), _pause_dialog())


def queue_section() -> rx.Component:
    """What waits, in the order in which it starts; nothing while nothing waits."""
    panel = TrainingState.queue
    waiting = card(
        rx.el.ol(
            rx.foreach(TrainingState.queued, _row),
            class_name="list-none m-0 p-0 divide-y divide-border",
            aria_label="Queued jobs",
        ),
        title="Queue",
        description=panel.slots,
    )
    return rx.cond(
        panel.is_shown,
        rx.el.div(
            rx.cond(panel.why != "", _why(), rx.fragment()),
            rx.cond(TrainingState.queued.length() > 0, waiting, rx.fragment()),
            class_name="flex flex-col gap-3 mb-5",
        ),
        rx.fragment(),
    )


def _why() -> rx.Component:
    go_on = button(
        "Let it go on",
        icon="play",
        size="sm",
        loading=TrainingState.is_sending,
        on_click=TrainingState.go_on,
    )
    return notice(
        TrainingState.queue.why,
        icon="pause",
        tone="warning",
        action=rx.cond(TrainingState.queue.can_go_on, go_on, rx.fragment()),
    )


def _row(row: QueuedRow) -> rx.Component:
    name = rx.cond(
        row.href != "",
        page_link(row.name, href=row.href, class_name="font-medium hover:underline underline-offset-4"),
        rx.el.span(row.name, class_name="font-medium"),
    )
    return rx.el.li(
        rx.el.span(row.place, class_name="w-7 shrink-0 text-right tabular text-muted-foreground"),
        rx.el.div(
            rx.el.p(name, class_name="truncate"),
            rx.cond(
                row.detail != "",
                rx.el.p(row.detail, class_name="text-xs text-muted-foreground truncate"),
                rx.fragment(),
            ),
            class_name="min-w-0 flex-1 text-[13px]",
        ),
        for_trainers(
            icon_button(
                "arrow-up",
                rx.Var.create("Move up: ") + row.name,
                aria_disabled=row.is_first,
                class_name=_dimmed(row.is_first),
                on_click=TrainingState.move(row.id, -1),
            ),
            icon_button(
                "arrow-down",
                rx.Var.create("Move down: ") + row.name,
                aria_disabled=row.is_last,
                class_name=_dimmed(row.is_last),
                on_click=TrainingState.move(row.id, 1),
            ),
        ),
        key=row.id,
        class_name="flex items-center gap-2 py-1.5",
    )


def _dimmed(is_off: rx.Var[bool]) -> rx.Var[str]:
    """Still there for the keyboard: a button that goes away takes the focus with it."""
    return rx.cond(is_off, "opacity-40 cursor-default", "")


def _pause_dialog() -> rx.Component:
    return dialog(
        dialog_form(
            text_field("Why", name="note", max_length=500, optional=True, help="People who wait read this."),
            label="Pause the queue",
            on_submit=TrainingState.pause,
            on_cancel=TrainingState.close_pause,
        ),
        is_open=TrainingState.is_pausing,
        title="Pause the queue",
        description="No further job is started until somebody lets it go on. What runs is not touched.",
        on_close=TrainingState.close_pause,
    )
