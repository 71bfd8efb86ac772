"""What a job has written down: its samples, its log, and its parameters."""

import reflex as rx

from qlora_studio.components.buttons import download_button
from qlora_studio.components.details import code_block
from qlora_studio.components.feedback import empty_state
from qlora_studio.components.forms import search_input, select_input
from qlora_studio.components.logs import log_view
from qlora_studio.components.samples import (
    class_legend,
    legend,
    sample_card,
    sound_legend,
    speaker_legend,
)
from qlora_studio.components.surfaces import card
from qlora_studio.pages.job_outcomes import take_along_card
from qlora_studio.state.job import JobState

_LEVELS = [("", "All lines"), ("warning", "Warnings and errors"), ("error", "Errors")]


def samples_tab() -> rx.Component:
    """The same few clips at each evaluation."""
    none = empty_state(
        "No samples yet",
        "The same few validation clips are looked at in each evaluation and compared here.",
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
            description=rx.cond(
                JobState.job.has_sounds,
                sound_legend(),
                rx.cond(
                    JobState.job.has_classes,
                    class_legend(),
                    rx.cond(JobState.job.has_speakers, speaker_legend(), legend()),
                ),
            ),
            actions=chooser,
        ),
        card(none),
    )


def logs_tab() -> rx.Component:
    """The end of the log or what is found in it, of each attempt, and the whole of it to download."""
    state = JobState
    of_attempt = rx.cond(state.log_attempt != "", "?attempt=" + state.log_attempt, "")
    download = rx.Var.create("/api/v1/jobs/") + state.job.id + "/logs/download" + of_attempt
    attempts = rx.cond(
        state.log_attempts.length() > 0,
        select_input(
            name="log-attempt",
            options=state.log_attempts,
            value=state.log_attempt,
            on_change=state.choose_attempt,
            aria_label="Attempt",
        ),
        rx.fragment(),
    )
    level = select_input(
        name="log-level",
        options=_LEVELS,
        value=state.log_level,
        on_change=state.choose_level,
        aria_label="Show",
    )
    search = search_input(
        "Search the log", value=state.log_search, on_change=state.search_log, placeholder="Search the log"
    )
    return rx.fragment(
        rx.el.div(
            rx.el.div(search, level, attempts, class_name="flex flex-wrap items-center gap-2"),
            download_button("Download log", href=download),
            class_name="flex flex-wrap justify-between gap-2 mb-3",
        ),
        log_view(
            job_id=state.job.id,
            attempt=state.log_attempt,
            level=state.log_level,
            search=state.log_search,
            end=state.log_end,
        ),
    )


def config_tab() -> rx.Component:
    """The parameters, and how to run the same without a server."""
    return rx.fragment(
        card(
            rx.el.p(
                "Save the parameters below to this file and run it on any machine with the studio; no server is needed.",
                class_name="text-[13px] text-muted-foreground mb-3",
            ),
            code_block(JobState.command, label="Copy the command"),
            title="Run the same from the command line",
        ),
        take_along_card(),
        card(
            code_block(JobState.config, label="Copy the parameters", max_height="640px"),
            title="Parameters",
            class_name="mt-4",
        ),
    )
