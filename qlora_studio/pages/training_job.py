"""The page of one job: overview, charts, samples, logs, config."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button, download_button, link_button
from qlora_studio.components.charts import Trace, chart_controls, live_chart
from qlora_studio.components.details import code_block, key_values, tabs
from qlora_studio.components.dialogs import confirm_dialog
from qlora_studio.components.feedback import empty_state, error_state, skeleton
from qlora_studio.components.forms import select_input
from qlora_studio.components.logs import log_view
from qlora_studio.components.samples import legend, sample_card
from qlora_studio.components.shell import studio_page
from qlora_studio.components.status import progress_bar, status_badge
from qlora_studio.components.surfaces import card, grid, notice, page_header
from qlora_studio.state.job import JobState

ACTION_BAR = "flex flex-wrap items-center gap-2 max-w-[calc(100vw-2rem)]"
_LEVELS = [("", "All lines"), ("warning", "Warnings and errors"), ("error", "Errors")]


@studio_page(
    "/training/[job_id]",
    title="Job",
    section="training",
    crumbs=[("Training", "/training")],
    here=JobState.job.name,
    on_load=JobState.load,
    wide=True,
)
def job() -> rx.Component:
    """One job, live."""
    return rx.cond(
        JobState.load_error != "",
        card(error_state(JobState.load_error, on_retry=JobState.load)),
        rx.cond(JobState.is_loading & (JobState.job.id == ""), _loading(), _page()),
    )


def _loading() -> rx.Component:
    return rx.el.div(
        skeleton("h-8 w-64"),
        skeleton("h-10 w-full mt-6"),
        grid(skeleton("h-72 w-full"), skeleton("h-72 w-full"), columns="lg:grid-cols-2", class_name="mt-5"),
        role="status",
        aria_label="Loading",
    )


def _page() -> rx.Component:
    address = rx.Var.create("/training/") + JobState.job.id
    return rx.fragment(
        page_header(
            rx.el.span(
                JobState.job.name,
                rx.el.span(status_badge(JobState.job.status), class_name="ml-3 align-middle tracking-normal"),
            ),
            rx.el.span(
                JobState.job.training,
                " of ",
                JobState.job.model,
                " on ",
                JobState.job.dataset,
            ),
            rx.el.div(*_actions(), class_name=ACTION_BAR),
        ),
        _failure(),
        rx.cond(
            JobState.job.stalled != "",
            rx.el.div(notice(JobState.job.stalled, icon="triangle-alert", tone="warning"), class_name="mb-5"),
            rx.fragment(),
        ),
        tabs(
            [
                ("overview", "Overview", address),
                ("charts", "Charts", address + "?tab=charts"),
                ("samples", "Samples", address + "?tab=samples"),
                ("logs", "Logs", address + "?tab=logs"),
                ("config", "Config", address + "?tab=config"),
            ],
            current=JobState.tab,
        ),
        rx.match(
            JobState.tab,
            ("charts", _charts()),
            ("samples", _samples()),
            ("logs", _logs()),
            ("config", _config()),
            _overview(),
        ),
        *_dialogs(),
    )


def _actions() -> list[rx.Component]:
    job = JobState.job
    results = rx.Var.create("/api/v1/jobs/") + job.id + "/results"
    return [
        rx.cond(
            job.can_stop,
            button(
                rx.cond(job.status == "queued", "Take out of the queue", "Stop and keep adapter"),
                icon="square",
                on_click=rx.cond(job.status == "queued", JobState.stop, JobState.show_dialog("stop")),
            ),
            rx.fragment(),
        ),
        rx.cond(
            job.can_discard,
            button(
                "Stop and discard",
                icon="octagon-x",
                variant="ghost",
                on_click=JobState.show_dialog("discard"),
            ),
            rx.fragment(),
        ),
        rx.cond(
            job.can_resume,
            button("Resume", icon="play", variant="primary", on_click=JobState.resume),
            rx.fragment(),
        ),
        rx.cond(job.is_active, rx.fragment(), link_button("Clone", href=job.clone_href, icon="copy")),
        rx.cond(job.has_results, download_button("Download results", href=results), rx.fragment()),
        rx.cond(
            job.adapter_href != "",
            link_button("Open adapter", href=job.adapter_href, icon="layers", variant="primary"),
            rx.fragment(),
        ),
        rx.cond(
            job.can_delete & (job.status != "queued"),
            button("Delete", icon="trash-2", variant="ghost", on_click=JobState.show_dialog("delete")),
            rx.fragment(),
        ),
    ]


def _failure() -> rx.Component:
    job = JobState.job
    action = rx.cond(
        job.action.resume,
        button(job.action.label, icon="play", size="sm", on_click=JobState.resume),
        link_button(job.action.label, href=job.action.href, size="sm", icon="arrow-right"),
    )
    failed = notice(job.message, icon="circle-alert", tone="danger", action=action)
    ended = notice(job.message, icon="info", tone="info")
    return rx.cond(
        job.is_failure,
        rx.el.div(failed, class_name="mb-5"),
        rx.cond(
            (job.status == "stopped") & (job.message != ""),
            rx.el.div(ended, class_name="mb-5"),
            rx.fragment(),
        ),
    )


# -- overview --------------------------------------------------------------------------------------------


def _overview() -> rx.Component:
    return rx.fragment(
        grid(_headline(), _progress(), columns="lg:grid-cols-2"),
        grid(
            card(_loss(height=240), title="Loss"),
            card(_error_rate(height=240), title="Error rate on held-out clips"),
            columns="lg:grid-cols-2",
            class_name="mt-4",
        ),
        card(_facts(), title="Details", class_name="mt-4"),
    )


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
                    rx.icon("trending-down", size=14, class_name="text-success", aria_hidden="true"),
                    rx.icon("minus", size=14, class_name="text-muted-foreground", aria_hidden="true"),
                ),
                rx.fragment(),
            ),
            rx.cond(
                job.change != "", job.change, "Base model on the left, the best adapter so far on the right"
            ),
            class_name="flex items-center gap-1.5 text-[13px] text-muted-foreground mt-1.5",
        ),
    )


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
    link = "text-primary-text hover:underline underline-offset-4"
    return key_values(
        ("Model", rx.link(job.model, href=job.model_href, class_name=link)),
        ("Dataset", rx.link(job.dataset, href=job.dataset_href, class_name=link)),
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


# -- charts ----------------------------------------------------------------------------------------------


def _chart(label: str, *traces: Trace, **options: Any) -> rx.Component:
    return live_chart(
        traces,
        label=label,
        curves=JobState.curves,
        tail=JobState.tail,
        job_id=JobState.job.id,
        **options,
    )


def _loss(height: int) -> rx.Component:
    return _chart(
        "Loss",
        Trace("loss", "Training"),
        Trace("eval_loss", "Held-out", "--chart-3", dots=True),
        height=height,
    )


def _error_rate(height: int) -> rx.Component:
    return _chart(
        "Error rate on held-out clips",
        Trace("wer", "Words", "--chart-1", dots=True),
        Trace("cer", "Characters", "--chart-2", dots=True),
        kind="percent",
        base=JobState.job.base,
        height=height,
    )


def _charts() -> rx.Component:
    height = 230
    return rx.fragment(
        rx.el.div(chart_controls(), class_name="mb-4"),
        grid(
            card(_loss(height), title="Loss"),
            card(_error_rate(height), title="Error rate on held-out clips"),
            card(
                _chart("Learning rate", Trace("learning_rate", "Learning rate"), height=height),
                title="Learning rate",
            ),
            card(
                _chart("Speed", Trace("samples_per_s", "Clips"), kind="rate", unit="clips/s", height=height),
                title="Speed, clips per second",
            ),
            card(_chart("Gradient norm", Trace("grad_norm", "Norm"), height=height), title="Gradient norm"),
            card(
                _chart(
                    "Audio per second",
                    Trace("audio_s_per_s", "Audio"),
                    kind="rate",
                    unit="s/s",
                    height=height,
                ),
                title="Speed, seconds of audio per second",
            ),
            columns="lg:grid-cols-2 2xl:grid-cols-3",
        ),
        rx.el.h2("Machine", class_name="text-[15px] font-semibold mt-8 mb-3"),
        grid(
            card(
                _chart(
                    "Processor",
                    Trace("cpu_percent", "CPU"),
                    Trace("gpu_percent", "GPU", "--chart-4"),
                    kind="rate",
                    unit="%",
                    by_time=True,
                    height=height,
                ),
                title="Processor, percent of one core",
            ),
            card(
                _chart(
                    "Memory",
                    Trace("rss_bytes", "Memory", "--chart-2"),
                    Trace("gpu_memory_bytes", "GPU memory", "--chart-4"),
                    kind="bytes",
                    by_time=True,
                    height=height,
                ),
                title="Memory",
            ),
            card(
                _chart(
                    "Free disk",
                    Trace("disk_free_bytes", "Free", "--chart-5"),
                    kind="bytes",
                    by_time=True,
                    height=height,
                ),
                title="Free disk",
            ),
            columns="lg:grid-cols-2 2xl:grid-cols-3",
        ),
    )


# -- samples, logs, config -------------------------------------------------------------------------------


def _samples() -> rx.Component:
    none = empty_state(
        "No samples yet",
        "The same few validation clips are transcribed at each evaluation and compared here.",
        icon="ear",
    )
    chooser = rx.cond(
        JobState.sample_steps.length() > 1,
        select_input(
            name="sample-step",
            options=JobState.sample_steps,
            value=JobState.sample_step,
            on_change=JobState.choose_step,
            aria_label="Evaluation",
        ),
        rx.fragment(),
    )
    return rx.cond(
        JobState.samples.length() > 0,
        card(
            rx.el.ul(rx.foreach(JobState.samples, sample_card), class_name="list-none p-0 m-0 -mt-3"),
            title="The same clips at each evaluation, worst first",
            description=legend(),
            actions=chooser,
        ),
        card(none),
    )


def _logs() -> rx.Component:
    download = rx.Var.create("/api/v1/jobs/") + JobState.job.id + "/logs/download"
    none = empty_state("Nothing logged", "What the training process writes appears here.", icon="scroll-text")
    return rx.fragment(
        rx.el.div(
            select_input(
                name="log-level",
                options=_LEVELS,
                value=JobState.log_level,
                on_change=JobState.choose_level,
                aria_label="Show",
            ),
            download_button("Download log", href=download),
            class_name="flex flex-wrap justify-between gap-2 mb-3",
        ),
        rx.cond(JobState.log.length() > 0, log_view(JobState.log), card(none)),
    )


def _config() -> rx.Component:
    return rx.fragment(
        card(
            rx.el.p(
                "Save the parameters below to this file and run it on any machine with the studio; no server is needed.",
                class_name="text-[13px] text-muted-foreground mb-3",
            ),
            code_block(JobState.command, label="Copy the command"),
            title="Run the same from the command line",
        ),
        card(
            code_block(JobState.config, label="Copy the parameters", max_height="640px"),
            title="Parameters",
            class_name="mt-4",
        ),
    )


def _dialogs() -> list[rx.Component]:
    name = rx.Var.create("“") + JobState.job.name + "”"
    return [
        confirm_dialog(
            is_open=JobState.dialog == "stop",
            title=rx.Var.create("Stop ") + name + "?",
            body="It ends after the current step and saves an adapter that you can use. It can be resumed later.",
            confirm_label="Stop and keep adapter",
            on_confirm=JobState.stop,
            on_cancel=JobState.close_dialog,
            sending=JobState.is_sending,
        ),
        confirm_dialog(
            is_open=JobState.dialog == "discard",
            title=rx.Var.create("Stop ") + name + " at once?",
            body="What was learned since the last checkpoint is lost, and no adapter is saved.",
            confirm_label="Stop and discard",
            on_confirm=JobState.stop,
            on_cancel=JobState.close_dialog,
            sending=JobState.is_sending,
        ),
        confirm_dialog(
            is_open=JobState.dialog == "delete",
            title=rx.Var.create("Delete ") + name + "?",
            body="Its log, curves and checkpoints go with it. This cannot be undone.",
            confirm_label="Delete job",
            on_confirm=JobState.delete,
            on_cancel=JobState.close_dialog,
        ),
    ]
