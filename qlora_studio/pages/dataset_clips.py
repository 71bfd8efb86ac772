"""The tab of the clips: heard, corrected where they stand, and looked at closely."""

from typing import Any

import reflex as rx

from qlora_studio.components.cells import editable_cell
from qlora_studio.components.details import key_values
from qlora_studio.components.feedback import empty_state
from qlora_studio.components.player import player
from qlora_studio.components.status import badge, status_badge
from qlora_studio.components.tables import Column, data_table, menu_item, menu_separator, row_menu
from qlora_studio.state.dataset import DatasetState
from qlora_studio.state.dataset_clips import ClipsState
from qlora_studio.state.dataset_rows import ClipRow, FindingRow

SPLITS = [("train", "Train"), ("validation", "Validation"), ("test", "Test")]
_STATUSES = [("ok", "Usable"), ("excluded", "Excluded"), ("rejected", "Rejected")]
_NAMES = {"text": "Words", "label": "Label", "speaker": "Speaker", "split": "Split"}


def clips_tab() -> rx.Component:
    """The table of the clips."""
    has_labels = DatasetState.dataset.is_classes | (ClipsState.labels.length() > 0)
    return data_table(
        ClipsState,
        rows=ClipsState.rows,
        label="Clips",
        columns=[
            Column("Clip", _clip, sort="filename", width="min-w-[250px]"),
            Column("Words", _words, sort="text", shown_if=~DatasetState.dataset.is_classes),
            Column("Label", lambda r: _value(r, "label"), sort="label", shown_if=has_labels),
            Column("Speaker", lambda r: _value(r, "speaker"), extra_below="lg"),
            Column("Length", lambda r: r.duration, align="right", sort="duration_s"),
            Column("Split", _split, sort="split", width="min-w-[7.5rem]"),
        ],
        filters=[
            ("split", "Splits", SPLITS),
            ("status", "Statuses", _STATUSES),
            ("label", "Labels", ClipsState.labels),
            ("check", "Checks", ClipsState.checks),
        ],
        row_menu=_menu,
        details=(ClipsState.expanded, _details),
        empty=empty_state("No clips", "There is nothing in this dataset."),
        on_retry=ClipsState.load,
    )


def _clip(row: ClipRow) -> rx.Component:
    sound = rx.el.div(
        player(row.id, duration_s=row.duration_s, peaks=row.peaks, label=row.filename),
        class_name="w-full sm:w-60",
    )
    is_open = ClipsState.expanded == row.id
    name = rx.el.button(
        rx.icon(
            "chevron-right",
            size=14,
            class_name=rx.cond(is_open, "rotate-90 transition-transform", "transition-transform"),
            aria_hidden="true",
        ),
        rx.el.span(row.filename, class_name="truncate"),
        type="button",
        title=row.filename,
        aria_expanded=is_open,
        on_click=ClipsState.expand(row.id),
        class_name="flex items-center gap-1 max-w-full -ml-1 pr-1 rounded text-xs font-normal text-muted-foreground hover:text-foreground cursor-pointer",
    )
    return rx.el.div(
        rx.cond(
            row.status == "rejected",
            rx.el.div(row.filename, title=row.filename, class_name="text-xs text-muted-foreground truncate"),
            rx.fragment(name, sound),
        ),
        class_name="py-2 w-full min-w-0 flex flex-col gap-1",
    )


def _words(row: ClipRow) -> rx.Component:
    return rx.el.div(
        rx.cond(row.status == "rejected", rx.fragment(), _value(row, "text", placeholder="no words")),
        _why(row),
        class_name="min-w-0 w-full sm:min-w-[220px] whitespace-normal py-1",
    )


def _why(row: ClipRow) -> rx.Component:
    """Why the clip is out, or what the check says that the list is filtered by."""
    wanted = ClipsState.filters.get("check", "")
    said = rx.foreach(
        row.findings,
        lambda finding: rx.cond(
            (finding.check == wanted) & (finding.detail != "") & (finding.detail != row.reason),
            rx.el.p(finding.detail, class_name="px-2 text-xs text-warning"),
            rx.fragment(),
        ),
    )
    return rx.fragment(
        rx.cond(
            row.reason != "",
            rx.el.p(
                row.reason,
                class_name=rx.cond(
                    row.status == "rejected", "text-danger", "px-2 text-xs text-muted-foreground"
                ),
            ),
            rx.fragment(),
        ),
        rx.cond(wanted != "", said, rx.fragment()),
    )


def _value(row: ClipRow, field: str, *, group: str = "", placeholder: str = "–") -> rx.Component:
    name = rx.Var.create(f"{_NAMES[field]} of ") + row.filename
    cell = editable_cell(
        row.id,
        field,
        getattr(row, field),
        label=name,
        placeholder=placeholder,
        failures=ClipsState.failures,
        on_save=ClipsState.correct,
        options=SPLITS if field == "split" else (),
        group=group,
    )
    plain = rx.el.span(rx.cond(getattr(row, field) != "", getattr(row, field), placeholder))
    cell = rx.cond(DatasetState.dataset.may_change, cell, plain)
    return rx.cond(row.status == "rejected", rx.fragment(), cell)


def _split(row: ClipRow) -> rx.Component:
    return rx.cond(row.status == "ok", _value(row, "split"), status_badge(row.status))


def _menu(row: ClipRow) -> rx.Component:
    out = menu_item("Leave out", icon="eye-off", on_click=ClipsState.leave_out(row.id, True))
    back = menu_item("Take back", icon="eye", on_click=ClipsState.leave_out(row.id, False))
    save = menu_item(
        rx.el.a("Download", href="/api/v1/clips/" + row.id + "/audio", download=""), icon="download"
    )
    items = row_menu(
        row.filename,
        menu_item("Details", icon="chevrons-up-down", on_click=ClipsState.expand(row.id)),
        save,
        rx.cond(
            DatasetState.dataset.may_change,
            rx.fragment(menu_separator(), rx.cond(row.status == "excluded", back, out)),
            rx.fragment(),
        ),
    )
    return rx.cond(row.status == "rejected", rx.fragment(), items)


def _details(row: ClipRow) -> rx.Component:
    image = rx.el.img(
        src="/api/v1/clips/" + row.id + "/spectrogram",
        alt=rx.Var.create("Mel spectrogram of ") + row.filename,
        loading="lazy",
        class_name="w-full h-44 rounded-lg border border-border bg-subtle object-fill",
    )
    figure = rx.el.figure(
        image,
        rx.el.figcaption(
            "Mel spectrogram: time to the right, pitch upwards, loud is bright",
            class_name="text-xs text-muted-foreground mt-1.5",
        ),
        class_name="m-0 min-w-0",
    )
    return rx.el.div(
        figure,
        rx.el.div(
            _fields(row),
            key_values(
                ("Format", row.format),
                ("Size", row.size),
                ("Peak", row.peak),
                ("Loudness", row.loudness),
            ),
            rx.cond(
                row.findings.length() > 0,
                rx.el.ul(rx.foreach(row.findings, _finding), class_name="list-none p-0 m-0 mt-3"),
                rx.fragment(),
            ),
            class_name="min-w-0",
        ),
        class_name="grid grid-cols-1 lg:grid-cols-[3fr_2fr] gap-5 p-4 bg-muted/50 whitespace-normal",
    )


def _fields(row: ClipRow) -> rx.Component:
    def line(field: str) -> rx.Component:
        return rx.el.div(
            rx.el.dt(_NAMES[field], class_name="text-muted-foreground text-[13px] pt-1.5"),
            rx.el.dd(_value(row, field, group="details"), class_name="m-0 min-w-0 text-[13px]"),
            class_name="grid grid-cols-[5rem_1fr] gap-2",
        )

    return rx.el.dl(*(line(field) for field in _NAMES), class_name="m-0 mb-1")


def _finding(finding: FindingRow) -> Any:
    return rx.el.li(
        badge(finding.title, icon="triangle-alert", tone="warning"),
        rx.el.span(finding.detail, class_name="text-xs text-muted-foreground"),
        class_name="flex flex-wrap items-center gap-2 py-1",
    )
