"""The steps of a wizard across the top: done ones can be clicked, the present one is named."""

from collections.abc import Sequence
from typing import Any

import reflex as rx


def stepper(steps: Sequence[str], *, current: Any, on_step: Any) -> rx.Component:
    """Steps with their numbers.

    Args:
        steps: their names, in order.
        current: the index of the present step (int Var), from 0.
        on_step: a handler that takes an index; called for steps that are done.
    """
    return rx.el.nav(
        rx.el.ol(
            *(_step(i, name, len(steps), current, on_step) for i, name in enumerate(steps)),
            class_name="flex items-center gap-2 sm:gap-3 list-none p-0 m-0 overflow-x-auto",
        ),
        aria_label="Steps",
        class_name="mb-6",
    )


def _step(index: int, name: str, n_steps: int, current: Any, on_step: Any) -> rx.Component:
    is_done, is_now = current > index, current == index
    circle = rx.el.span(
        rx.cond(is_done, rx.icon("check", size=13, aria_hidden="true"), rx.fragment(str(index + 1))),
        class_name=rx.cond(
            current >= index,
            "grid place-items-center h-6 w-6 rounded-full text-xs font-semibold shrink-0 bg-primary text-primary-foreground",
            "grid place-items-center h-6 w-6 rounded-full text-xs font-semibold shrink-0 bg-subtle text-muted-foreground",
        ),
    )
    label = rx.el.span(
        name,
        class_name=rx.cond(
            is_now,
            "text-[13px] font-semibold whitespace-nowrap",
            "text-[13px] text-muted-foreground whitespace-nowrap sr-only sm:not-sr-only",
        ),
    )
    line = (
        [rx.el.span(class_name="h-px w-5 sm:w-10 bg-border shrink-0", aria_hidden="true")]
        if index < n_steps - 1
        else []
    )
    return rx.el.li(
        rx.el.button(
            circle,
            label,
            type="button",
            disabled=~is_done,
            aria_current=rx.cond(is_now, "step", "false"),
            on_click=on_step(index),
            class_name="flex items-center gap-2 rounded-lg px-1 py-1 enabled:cursor-pointer enabled:hover:bg-muted",
        ),
        *line,
        class_name="flex items-center gap-2 sm:gap-3 shrink-0",
    )
