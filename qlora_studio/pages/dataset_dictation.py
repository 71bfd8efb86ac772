"""The tab where a model writes clips down and somebody corrects it, in place and by keyboard."""

import reflex as rx

from qlora_studio.components.buttons import button, link_button
from qlora_studio.components.cells import editable_cell
from qlora_studio.components.differences import text_piece
from qlora_studio.components.feedback import empty_state
from qlora_studio.components.forms import select_field, select_input
from qlora_studio.components.player import player
from qlora_studio.components.status import badge, progress_bar, status_badge
from qlora_studio.components.surfaces import card, notice
from qlora_studio.components.tables import Column, data_table
from qlora_studio.state.dictation_rows import TranscriptRow
from qlora_studio.state.dictations import DictationState

_CLIPS = [("without_text", "Clips without words"), ("all", "All clips")]
_SHOWN = [("open", "To look at"), ("checked", "Looked at")]


def dictation_tab() -> rx.Component:
    """What to listen with, how far that is, and each clip with what was heard."""
    state = DictationState
    none = empty_state(
        "No speech model yet",
        "A model has to listen first. Add one, then come back.",
        link_button("Add a model", href="/models/new", variant="primary", icon="plus"),
        icon="ear",
    )
    return rx.cond(
        ~state.is_loading & (state.models.length() == 0),
        card(none),
        rx.el.div(
            _listen(),
            rx.cond(state.dictation.id != "", _heard(), rx.fragment()),
            class_name="flex flex-col gap-4",
        ),
    )


def _listen() -> rx.Component:
    state = DictationState
    chosen = rx.el.div(
        select_field(
            "Model", name="model", options=state.models, value=state.model_id, on_change=state.choose_model
        ),
        select_field(
            "Adapter",
            name="adapter",
            options=state.adapters,
            value=state.adapter_id,
            on_change=state.choose_adapter,
        ),
        select_field("Which", name="clips", options=_CLIPS, value=state.which, on_change=state.choose_clips),
        class_name="grid grid-cols-1 sm:grid-cols-3 gap-3 lg:flex-1 min-w-0",
    )
    start = button(
        "Write clips down",
        icon="ear",
        variant="primary",
        on_click=state.start,
        loading=state.is_asking,
        disabled=state.dictation.is_active | (state.model_id == ""),  # until there is something to choose
    )
    return card(
        rx.el.div(chosen, start, class_name="flex flex-col lg:flex-row lg:items-end gap-3"),
        rx.cond(
            state.problem != "",
            rx.el.div(notice(state.problem, tone="warning", icon="triangle-alert"), class_name="mt-3"),
            rx.fragment(),
        ),
        title="Have a model write down what is said",
        description="Then correct it here. Nothing in the dataset changes before you say so.",
    )


def _heard() -> rx.Component:
    return rx.fragment(_progress(), _table())


def _progress() -> rx.Component:
    shown = DictationState.dictation
    bar = rx.el.div(
        progress_bar(shown.percent, label="Clips heard", active=shown.is_active), class_name="mt-3 mb-1"
    )
    earlier = rx.cond(
        DictationState.choices.length() > 1,
        select_input(
            name="dictation",
            options=DictationState.choices,
            value=shown.id,
            on_change=lambda value: DictationState.filter_by("dictation", value),
            aria_label="Which dictation is shown",
            class_name="max-w-[320px]",
        ),
        rx.fragment(),
    )
    facts = rx.el.div(
        status_badge(shown.status),
        rx.el.span(shown.with_what, class_name="font-medium truncate max-w-full", title=shown.with_what),
        rx.el.span(shown.progress, class_name="text-muted-foreground tabular"),
        rx.el.span(shown.checked, class_name="text-muted-foreground tabular"),
        class_name="flex flex-wrap items-center gap-x-3 gap-y-1 text-[13px] min-w-0",
    )
    return card(
        rx.el.div(
            facts,
            rx.el.div(earlier, _actions(), class_name="flex flex-wrap items-center gap-2"),
            class_name="flex flex-wrap items-center justify-between gap-3",
        ),
        rx.cond(shown.is_active, bar, rx.fragment()),
        rx.cond(
            shown.error != "",
            rx.el.div(notice(shown.error, tone="danger", icon="circle-alert"), class_name="mt-3"),
            rx.fragment(),
        ),
    )


def _actions() -> rx.Component:
    state = DictationState
    nothing = state.dictation.n_checked == 0
    return rx.cond(
        state.dictation.is_active,
        button("Stop", icon="square", on_click=state.stop),
        rx.fragment(
            button("Put into this dataset", icon="check", on_click=state.apply, disabled=nothing),
            button(
                "Make a dataset",
                icon="arrow-right",
                variant="primary",
                on_click=state.make_dataset,
                loading=state.is_asking,
                disabled=nothing,
            ),
        ),
    )


def _table() -> rx.Component:
    state = DictationState
    return data_table(
        state,
        rows=state.rows,
        label="What was heard",
        columns=[
            Column("Clip", _clip, width="min-w-[250px]"),
            Column("What is said", _said),
            Column("Right", _right, width="min-w-[7.5rem]"),
        ],
        filters=[("show", "clips", _SHOWN)],
        search_placeholder="Search words and files",
        actions=button(
            "All on this page are right",
            icon="check-check",
            size="sm",
            on_click=state.set_all_right,
            disabled=state.rows.length() == 0,
        ),
        empty=empty_state("No clips", "Nothing has been heard yet.", icon="ear"),
        on_retry=state.load,
    )


def _clip(row: TranscriptRow) -> rx.Component:
    return rx.el.div(
        rx.el.div(row.filename, title=row.filename, class_name="text-xs text-muted-foreground truncate"),
        rx.el.div(
            player(row.id, duration_s=row.duration_s, peaks=row.peaks, label=row.filename),
            class_name="w-full sm:w-60",
        ),
        class_name="py-2 w-full min-w-0 flex flex-col gap-1",
    )


def _said(row: TranscriptRow) -> rx.Component:
    cell = editable_cell(
        row.id,
        "said",
        row.said,
        label=rx.Var.create("What is said in ") + row.filename,
        placeholder="nothing",
        failures=DictationState.failures,
        on_save=DictationState.correct,
    )
    differences = rx.el.p(
        rx.el.span("Heard: ", class_name="text-muted-foreground"),
        rx.foreach(row.pieces, text_piece),
        class_name="px-2 text-xs break-words",
    )
    waiting = rx.el.span("not heard yet", class_name="px-2 text-muted-foreground")
    problem = rx.el.p(row.error, class_name="px-2 text-xs text-danger")
    return rx.el.div(
        rx.cond(row.is_heard | row.is_checked | (row.error != ""), cell, waiting),
        rx.cond(row.pieces.length() > 0, differences, rx.fragment()),
        rx.cond(row.error != "", problem, rx.fragment()),
        class_name="min-w-0 w-full sm:min-w-[260px] whitespace-normal py-1",
    )


def _right(row: TranscriptRow) -> rx.Component:
    is_right = button(
        "Right",
        icon="check",
        size="sm",
        on_click=DictationState.set_right(row.id, True),
        aria_label=rx.Var.create("Right: ") + row.filename,
    )
    again = button(
        badge("Looked at", icon="check", tone="success"),
        variant="ghost",
        size="sm",
        on_click=DictationState.set_right(row.id, False),
        aria_label=rx.Var.create("Looked at: ") + row.filename,
    )
    return rx.cond(row.is_checked, again, rx.cond(row.heard != "", is_right, rx.fragment()))
