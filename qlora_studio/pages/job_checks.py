"""What a job has found out about itself, each as a badge and a sentence."""

from typing import Any

import reflex as rx

from qlora_studio.components.status import status_badge
from qlora_studio.components.surfaces import card
from qlora_studio.state.job import JobState


def checks_card() -> rx.Component:
    """The checks that have an outcome; nothing before the first one."""
    return rx.cond(
        JobState.job.checks.length() > 0,
        card(
            rx.el.ul(
                rx.foreach(JobState.job.checks, _check), class_name="list-none m-0 p-0 divide-y divide-border"
            ),
            class_name="mt-4 !py-2",
            id="checks",
        ),
        rx.fragment(),
    )


def _check(row: Any) -> rx.Component:
    return rx.el.li(
        rx.el.div(
            rx.el.span(row.name, class_name="text-[13px] font-medium"),
            status_badge(row.status),
            class_name="flex items-center gap-2 sm:w-72 shrink-0",
        ),
        rx.el.p(row.text, class_name="text-[13px] text-muted-foreground min-w-0"),
        class_name="flex flex-wrap sm:flex-nowrap items-start gap-x-4 gap-y-1.5 py-3",
    )
