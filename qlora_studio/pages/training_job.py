"""The page of one job: what it is doing, its buttons, and its tabs."""

import reflex as rx

from qlora_studio.components.buttons import button, download_button, link_button, text_link
from qlora_studio.components.details import detail_header, tabs
from qlora_studio.components.dialogs import confirm_dialog, delete_dialog, quoted
from qlora_studio.components.feedback import error_state, skeleton
from qlora_studio.components.sharing import sharing_choice
from qlora_studio.components.shell import studio_page
from qlora_studio.components.surfaces import card, grid, notice
from qlora_studio.pages.job_charts import charts_tab
from qlora_studio.pages.job_overview import overview_tab
from qlora_studio.pages.job_records import config_tab, logs_tab, samples_tab
from qlora_studio.pages.training import DELETED_WITH_IT
from qlora_studio.state.job import JobState


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
        detail_header(
            JobState.job.name,
            JobState.job.status,
            rx.el.span(
                JobState.job.training,
                " of ",
                JobState.job.model,
                " on ",
                JobState.job.dataset,
                rx.cond(
                    JobState.job.sweep_href != "",
                    rx.fragment(", part of ", text_link(JobState.job.sweep, href=JobState.job.sweep_href)),
                    rx.fragment(),
                ),
            ),
            sharing_choice(JobState, JobState.job, use="All may clone it"),
            *_actions(),
        ),
        _failure(),
        rx.cond(
            JobState.job.stalled != "",
            rx.el.div(notice(JobState.job.stalled, icon="triangle-alert", tone="warning"), class_name="mb-5"),
            rx.fragment(),
        ),
        rx.cond(
            JobState.job.doubt != "",
            rx.el.div(
                notice(
                    rx.fragment("The sanity probe doubts that this can work. ", JobState.job.doubt),
                    icon="triangle-alert",
                    tone="warning",
                ),
                class_name="mb-5",
            ),
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
            ("charts", charts_tab()),
            ("samples", samples_tab()),
            ("logs", logs_tab()),
            ("config", config_tab()),
            overview_tab(),
        ),
        _dialogs(),
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
            button(job.resume_label, icon="play", variant="primary", on_click=JobState.resume),
            rx.fragment(),
        ),
        rx.cond(
            job.is_active,
            rx.fragment(),
            rx.cond(job.may_train, link_button("Clone", href=job.clone_href, icon="copy"), rx.fragment()),
        ),
        rx.cond(job.has_results, download_button("Download results", href=results), rx.fragment()),
        rx.cond(
            job.adapter_href != "",
            link_button("Lineage", href=job.adapter_href + "#lineage", icon="workflow"),
            rx.fragment(),
        ),
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
        job.action.is_done_here,
        button(
            job.action.label,
            icon="play",
            size="sm",
            loading=JobState.is_sending,
            on_click=JobState.take_next_action,
        ),
        link_button(job.action.label, href=job.action.href, size="sm", icon="arrow-right"),
    )
    action = rx.cond(job.action.label != "", action, rx.fragment())
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


def _dialogs() -> rx.Component:
    state, name = JobState, quoted(JobState.job.name)
    return rx.fragment(
        confirm_dialog(
            is_open=state.dialog == "stop",
            title=rx.Var.create("Stop ") + name + "?",
            body="It ends after the current step and saves an adapter that you can use. It can be resumed later.",
            confirm_label="Stop and keep adapter",
            on_confirm=state.stop,
            on_cancel=state.close_dialog,
            sending=state.is_sending,
        ),
        confirm_dialog(
            is_open=state.dialog == "discard",
            title=rx.Var.create("Stop ") + name + " at once?",
            body="What was learned since the last checkpoint is lost, and no adapter is saved.",
            confirm_label="Stop and discard",
            on_confirm=state.stop,
            on_cancel=state.close_dialog,
            sending=state.is_sending,
        ),
        delete_dialog(
            "job",
            name=name,
            body=DELETED_WITH_IT,
            is_open=state.dialog == "delete",
            on_confirm=state.delete,
            on_cancel=state.close_dialog,
        ),
    )
