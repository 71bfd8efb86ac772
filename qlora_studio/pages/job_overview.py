"""The first tab of a job: its result, its progress, and the two curves that matter."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import link_or_text
from qlora_studio.components.details import key_values
from qlora_studio.components.status import progress_bar
from qlora_studio.components.surfaces import card, grid
from qlora_studio.pages.job_actuals import actuals_card
from qlora_studio.pages.job_charts import loss_chart, quality_chart
from qlora_studio.pages.job_checks import checks_card
from qlora_studio.pages.job_confusion import confusion_card
from qlora_studio.pages.job_range_test import range_test_card
from qlora_studio.state.job import JobState


def overview_tab() -> rx.Component:
    """The result first, then how far it is, the two curves that matter, and the facts."""
    return rx.fragment(
        range_test_card(),
        grid(_if_measured(_headline()), _progress(), columns="lg:grid-cols-2"),
        checks_card(),
        grid(
            loss_chart(height=240),
            _if_measured(quality_chart(height=240)),
            columns="lg:grid-cols-2",
            class_name="mt-4",
        ),
        confusion_card(),
        actuals_card(),
        card(_facts(), title="Details", class_name="mt-4"),
    )


def _if_measured(part: rx.Component) -> rx.Component:
    """A range test measures nothing on held-out clips."""
    return rx.cond(JobState.range_test.path == "", part, rx.fragment())


def _headline() -> rx.Component:
    job = JobState.job
    number = "text-[34px] leading-10 font-semibold tracking-[-0.03em] tabular"
    return card(
        rx.el.p(job.metric_name, class_name="text-[13px] text-muted-foreground first-letter:uppercase"),
        rx.el.p(
            rx.el.span(job.before, class_name=number + " text-muted-foreground"),
            rx.icon("arrow-right", size=22, class_name="text-muted-foreground", aria_label="to"),
            rx.el.span(
                job.now, class_name=rx.cond(job.is_better, number + " text-success", number), id="metric-now"
            ),
            class_name="flex items-center gap-3 mt-1.5",
        ),
        rx.el.p(
            rx.cond(
                job.change != "",
                rx.cond(
                    job.is_better,
                    rx.cond(job.is_higher_better, _trend("trending-up"), _trend("trending-down")),
                    rx.icon("minus", size=14, class_name="text-muted-foreground", aria_hidden="true"),
                ),
                rx.fragment(),
            ),
            rx.cond(
                job.change != "", job.change, "Base model on the left, the best adapter so far on the right"
            ),
            class_name="flex items-center gap-1.5 text-[13px] text-muted-foreground mt-1.5",
        ),
        rx.cond(
            job.without_model != "",
            rx.el.p(
                "Without a model: ", job.without_model, class_name="text-[13px] text-muted-foreground mt-1"
            ),
            rx.fragment(),
        ),
    )


def _trend(icon: str) -> rx.Component:
    return rx.icon(icon, size=14, class_name="text-success", aria_hidden="true")


def _progress() -> rx.Component:
    job = JobState.job
    return card(
        rx.el.div(
            rx.el.p(
                rx.cond(job.is_active, job.phase, "Progress"), class_name="text-[13px] text-muted-foreground"
            ),
            rx.el.p(
                job.percent.to_string(), " %", class_name="text-[13px] font-medium tabular", id="percent"
            ),
            class_name="flex justify-between gap-4",
        ),
        progress_bar(
            job.percent, label="Progress of the training", active=job.is_active, class_name="mt-2.5 !h-2"
        ),
        rx.cond(
            job.status == "queued",
            rx.el.p(job.phase, class_name="text-[13px] text-muted-foreground mt-3"),
            rx.el.dl(
                _figure("Step", job.progress),
                _figure("Epoch", job.epochs),
                _figure("Time left", job.eta),
                _figure("Took", job.took),
                class_name="grid grid-cols-2 sm:grid-cols-4 gap-3 mt-4 mb-0",
            ),
        ),
    )


def _figure(name: str, value: Any) -> rx.Component:
    return rx.el.div(
        rx.el.dt(name, class_name="text-xs text-muted-foreground"),
        rx.el.dd(value, class_name="m-0 text-sm font-medium tabular whitespace-nowrap"),
    )


def _facts() -> rx.Component:
    job = JobState.job
    return key_values(
        ("Model", link_or_text(job.model, href=job.model_href)),
        ("Dataset", link_or_text(job.dataset, href=job.dataset_href)),
        ("Training", job.training),
        ("Device", job.device),
        ("Speed", job.speed),
        ("Peak memory", job.memory),
        ("Last checkpoint", job.checkpoint),
        ("Attempt", job.attempt),
        ("Launched", job.created),
        ("Started", job.started),
        columns=2,
    )
