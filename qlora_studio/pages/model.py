"""One base model: architecture card, LoRA targets, checks, and what was made with it."""

import reflex as rx

from qlora_studio.components.buttons import button, page_link
from qlora_studio.components.details import detail_header, key_values, time_text
from qlora_studio.components.resources import edit_dialogs, header_actions, page_of_one
from qlora_studio.components.shell import studio_page
from qlora_studio.components.status import progress_bar, status_badge
from qlora_studio.components.surfaces import card, grid, notice, stat_card
from qlora_studio.components.uploader import uploader
from qlora_studio.pages.model_try import try_card
from qlora_studio.pages.models import DELETED_WITH_IT
from qlora_studio.state.model import ModelState
from qlora_studio.state.model_rows import LayerRow, PresetRow, UseRow
from qlora_studio.state.model_try import ModelTryState


@studio_page(
    "/models/[model_id]",
    title="Model",
    section="models",
    crumbs=[("Models", "/models")],
    here=ModelState.model.name,
    on_load=[ModelState.load, ModelState.watch, ModelTryState.load],
)
def model() -> rx.Component:
    """What is shown depends on how far the model is."""
    return page_of_one(ModelState, ModelState.model, "model", _loaded())


def _loaded() -> rx.Component:
    shown = ModelState.model
    return rx.fragment(
        detail_header(
            shown.name,
            shown.status,
            rx.cond(shown.description != "", shown.description, shown.source),
            *header_actions(ModelState, shown, "model", train="Train this model"),
        ),
        rx.match(
            shown.status,
            ("downloading", _downloading()),
            ("checking", _checking()),
            ("awaiting_files", _upload("Files")),
            ("error", _failed()),
            _card(),
        ),
        edit_dialogs(ModelState, shown, "model", consequence=DELETED_WITH_IT),
    )


def _downloading() -> rx.Component:
    shown = ModelState.model
    return card(
        progress_bar(shown.percent, label="Download", active=True),
        rx.el.p(shown.progress, role="status", class_name="mt-3 text-[13px] tabular"),
        title="Downloading from the Hugging Face Hub",
        description="This goes on if you close the page, and after a restart of the server.",
        class_name="running-border",
    )


def _checking() -> rx.Component:
    return card(
        progress_bar(100, label="Checking", active=True),
        title="Reading the weights",
        description="Every byte is read once, to know the model again before each job.",
        class_name="running-border",
    )


def _failed() -> rx.Component:
    again = button("Try again", icon="rotate-cw", size="sm", on_click=ModelState.try_again)
    action = rx.cond(ModelState.model.can_retry, again, rx.fragment())
    return rx.fragment(
        notice(ModelState.model.error, tone="danger", icon="shield-x", action=action),
        rx.cond(
            ModelState.model.is_upload,
            rx.el.div(_upload("Send other files", replaces=True), class_name="mt-4"),
            rx.fragment(),
        ),
    )


def _upload(title: str, *, replaces: bool = False) -> rx.Component:
    files = uploader(
        ModelState.model.id,
        kind="models",
        replaces=replaces,
        on_review=[ModelState.load, ModelState.watch],
    )
    return card(files, title=title, description="They are checked when all are here.", key=title)


def _card() -> rx.Component:
    shown = ModelState.model
    return rx.fragment(
        grid(
            stat_card("Parameters", shown.parameters, icon="box", hint=shown.family),
            stat_card("Memory in 4 bits", shown.four_bit_size, icon="package", hint=shown.size + " on disk"),
            rx.cond(
                shown.makes_sound,
                stat_card("Makes", shown.sample_rate, icon="volume-2", hint=shown.task),
                stat_card("Hears", shown.sample_rate, icon="audio-lines", hint=shown.task),
            ),
            stat_card("Longest clip", shown.max_duration, icon="clock", hint=shown.of_longer_ones),
        ),
        rx.cond(ModelTryState.is_offered, rx.el.div(try_card(), class_name="mt-4"), rx.fragment()),
        rx.el.div(_architecture(), _checks(), class_name="grid grid-cols-1 lg:grid-cols-2 gap-4 mt-4"),
        rx.el.div(_layers(), class_name="mt-4"),
        rx.el.div(
            _uses("Jobs", "Trainings of this model.", ModelState.jobs, "No job has used it yet."),
            _uses("Adapters", "What those jobs have left.", ModelState.adapters, "No adapter yet."),
            class_name="grid grid-cols-1 lg:grid-cols-2 gap-4 mt-4",
        ),
    )


def _architecture() -> rx.Component:
    shown = ModelState.model
    return card(
        key_values(
            ("Class", shown.architecture),
            ("Shape", shown.shape),
            ("Vocabulary", shown.vocabulary),
            ("Stored as", shown.dtypes),
            ("Languages", shown.languages),
            ("Licence", shown.license),
            ("Source", shown.source),
            ("Contents", rx.el.code(shown.content_hash)),
            ("Added", time_text(shown.added, shown.added_exact)),
        ),
        title="Architecture",
    )


def _checks() -> rx.Component:
    return card(
        rx.el.ul(rx.foreach(ModelState.checks, _check), class_name="list-none p-0 m-0 flex flex-col"),
        rx.cond(
            ModelState.dropped.length() > 0,
            rx.el.details(
                rx.el.summary(
                    "Settings left out of the studio's copy",
                    class_name="cursor-pointer text-[13px] text-muted-foreground mt-3",
                ),
                rx.el.ul(
                    rx.foreach(ModelState.dropped, lambda key: rx.el.li(rx.el.code(key))),
                    class_name="list-disc pl-5 mt-2 text-xs text-muted-foreground",
                ),
            ),
            rx.fragment(),
        ),
        title="Checked",
        description="By reading the files only: nothing of them was executed.",
    )


def _check(text: rx.Var[str]) -> rx.Component:
    return rx.el.li(
        rx.icon("circle-check", size=16, class_name="text-success shrink-0 mt-0.5", aria_hidden="true"),
        rx.el.span(text),
        class_name="flex gap-2.5 py-2 text-[13px] border-b border-border last:border-0",
    )


def _layers() -> rx.Component:
    heading = "px-3 py-2 text-left text-xs font-medium text-muted-foreground border-b border-border"
    table = rx.el.table(
        rx.el.thead(
            rx.el.tr(
                rx.el.th("Layer", scope="col", class_name=heading),
                rx.el.th("Size", scope="col", class_name=heading),
                rx.el.th("How many", scope="col", class_name=heading + " text-right"),
                rx.el.th("Parameters", scope="col", class_name=heading + " text-right"),
                rx.el.th("Stored in", scope="col", class_name=heading + " whitespace-nowrap"),
            )
        ),
        rx.el.tbody(rx.foreach(ModelState.layers, _layer)),
        class_name="w-full text-[13px]",
    )
    return card(
        rx.el.div(
            rx.el.div(
                table, class_name="overflow-x-auto min-w-0", tab_index=0, role="region", aria_label="Layers"
            ),
            rx.el.div(
                rx.el.h3("Choices of target modules", class_name="text-[13px] font-semibold mb-1"),
                rx.foreach(ModelState.presets, _preset),
                class_name="min-w-0",
            ),
            class_name="grid grid-cols-1 lg:grid-cols-[3fr_2fr] gap-6",
        ),
        title="LoRA targets",
        description="These layers can carry an adapter. QLoRA stores in 4 bits those whose rows are whole blocks of 64; everything else stays in 32.",
    )


def _layer(row: LayerRow) -> rx.Component:
    cell = "px-3 py-2 border-b border-border "
    return rx.el.tr(
        rx.el.th(rx.el.code(row.name), scope="row", class_name=cell + "text-left font-medium"),
        rx.el.td(row.shape, class_name=cell + "tabular whitespace-nowrap"),
        rx.el.td(row.count, class_name=cell + "tabular text-right"),
        rx.el.td(row.parameters, class_name=cell + "tabular text-right"),
        rx.el.td(
            row.stored_in,
            class_name=cell
            + rx.cond(row.is_packed, "whitespace-nowrap", "whitespace-nowrap text-muted-foreground"),
        ),
    )


def _preset(row: PresetRow) -> rx.Component:
    return rx.el.div(
        rx.el.span(row.name, class_name="font-medium text-[13px]"),
        rx.el.p(row.layers, class_name="text-xs text-muted-foreground break-words"),
        class_name="py-2 border-b border-border last:border-0",
    )


def _uses(title: str, description: str, rows: rx.Var[list[UseRow]], empty: str) -> rx.Component:
    nothing = rx.el.p(empty, class_name="text-[13px] text-muted-foreground py-2")
    return card(
        rx.cond(rows.length() > 0, rx.el.div(rx.foreach(rows, _use)), nothing),
        title=title,
        description=description,
    )


def _use(row: UseRow) -> rx.Component:
    return rx.el.div(
        rx.el.div(
            page_link(
                row.name,
                href=row.href,
                class_name="font-medium text-[13px] truncate block hover:underline underline-offset-4",
            ),
            rx.el.div(row.detail, class_name="text-xs text-muted-foreground tabular"),
            class_name="min-w-0",
        ),
        rx.el.div(
            rx.el.span(time_text(row.added, row.added_exact), class_name="text-xs text-muted-foreground"),
            status_badge(row.status),
            class_name="flex items-center gap-3 shrink-0",
        ),
        class_name="flex items-center justify-between gap-4 py-2.5 border-b border-border last:border-0",
    )
