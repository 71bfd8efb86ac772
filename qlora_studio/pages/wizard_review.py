"""The wizard's last step: what the job will take, what it will hear, and how to repeat it."""

from typing import Any

import reflex as rx

from qlora_studio.components.details import code_block, key_values
from qlora_studio.components.feedback import skeleton
from qlora_studio.components.player import player
from qlora_studio.components.status import progress_bar
from qlora_studio.components.surfaces import card, grid, notice
from qlora_studio.pages.wizard_rehearsal import rehearsal_card
from qlora_studio.state.wizard import WizardState
from qlora_studio.state.wizard_rows import ClipPreviewRow, PartRow


def review_step() -> rx.Component:
    """Forecast, first clips, command line and YAML."""
    state = WizardState
    return rx.cond(
        state.review.yaml == "",
        card(*(skeleton("h-10 w-full mb-3") for _ in range(5)), role="status", aria_label="Forecasting"),
        rx.fragment(
            rx.foreach(state.warnings, _warning),
            rx.cond(state.review.memory != "", _forecast(), rx.fragment()),
            rehearsal_card(),
            _batch(),
            _repeat(),
        ),
    )


def _warning(text: rx.Var[str]) -> rx.Component:
    return rx.el.div(notice(text, tone="warning", icon="triangle-alert"), class_name="mb-3")


def _forecast() -> rx.Component:
    review = WizardState.review
    return rx.fragment(
        grid(
            _figure("Memory", review.memory, rx.fragment(review.memory_free, " free"), review.memory_fits),
            _figure("Time", review.time, rx.fragment("likely ", review.time_range), True),
            _figure("Disk", review.disk, rx.fragment(review.disk_free, " free"), review.disk_fits),
            columns="sm:grid-cols-3",
        ),
        rx.el.div(_memory(), _time(), class_name="grid grid-cols-1 md:grid-cols-2 gap-4 mt-4"),
    )


def _figure(label: str, value: Any, hint: Any, fits: Any) -> rx.Component:
    short = rx.el.span(
        rx.icon("triangle-alert", size=13, aria_hidden="true"),
        "may not fit",
        class_name="inline-flex items-center gap-1 text-danger font-medium",
    )
    return rx.el.div(
        rx.el.span(label, class_name="text-[13px] text-muted-foreground"),
        rx.el.p(value, class_name="text-2xl font-semibold tracking-[-0.02em] tabular mt-1 leading-8"),
        rx.el.p(rx.cond(fits, hint, short), class_name="text-xs text-muted-foreground"),
        class_name="bg-card border border-border rounded-[10px] shadow-card px-4 py-3.5",
    )


def _memory() -> rx.Component:
    state = WizardState
    return card(
        progress_bar(state.review.memory_percent, label="Share of the free memory"),
        rx.el.p(
            state.review.memory_percent,
            " % of what is free on ",
            state.review.device,
            ". Rests on ",
            state.review.memory_basis,
            ".",
            class_name="text-xs text-muted-foreground mt-2 mb-3 tabular",
        ),
        rx.el.dl(rx.foreach(state.memory_parts, _part), class_name="m-0"),
        title="Memory, part by part",
    )


def _part(row: PartRow) -> rx.Component:
    return rx.el.div(
        rx.el.dt(row.name, class_name="text-muted-foreground w-24 shrink-0"),
        rx.el.dd(
            rx.el.div(
                rx.el.div(
                    class_name="h-full rounded-full bg-chart-1",
                    style={"width": row.percent.to_string() + "%"},
                ),
                class_name="h-1.5 flex-1 rounded-full bg-subtle overflow-hidden",
                aria_hidden="true",
            ),
            rx.el.span(row.text, class_name="w-20 text-right tabular font-medium"),
            class_name="flex items-center gap-3 flex-1 m-0",
        ),
        class_name="flex items-center gap-3 py-1.5 text-[13px]",
    )


def _time() -> rx.Component:
    review = WizardState.review
    return card(
        key_values(
            ("Length", review.steps),
            ("Parameters that move", review.trainable),
            ("Runs on", review.device),
            ("Rests on", review.time_basis),
        ),
        title="Time",
        description="An estimate: measuring the base model and loading are in it.",
    )


def _batch() -> rx.Component:
    state = WizardState
    nothing = rx.el.p(
        "No clip of the training split can be shown.", class_name="text-[13px] text-muted-foreground"
    )
    return card(
        rx.cond(state.batch.length() > 0, rx.el.div(rx.foreach(state.batch, _clip)), nothing),
        title="What it will hear",
        description="Clips of the training split, decoded as the model gets them.",
        class_name="mt-4",
    )


def _clip(row: ClipPreviewRow) -> rx.Component:
    problem = rx.el.p(row.error, class_name="text-[13px] text-danger")
    sound = rx.el.div(
        player(row.id, duration_s=row.duration_s, peaks=row.peaks, label=row.filename),
        class_name="w-full sm:w-60 shrink-0",
    )
    return rx.el.div(
        rx.cond(row.error != "", problem, sound),
        rx.el.div(
            rx.el.p(row.text, class_name="text-sm break-words"),
            rx.el.p(row.heard, class_name="text-xs text-muted-foreground tabular mt-0.5"),
            class_name="min-w-0",
        ),
        class_name="flex flex-col sm:flex-row sm:items-center gap-x-5 gap-y-2 py-3 border-b border-border last:border-0",
    )


def _repeat() -> rx.Component:
    review = WizardState.review
    return card(
        rx.el.p("Save this as a file …", class_name="text-[13px] mb-2"),
        code_block(review.yaml, label="Copy the YAML", max_height="260px"),
        rx.el.p("… and run it with no server:", class_name="text-[13px] mt-4 mb-2"),
        code_block(review.command, label="Copy the command"),
        title="The same from the command line",
        class_name="mt-4",
    )
