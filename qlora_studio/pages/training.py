"""The list of jobs."""

from collections.abc import Callable
from typing import Any

import reflex as rx

from qlora_studio.components.buttons import link_button
from qlora_studio.components.details import sparkline, time_text
from qlora_studio.components.dialogs import delete_row_dialog, quoted
from qlora_studio.components.feedback import empty_state
from qlora_studio.components.sharing import for_trainers, nothing_shared, shelf_tabs, whose
from qlora_studio.components.shell import studio_page
from qlora_studio.components.status import progress_bar, status_badge
from qlora_studio.components.surfaces import page_header
from qlora_studio.components.tables import (
    Column,
    data_table,
    menu_item,
    menu_separator,
    name_cell,
    row_menu,
)
from qlora_studio.pages.training_queue import pause_button, queue_section
from qlora_studio.state.jobs import TrainingState

DELETED_WITH_IT = "Its log, curves and checkpoints go with it. This cannot be undone."
_STATUSES = [
    ("active", "Queued and running"),
    ("succeeded", "Succeeded"),
    ("stopped", "Stopped"),
    ("failed", "Failed"),
    ("lost", "Lost"),
]


@studio_page("/training", title="Training", section="training", on_load=TrainingState.load)
def training() -> rx.Component:
    """Every job, newest first, live."""
    start = for_trainers(link_button("Start training", href="/training/new", icon="plus", variant="primary"))
    return rx.fragment(
        page_header("Training", "What is queued, what runs, and what came of it.", pause_button(), start),
        queue_section(),
        shelf_tabs(TrainingState, what="jobs", path="/training"),
        data_table(
            TrainingState,
            rows=TrainingState.rows,
            label="Jobs",
            columns=[
                Column(
                    "Name",
                    lambda r: name_cell(r.name, href=r.href, detail=rx.fragment(whose(r), " ", r.detail)),
                    sort="name",
                    width="w-[22%] min-w-[110px]",
                    gives_way=True,
                ),
                Column("Status", lambda r: status_badge(r.status), sort="status"),
                Column("Progress", _progress, width="w-[20%] min-w-[118px]", gives_way=True),
                Column("Result", _result),
                _used("Model", lambda r: r.model),
                _used("Dataset", lambda r: r.dataset),
                Column(
                    "Started",
                    lambda r: time_text(r.created, r.created_exact),
                    sort="created_at",
                    align="right",
                ),
            ],
            filters=[("status", "Statuses", _STATUSES), ("group", "Sweeps", TrainingState.groups)],
            search_placeholder="Search jobs, models, datasets",
            row_menu=_menu,
            selection=_compare_button(),
            empty=rx.cond(TrainingState.shelf == "shared", nothing_shared("jobs"), _no_training(start)),
            on_retry=TrainingState.load,
        ),
        delete_row_dialog(
            TrainingState, "job", name=quoted(TrainingState.deleting_name), body=DELETED_WITH_IT
        ),
    )


def _no_training(start: rx.Component) -> rx.Component:
    return empty_state(
        "No training yet",
        "Pick a dataset and a model, and teach it. The wizard has sensible values for all the rest.",
        start,
        icon="chart-spline",
    )


def _compare_button() -> rx.Component:
    chosen = TrainingState.selected
    compare = link_button(
        "Compare",
        href="/training/compare?ids=" + chosen.join(","),
        icon="chart-spline",
        variant="primary",
        size="sm",
    )
    one_more = rx.el.span("Choose one more to compare", class_name="text-muted-foreground")
    return rx.cond(chosen.length() > 1, compare, one_more)


def _used(label: str, name: Callable[[Any], Any]) -> Column:
    return Column(
        label,
        lambda r: rx.el.span(name(r), title=name(r), class_name="truncate"),
        sort=label.lower(),
        width="w-[15%] min-w-[100px]",
        gives_way=True,
        extra_below="xl",
    )


def _progress(row: Any) -> rx.Component:
    bar = progress_bar(row.percent, label=rx.Var.create("Progress of ") + row.name, active=True)
    return rx.el.div(
        rx.cond(row.is_active, bar, rx.fragment()),
        rx.el.div(
            rx.el.span(row.progress, title=row.progress, class_name="truncate"),
            rx.el.span(row.eta, class_name="text-muted-foreground whitespace-nowrap"),
            class_name="flex flex-wrap justify-between gap-x-3 text-xs tabular",
        ),
        class_name="flex flex-col gap-1.5 sm:py-1.5 max-w-[230px] max-sm:max-w-none",
    )


def _result(row: Any) -> rx.Component:
    return rx.el.div(
        rx.el.span(row.metric, class_name="tabular whitespace-nowrap"),
        rx.cond(
            row.spark != "",
            rx.el.div(
                sparkline(
                    row.spark,
                    label=rx.Var.create("Loss of ") + row.name,
                    width=48,
                    height=20,
                    class_name="max-w-none",
                ),
                class_name="shrink-0 sm:max-[1399px]:hidden",
            ),
            rx.fragment(),
        ),
        class_name="flex items-center gap-3",
    )


def _menu(row: Any) -> rx.Component:
    can_stop = row.is_active | (row.status == "queued")
    can_resume = (row.status == "failed") | (row.status == "stopped") | (row.status == "lost")
    clone = menu_item(
        "Clone with changes", icon="copy", on_click=rx.redirect("/training/new?clone=" + row.id)
    )
    return row_menu(
        row.name,
        menu_item("Open", icon="arrow-right", on_click=rx.redirect(row.href)),
        rx.cond(
            can_stop & row.may_change,
            menu_item("Stop and keep adapter", icon="square", on_click=TrainingState.stop(row.id)),
            rx.fragment(),
        ),
        rx.cond(
            can_resume & row.may_change,
            menu_item("Resume", icon="play", on_click=TrainingState.resume(row.id)),
            rx.fragment(),
        ),
        rx.cond(row.may_train, clone, rx.fragment()),
        rx.cond(
            row.may_change,
            rx.fragment(
                menu_separator(),
                menu_item("Delete", icon="trash-2", danger=True, on_click=TrainingState.ask_delete(row.id)),
            ),
            rx.fragment(),
        ),
    )
