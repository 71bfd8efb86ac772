"""What is going on: the first page after signing in."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button, link_button, page_link
from qlora_studio.components.details import sparkline, time_text
from qlora_studio.components.feedback import skeleton
from qlora_studio.components.shell import studio_page
from qlora_studio.components.status import progress_bar, status_badge
from qlora_studio.components.surfaces import card, grid, page_header, stat_card
from qlora_studio.state.dashboard import Activity, DashboardState, LiveJob, Meter


@studio_page(
    "/",
    title="Dashboard",
    section="dashboard",
    on_load=[DashboardState.load, DashboardState.watch],
    wide=False,
)
def dashboard() -> rx.Component:
    """Counts, jobs under way, machine, activity, and the next step for an empty account."""
    start = link_button("Start training", href=DashboardState.train_href, icon="play", variant="primary")
    return rx.fragment(
        page_header("Dashboard", "Your recordings, models and training at a glance.", start),
        rx.cond(DashboardState.is_loading, _loading(), _full()),
    )


def _loading() -> rx.Component:
    box = "h-[104px] w-full !rounded-[10px]"
    return rx.el.div(
        grid(*(skeleton(box) for _ in range(4))),
        rx.el.div(
            skeleton("h-72 lg:col-span-2 !rounded-[10px]"),
            skeleton("h-72 !rounded-[10px]"),
            class_name="grid grid-cols-1 lg:grid-cols-3 gap-4 mt-4",
        ),
        role="status",
        aria_label="Loading",
    )


def _full() -> rx.Component:
    state = DashboardState
    return rx.fragment(
        grid(
            stat_card(
                "Datasets",
                state.counts["datasets"],
                icon="audio-lines",
                hint=state.hints["datasets"],
                href="/datasets",
            ),
            stat_card(
                "Models", state.counts["models"], icon="box", hint=state.hints["models"], href="/models"
            ),
            stat_card(
                "Training jobs",
                state.counts["jobs"],
                icon="chart-spline",
                hint=state.hints["jobs"],
                href="/training",
            ),
            stat_card(
                "Adapters",
                state.counts["adapters"],
                icon="layers",
                hint=state.hints["adapters"],
                href="/adapters",
            ),
        ),
        rx.el.div(
            rx.el.div(
                rx.cond(state.has_job, rx.fragment(), _first_steps()),
                rx.cond((state.live.length() > 0) | state.has_job, _live_jobs(), rx.fragment()),
                _activity(),
                class_name="lg:col-span-2 flex flex-col gap-4 min-w-0",
            ),
            rx.el.div(_machine(), class_name="min-w-0"),
            class_name="grid grid-cols-1 lg:grid-cols-3 gap-4 mt-4 items-start",
        ),
    )


def _first_steps() -> rx.Component:
    state = DashboardState
    add = button(
        "Add example dataset",
        icon="plus",
        size="sm",
        variant="primary",
        loading=state.is_adding_dataset | state.is_dataset_busy,
        on_click=state.add_example_dataset,
    )
    model = button(
        "Add starter model",
        icon="plus",
        size="sm",
        variant="primary",
        loading=state.is_adding_model,
        on_click=state.add_starter_model,
    )
    train = rx.cond(
        state.has_dataset & state.has_model,
        link_button("Start training", href=state.train_href, icon="play", size="sm", variant="primary"),
        rx.el.span("First the two above", class_name="text-[13px] text-muted-foreground"),
    )
    return card(
        rx.el.ol(
            _step(
                1,
                "Recordings",
                "21 minutes of real speech with its words, or your own.",
                state.has_dataset,
                add,
            ),
            _step(
                2,
                "A base model",
                "A small speech recogniser to start from, or your own.",
                state.has_model,
                model,
            ),
            _step(
                3,
                "Fine-tune it",
                "A few minutes on this machine. Watch the word error rate fall.",
                state.has_job,
                train,
            ),
            class_name="list-none m-0 p-0 flex flex-col divide-y divide-border",
        ),
        title="Your first fine-tuned model",
        description="Everything needed is here; nothing is fetched from the network.",
    )


def _step(number: int, title: str, text: str, is_done: Any, action: rx.Component) -> rx.Component:
    circle = "grid place-items-center h-7 w-7 rounded-full text-xs font-semibold shrink-0 "
    mark = rx.cond(
        is_done,
        rx.el.span(
            rx.icon("check", size=15, aria_hidden="true"), class_name=circle + "bg-success-soft text-success"
        ),
        rx.el.span(str(number), class_name=circle + "bg-subtle text-foreground"),
    )
    return rx.el.li(
        mark,
        rx.el.div(
            rx.el.p(title, class_name="font-medium"),
            rx.el.p(text, class_name="text-[13px] text-muted-foreground"),
            class_name="min-w-0 flex-1 basis-52",
        ),
        rx.cond(is_done, rx.el.span("Done", class_name="text-[13px] font-medium text-success"), action),
        class_name="flex flex-wrap items-center gap-x-3.5 gap-y-2 py-3.5 first:pt-0 last:pb-0",
    )


def _live_jobs() -> rx.Component:
    state = DashboardState
    none = rx.el.p(
        "Nothing is running. Finished jobs are under Training.",
        class_name="text-muted-foreground text-[13px]",
    )
    return card(
        rx.cond(
            state.live.length() > 0,
            rx.el.div(rx.foreach(state.live, _live_job), class_name="flex flex-col gap-3"),
            none,
        ),
        title="Under way",
    )


def _live_job(job: rx.Var[LiveJob]) -> rx.Component:
    base = "block rounded-[10px] p-4 "
    return page_link(
        rx.el.div(
            rx.el.div(
                rx.el.p(job.name, class_name="font-medium truncate"),
                rx.el.p(job.what, class_name="text-[13px] text-muted-foreground truncate"),
                class_name="min-w-0 flex-1",
            ),
            rx.cond(
                job.spark != "",
                rx.el.div(
                    sparkline(job.spark, label="Loss so far", width=112, height=30),
                    class_name="hidden sm:block",
                ),
                rx.fragment(),
            ),
            status_badge(job.status),
            class_name="flex items-center gap-4",
        ),
        progress_bar(job.percent, label="Progress of " + job.name, active=job.is_running, class_name="mt-3"),
        rx.el.div(
            rx.el.span(job.progress),
            rx.el.span(job.headline),
            rx.el.span(job.left, class_name="ml-auto"),
            class_name="flex flex-wrap gap-x-4 text-xs text-muted-foreground mt-2 tabular min-h-[1.1rem]",
        ),
        href="/training/" + job.id,
        class_name=rx.cond(
            job.is_running, base + "running-border", base + "border border-border hover:border-border-strong"
        ),
    )


def _activity() -> rx.Component:
    state = DashboardState
    return card(
        rx.cond(
            state.activity.length() > 0,
            rx.el.ul(
                rx.foreach(state.activity, _activity_line),
                class_name="list-none m-0 p-0 divide-y divide-border",
            ),
            rx.el.p("What you do shows up here.", class_name="text-muted-foreground text-[13px]"),
        ),
        title="Recent activity",
    )


def _activity_line(line: rx.Var[Activity]) -> rx.Component:
    name = rx.cond(
        line.href != "",
        page_link(
            line.name,
            href=line.href,
            class_name="font-medium hover:underline underline-offset-4 truncate min-w-0",
        ),
        rx.el.span(line.name, class_name="font-medium truncate min-w-0"),
    )
    return rx.el.li(
        rx.match(
            line.icon,
            *(
                (icon, rx.icon(icon, size=15, aria_hidden="true"))
                for icon in ("audio-lines", "box", "chart-spline", "layers", "user")
            ),
            rx.icon("circle-dot", size=15, aria_hidden="true"),
        ),
        rx.el.span(line.text, class_name="whitespace-nowrap text-muted-foreground"),
        name,
        rx.el.span(
            time_text(line.relative, line.exact), class_name="ml-auto text-xs text-muted-foreground pl-2"
        ),
        class_name="flex items-center gap-2.5 py-2 text-[13px] first:pt-0 last:pb-0",
    )


def _machine() -> rx.Component:
    state = DashboardState
    return card(
        rx.el.p(
            state.machine, class_name="text-[13px] text-muted-foreground mb-4 truncate", title=state.machine
        ),
        rx.el.div(rx.foreach(state.meters, _meter), class_name="flex flex-col gap-4"),
        rx.el.div(
            rx.el.span("Queue", class_name="font-medium"),
            rx.el.span(state.queue, class_name="text-muted-foreground tabular"),
            class_name="flex justify-between gap-4 text-[13px] border-t border-border mt-5 pt-3.5",
        ),
        title="This machine",
    )


def _meter(meter: rx.Var[Meter]) -> rx.Component:
    return rx.el.div(
        rx.el.div(
            rx.el.span(meter.name, class_name="font-medium truncate"),
            rx.el.span(meter.text, class_name="text-muted-foreground tabular whitespace-nowrap"),
            class_name="flex justify-between gap-4 text-[13px] mb-1.5",
        ),
        progress_bar(meter.percent, label=meter.name),
    )
