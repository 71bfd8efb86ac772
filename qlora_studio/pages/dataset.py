"""One dataset: its state, its counts, its clips to hear and correct."""

import reflex as rx

from qlora_studio.components.buttons import button, page_link
from qlora_studio.components.details import key_values, time_text
from qlora_studio.components.dialogs import dialog, dialog_form
from qlora_studio.components.feedback import empty_state
from qlora_studio.components.forms import number_field, select_field, text_field, textarea_field
from qlora_studio.components.library import edit_dialogs, header_actions, page_of_one
from qlora_studio.components.player import player
from qlora_studio.components.shell import studio_page
from qlora_studio.components.status import badge, status_badge
from qlora_studio.components.surfaces import card, grid, page_header, stat_card
from qlora_studio.components.tables import Column, data_table, menu_item, menu_separator, row_menu
from qlora_studio.pages import dataset_intake
from qlora_studio.pages.datasets import DELETED_WITH_IT
from qlora_studio.state.dataset import DatasetState
from qlora_studio.state.dataset_rows import ClipRow, ReasonRow

_SPLITS = [("train", "Train"), ("validation", "Validation"), ("test", "Test")]
_STATUSES = [("ok", "Usable"), ("excluded", "Excluded"), ("rejected", "Rejected")]


@studio_page(
    "/datasets/[dataset_id]",
    title="Dataset",
    section="datasets",
    crumbs=[("Datasets", "/datasets")],
    here=DatasetState.dataset.name,
    on_load=[DatasetState.load, DatasetState.watch, *dataset_intake.LOADS],
)
def dataset() -> rx.Component:
    """What is shown depends on how far the dataset is."""
    return page_of_one(DatasetState, DatasetState.dataset, "dataset", _loaded())


def _loaded() -> rx.Component:
    shown = DatasetState.dataset
    return rx.fragment(
        page_header(
            shown.name,
            rx.el.span(
                status_badge(shown.status),
                rx.el.span(
                    rx.cond(shown.description != "", shown.description, shown.task), class_name="ml-2"
                ),
            ),
            *header_actions(DatasetState, shown, "dataset", train="Train on this"),
        ),
        rx.match(
            shown.status,
            ("awaiting_files", dataset_intake.awaiting()),
            ("processing", dataset_intake.processing()),
            ("error", dataset_intake.failed()),
            _numbers(),
        ),
        rx.cond(
            (shown.status == "ready") | ((shown.status == "error") & (shown.n_left_out > 0)),
            rx.el.div(_clips(), class_name="mt-6"),
            rx.fragment(),
        ),
        _dialogs(),
    )


def _numbers() -> rx.Component:
    shown = DatasetState.dataset
    return rx.fragment(
        grid(
            stat_card("Clips", shown.clips, icon="audio-lines", hint=shown.task),
            stat_card("Audio", shown.hours, icon="clock", hint=shown.size),
            stat_card(
                "Left out", shown.n_left_out.to_string(), icon="filter-x", hint="broken, silent or by hand"
            ),
            stat_card("Version", shown.version, icon="git-commit-horizontal", hint=shown.content_hash),
        ),
        rx.el.div(_splits(), _left_out(), class_name="grid grid-cols-1 lg:grid-cols-2 gap-4 mt-4"),
    )


def _splits() -> rx.Component:
    shown = DatasetState.dataset
    parts = [
        ("Train", shown.train, shown.train_percent, "bg-chart-1"),
        ("Validation", shown.validation, shown.validation_percent, "bg-chart-2"),
        ("Test", shown.test, shown.test_percent, "bg-chart-3"),
    ]
    bar = rx.el.div(
        *(
            rx.el.div(class_name=f"h-full {tone}", style={"width": share.to_string() + "%"})
            for _, _, share, tone in parts
        ),
        class_name="flex h-2 rounded-full overflow-hidden bg-subtle gap-px mb-3",
        aria_hidden="true",
    )
    dots = [
        (
            rx.el.span(
                rx.el.span(class_name=f"inline-block h-2 w-2 rounded-full mr-2 {tone}", aria_hidden="true"),
                label,
            ),
            text,
        )
        for label, text, _, tone in parts
    ]
    return card(
        bar,
        key_values(*dots),
        title="Split",
        description="Validation clips are held out to measure the result.",
        actions=button("Change", size="sm", icon="shuffle", on_click=DatasetState.open_dialog("split")),
    )


def _left_out() -> rx.Component:
    shown = DatasetState.dataset
    nothing = rx.el.div(
        rx.icon("circle-check", size=18, class_name="text-success", aria_hidden="true"),
        rx.el.p("Every file could be used."),
        class_name="flex items-center gap-2.5 text-[13px] py-2",
    )
    listed = rx.el.div(
        rx.foreach(DatasetState.reasons, _reason),
        page_link(
            "Show them",
            href="/datasets/" + shown.id + "?status=rejected",
            class_name="inline-block mt-3 text-[13px] text-primary-text font-medium hover:underline underline-offset-4",
        ),
    )
    about = key_values(("Labels", shown.labels), ("Added", time_text(shown.added, shown.added_exact)))
    return card(
        rx.cond(DatasetState.reasons.length() > 0, listed, nothing),
        rx.el.div(about, class_name="mt-3 border-t border-border"),
        title="What could not be used",
        description="Nothing is dropped silently; each file has its reason.",
    )


def _reason(row: ReasonRow) -> rx.Component:
    return rx.el.div(
        rx.el.span(row.kind),
        rx.el.span(row.count, class_name="tabular font-medium"),
        class_name="flex justify-between gap-4 py-2 text-[13px] border-b border-border",
    )


def _clips() -> rx.Component:
    return data_table(
        DatasetState,
        rows=DatasetState.rows,
        label="Clips",
        columns=[
            Column("Clip", _clip_cell, sort="filename", width="min-w-[240px]"),
            Column("Words", _words_cell, sort="text"),
            Column("Length", lambda r: r.duration, align="right", sort="duration_s"),
            Column("Split", _split_cell, sort="split"),
        ],
        filters=[("split", "Splits", _SPLITS), ("status", "Statuses", _STATUSES)],
        row_menu=_clip_menu,
        empty=empty_state("No clips", "There is nothing in this dataset."),
        on_retry=DatasetState.load,
    )


def _clip_cell(row: ClipRow) -> rx.Component:
    sound = rx.el.div(
        player(row.id, duration_s=row.duration_s, peaks=row.peaks, label=row.filename),
        class_name="w-full sm:w-56",
    )
    return rx.el.div(
        rx.el.div(row.filename, title=row.filename, class_name="text-xs text-muted-foreground truncate"),
        rx.cond(row.status == "rejected", rx.fragment(), sound),
        class_name="py-2 w-full min-w-0 flex flex-col gap-1",
    )


def _words_cell(row: ClipRow) -> rx.Component:
    words = rx.cond(
        row.words != "",
        rx.el.span(row.words),
        rx.el.span("no words", class_name="text-muted-foreground italic"),
    )
    return rx.cond(
        row.reason != "",
        rx.el.span(row.reason, class_name="text-danger whitespace-normal"),
        rx.el.div(words, title=row.words, class_name="whitespace-normal line-clamp-2"),
    )


def _split_cell(row: ClipRow) -> rx.Component:
    return rx.cond(row.status == "ok", badge(row.split_label), status_badge(row.status))


def _clip_menu(row: ClipRow) -> rx.Component:
    out = menu_item("Leave out", icon="eye-off", on_click=DatasetState.leave_out(row.id, True))
    back = menu_item("Take back", icon="eye", on_click=DatasetState.leave_out(row.id, False))
    edit = menu_item("Correct", icon="pencil", on_click=DatasetState.open_clip(row.id))
    save = menu_item(
        rx.el.a("Download", href="/api/v1/clips/" + row.id + "/audio", download=""), icon="download"
    )
    items = row_menu(row.filename, edit, save, menu_separator(), rx.cond(row.status == "excluded", back, out))
    return rx.cond(row.status == "rejected", rx.fragment(), items)


def _dialogs() -> rx.Component:
    state = DatasetState
    return rx.fragment(
        edit_dialogs(state, state.dataset, "dataset", consequence=DELETED_WITH_IT),
        dialog(
            _split_form(),
            is_open=state.dialog == "split",
            title="Change the split",
            description="Clips with the same words stay on one side. The same seed gives the same choice.",
            on_close=state.close_dialog,
        ),
        dialog(
            _clip_form(),
            is_open=state.dialog == "clip",
            title=state.clip.filename,
            on_close=state.close_dialog,
        ),
    )


def _split_form() -> rx.Component:
    error = DatasetState.field_errors.get("ratios", "")
    return dialog_form(
        number_field(
            "Validation", name="validation", unit="%", min=1, max=90, step=1, default_value=20, error=error
        ),
        number_field("Test", name="test", unit="%", min=0, max=90, step=1, default_value=0),
        number_field("Seed", name="seed", min=0, step=1, default_value=0),
        label="Change split",
        on_submit=DatasetState.deal,
        on_cancel=DatasetState.close_dialog,
    )


def _clip_form() -> rx.Component:
    clip = DatasetState.clip
    return dialog_form(
        player(clip.id, duration_s=clip.duration_s, peaks=clip.peaks, label=clip.filename),
        textarea_field("Words", name="text", default_value=clip.text, rows=3),
        text_field("Label", name="label", default_value=clip.label, optional=True, max_length=200),
        text_field("Speaker", name="speaker", default_value=clip.speaker, optional=True, max_length=200),
        select_field("Split", name="split", options=_SPLITS, default_value=clip.split),
        label="Save",
        on_submit=DatasetState.save_clip,
        on_cancel=DatasetState.close_dialog,
    )
