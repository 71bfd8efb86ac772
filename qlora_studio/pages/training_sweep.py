"""The page of a sweep: its jobs side by side, the best one marked."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button, link_button, page_link
from qlora_studio.components.dialogs import confirm_dialog, quoted
from qlora_studio.components.feedback import empty_state, error_state
from qlora_studio.components.shell import studio_page
from qlora_studio.components.status import badge, progress_bar, status_badge
from qlora_studio.components.surfaces import card, notice, page_header
from qlora_studio.components.tables import Column, data_table
from qlora_studio.state.sweep import SweepState


@studio_page(
    "/training/sweeps/[sweep_id]",
    title="Sweep",
    section="training",
    crumbs=[("Training", "/training")],
    here=SweepState.sweep.name,
    on_load=SweepState.load,
)
def sweep() -> rx.Component:
    """One sweep, live."""
    return rx.cond(
        SweepState.load_error != "",
        card(error_state(SweepState.load_error, on_retry=SweepState.load)),
        _page(),
    )


def _page() -> rx.Component:
    shown = SweepState.sweep
    best = notice(
        rx.fragment(rx.cond(shown.is_live, "Best so far: ", "Best: "), shown.best),
        icon="trophy",
        tone="success",
        action=link_button("Open it", href=shown.best_href, size="sm", icon="arrow-right"),
    )
    return rx.fragment(
        page_header(shown.name, shown.progress, *_actions()),
        rx.cond(
            shown.is_live,
            progress_bar(shown.percent, label="Progress of the sweep", active=True, class_name="mb-4"),
            rx.fragment(),
        ),
        rx.cond(shown.best != "", rx.el.div(best, class_name="mb-4"), rx.fragment()),
        data_table(
            SweepState,
            rows=SweepState.rows,
            label="Jobs of the sweep",
            columns=[
                *(_axis(number) for number in (1, 2, 3)),
                Column("Status", _status, sort="status"),
                Column("Progress", _progress, sort="progress"),
                Column("Before", lambda r: r.base, sort="base", align="right"),
                Column("Result", _result, sort="result", align="right"),
                Column("Adapter", _adapter),
            ],
            search_placeholder=None,
            empty=empty_state(
                "Its jobs have been deleted",
                "What they found out went with them.",
                link_button("All jobs", href="/training"),
                icon="table",
            ),
            on_retry=SweepState.load,
        ),
        confirm_dialog(
            is_open=SweepState.dialog == "stop",
            title=rx.Var.create("Stop all jobs of ") + quoted(shown.name) + "?",
            body="Those that run end after their step and keep an adapter; those that wait are not started.",
            confirm_label="Stop all",
            on_confirm=SweepState.stop,
            on_cancel=SweepState.close_dialog,
            sending=SweepState.is_sending,
        ),
    )


def _actions() -> list[rx.Component]:
    stop = button("Stop all", icon="square", on_click=SweepState.ask_stop)
    return [
        rx.cond(SweepState.sweep.is_live, stop, rx.fragment()),
        link_button("In the list of jobs", href=SweepState.sweep.jobs_href, icon="list"),
    ]


def _axis(number: int) -> Column:
    label = getattr(SweepState.sweep, f"axis_{number}")

    def cell(row: Any) -> rx.Component:
        value = getattr(row, f"value_{number}")
        if number > 1:
            return rx.el.span(value, class_name="tabular")
        link = page_link(
            value,
            href=row.href,
            aria_label=rx.Var.create("Open ") + row.name,
            class_name="font-medium tabular hover:underline underline-offset-4",
        )
        # Where rows are cards their first cell is the heading, which has no label of its own.
        return rx.el.span(rx.el.span(label, " ", class_name="sm:hidden font-medium"), link)

    return Column(label, cell, sort=f"value_{number}", shown_if=label != "")


def _status(row: Any) -> rx.Component:
    return rx.el.span(status_badge(row.status), title=row.message)


def _progress(row: Any) -> rx.Component:
    bar = progress_bar(row.percent, label=rx.Var.create("Progress of ") + row.name, active=True)
    return rx.el.div(
        rx.cond(row.is_active, bar, rx.fragment()),
        rx.el.span(row.progress, class_name="text-xs tabular"),
        class_name="flex flex-col gap-1 min-w-[90px]",
    )


def _result(row: Any) -> rx.Component:
    return rx.el.span(
        rx.cond(row.is_best, badge("Best", icon="trophy", tone="success"), rx.fragment()),
        rx.el.span(row.result, class_name=rx.cond(row.is_best, "font-semibold", "")),
        class_name="inline-flex items-center gap-2 tabular",
    )


def _adapter(row: Any) -> rx.Component:
    opened = page_link(
        "Open",
        href=row.adapter_href,
        aria_label=rx.Var.create("Open the adapter of ") + row.name,
        class_name="text-primary-text font-medium hover:underline underline-offset-4",
    )
    return rx.cond(row.adapter_href != "", opened, rx.el.span("–", class_name="text-muted-foreground"))
