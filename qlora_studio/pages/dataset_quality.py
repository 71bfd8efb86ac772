"""The tab of the quality report: what may be wrong, and what to do about it with one click."""

import reflex as rx

from qlora_studio.components.buttons import button, link_button
from qlora_studio.components.details import time_text
from qlora_studio.components.feedback import error_state, skeleton
from qlora_studio.components.forms import compact_number
from qlora_studio.components.status import badge
from qlora_studio.components.surfaces import card, notice
from qlora_studio.state.dataset import DatasetState
from qlora_studio.state.dataset_quality import CheckRow, ExclusionRow, LimitRow, QualityState
from qlora_studio.state.dataset_split import SplitState

_LIST = "list-none p-0 m-0 divide-y divide-border"


def quality_tab() -> rx.Component:
    """The report, or that it is being computed for the first time."""
    state = QualityState
    return rx.cond(
        state.load_error != "",
        card(error_state(state.load_error, on_retry=state.load)),
        rx.cond((state.report.id == "") | _is_first_time(), _computing(), _report()),
    )


def _is_first_time() -> rx.Var:
    """Nothing has been computed yet, so that "none found" would be a lie."""
    report = QualityState.report
    return QualityState.is_computing & ~report.is_current & (report.found.length() == 0)


def _computing() -> rx.Component:
    row = rx.el.div(skeleton("h-4 w-40"), skeleton("h-4 w-24"), class_name="flex justify-between gap-6 py-4")
    return card(
        *(row for _ in range(5)),
        title="Looking at every clip",
        description="Lengths, levels, words and sounds are compared. Many clips take some seconds.",
        role="status",
        aria_label="The report is being computed",
    )


def _report() -> rx.Component:
    report = QualityState.report
    clear = notice("All clear. No check has found anything.", icon="circle-check", tone="success")
    found = card(
        rx.el.ul(rx.foreach(report.found, _found), class_name=_LIST + " -my-4"),
        class_name="!py-4",
    )
    clean = card(
        rx.el.ul(rx.foreach(report.clean, _clean), class_name=_LIST + " -my-3"),
        title="Nothing found",
        description="These checks found no clip. A stricter limit may.",
        class_name="mt-4",
    )
    return rx.el.div(
        _headline(),
        rx.cond(
            QualityState.field_errors.contains("spec"),
            rx.el.div(
                notice(QualityState.field_errors.get("spec", ""), tone="danger", icon="circle-alert"),
                class_name="mb-4",
            ),
            rx.fragment(),
        ),
        rx.cond(report.found.length() > 0, found, rx.cond(report.is_clear, clear, rx.fragment())),
        rx.cond(report.exclusions.length() > 0, _exclusions(), rx.fragment()),
        rx.cond(report.clean.length() > 0, clean, rx.fragment()),
        aria_busy=QualityState.is_computing,
    )


def _headline() -> rx.Component:
    return rx.el.div(
        rx.el.p(QualityState.report.headline, class_name="text-[15px] font-medium"),
        rx.el.span(
            rx.cond(
                QualityState.is_computing,
                badge("Looking again", icon="loader-circle", tone="info", spin=True),
                rx.fragment(),
            ),
            role="status",
        ),
        class_name="flex flex-wrap items-center justify-between gap-2 min-h-7 mb-3",
    )


def _found(row: CheckRow) -> rx.Component:
    tone = rx.cond(
        row.is_serious,
        rx.icon("triangle-alert", size=17, class_name="text-warning mt-0.5 shrink-0", aria_hidden="true"),
        rx.icon("info", size=17, class_name="text-info mt-0.5 shrink-0", aria_hidden="true"),
    )
    about = rx.el.div(
        rx.el.h2(
            row.title,
            rx.el.span(row.found, class_name="ml-2 text-[13px] font-normal text-muted-foreground tabular"),
            class_name="font-medium leading-6",
        ),
        rx.el.p(row.meaning, class_name="text-[13px] text-muted-foreground"),
        rx.cond(
            row.left_out != "",
            rx.el.p(row.left_out, class_name="text-xs text-muted-foreground mt-1 tabular"),
            rx.fragment(),
        ),
        _limits(row),
        class_name="min-w-0 flex-1",
    )
    return rx.el.li(
        rx.el.div(tone, about, class_name="flex gap-3 min-w-0 basis-full sm:basis-0 sm:flex-1"),
        _buttons(row),
        class_name="flex flex-wrap items-start justify-between gap-x-6 gap-y-3 py-4",
        aria_label=row.title,
    )


def _buttons(row: CheckRow) -> rx.Component:
    address = rx.Var.create("/datasets/") + DatasetState.dataset.id
    return rx.el.div(
        link_button(
            "Show clips",
            href=address + "?tab=clips&check=" + row.key,
            size="sm",
            aria_label=rx.Var.create("Show clips: ") + row.title,
        ),
        rx.cond(
            (row.leave_out != "") & DatasetState.dataset.may_change,
            button(
                row.leave_out,
                icon="eye-off",
                size="sm",
                aria_label=row.leave_out + ": " + row.title,
                loading=QualityState.sending == row.key,
                disabled=(QualityState.sending != "") | QualityState.is_computing,
                on_click=QualityState.leave_out(row.key),
            ),
            rx.fragment(),
        ),
        rx.cond(
            row.deals_out & DatasetState.dataset.may_change,
            button("Split by speaker", icon="shuffle", size="sm", on_click=SplitState.open(True)),
            rx.fragment(),
        ),
        class_name="flex flex-wrap gap-2 pl-7 sm:pl-0",
    )


def _clean(row: CheckRow) -> rx.Component:
    return rx.el.li(
        rx.el.div(
            rx.icon("check", size=16, class_name="text-success mt-1 shrink-0", aria_hidden="true"),
            rx.el.div(
                rx.el.h3(row.title, class_name="text-[13px] font-medium leading-6"),
                rx.cond(
                    row.left_out != "",
                    rx.el.p(row.left_out, class_name="text-xs text-muted-foreground tabular"),
                    rx.fragment(),
                ),
                class_name="min-w-0",
            ),
            class_name="flex gap-3 min-w-0",
        ),
        _limits(row),
        class_name="flex flex-wrap items-center justify-between gap-x-6 gap-y-1 py-2.5",
    )


def _limits(row: CheckRow) -> rx.Component:
    form = rx.form(
        rx.foreach(row.limits, _limit),
        button(
            "Save", size="sm", variant="ghost", type="submit", aria_label=rx.Var.create("Save: ") + row.title
        ),
        on_submit=QualityState.save_limits,
        reset_on_submit=False,
        no_validate=True,
        class_name="flex flex-wrap items-center gap-2 mt-1.5 !w-auto",
    )
    return rx.cond((row.limits.length() > 0) & DatasetState.dataset.may_change, form, rx.fragment())


def _limit(limit: LimitRow) -> rx.Component:
    return compact_number(
        limit.title,
        name=limit.key,
        unit=limit.unit,
        hint=limit.hint,
        error=QualityState.field_errors.get(limit.key, ""),
        default_value=limit.value,
        key=limit.key + limit.value,
        min=limit.minimum,
        max=limit.maximum,
    )


def _exclusions() -> rx.Component:
    return card(
        rx.el.ul(rx.foreach(QualityState.report.exclusions, _exclusion), class_name=_LIST + " -my-2"),
        title="Left out",
        description="Clips that were left out together. Each can be taken back.",
        class_name="mt-4",
    )


def _exclusion(row: ExclusionRow) -> rx.Component:
    return rx.el.li(
        rx.el.div(
            rx.el.span(row.title, class_name="text-[13px] font-medium"),
            rx.el.span(
                row.count,
                " · ",
                time_text(row.when, row.when_exact),
                class_name="ml-2 text-[13px] text-muted-foreground tabular",
            ),
            class_name="min-w-0",
        ),
        rx.cond(
            DatasetState.dataset.may_change,
            button(
                "Undo",
                icon="undo-2",
                size="sm",
                aria_label=rx.Var.create("Undo: ") + row.title,
                loading=QualityState.sending == row.id,
                disabled=QualityState.sending != "",
                on_click=QualityState.undo(QualityState.report.id, row.id),
            ),
            rx.fragment(),
        ),
        class_name="flex items-center justify-between gap-4 py-2",
    )
