"""What the page of a dataset shows until it is ready: files on their way, columns to look at, progress."""

import reflex as rx

from qlora_studio.components.buttons import button
from qlora_studio.components.feedback import error_state, skeleton, skeleton_rows
from qlora_studio.components.forms import select_field
from qlora_studio.components.status import badge, progress_bar
from qlora_studio.components.surfaces import card, notice
from qlora_studio.components.uploader import uploader
from qlora_studio.ingest.manifests import LABEL_FROM
from qlora_studio.state.dataset import DatasetState
from qlora_studio.state.dataset_intake import DatasetIntakeState
from qlora_studio.state.dataset_mapping import DatasetMappingState, MappedRow

LOADS = [DatasetIntakeState.load, DatasetMappingState.load, DatasetIntakeState.watch]
_FIELDS = [
    ("file", "File", "Names the recording."),
    ("text", "Words", "What is said."),
    ("label", "Label", "Its class."),
    ("speaker", "Speaker", "Who speaks."),
    ("split", "Split", "train, validation, test."),
]
_LABELS_FROM = [
    ("folder", "The folder it lies in"),
    ("prefix", "The file name, up to the first _"),
    ("none", "Nothing else"),
]


def awaiting() -> rx.Component:
    """Files are sent, or they are here and somebody has to say how they are read."""
    state, mapping = DatasetIntakeState, DatasetMappingState
    upload = card(uploader(state.intake.id, on_review=mapping.look(False)), title="Recordings", key="upload")
    trouble = card(error_state(mapping.trouble, on_retry=mapping.look(False)))
    waiting = rx.cond(mapping.trouble != "", trouble, _outline())
    files = rx.cond(state.intake.kind == "upload", upload, waiting)
    return _once_loaded(rx.cond(mapping.shown.is_shown, mapping_panel(), files))


def _once_loaded(page: rx.Component) -> rx.Component:
    """Nothing of the dataset that was looked at before: its uploader would take this one's files."""
    return rx.cond(DatasetIntakeState.intake.id == DatasetState.dataset.id, page, _outline())


def processing() -> rx.Component:
    """Bytes or clips, how quickly they come, how long it takes, and a way to stop it."""
    state = DatasetIntakeState
    shown = state.intake
    title = rx.cond(shown.is_fetching, rx.fragment("Fetching from ", shown.origin), "Reading the recordings")
    about = rx.cond(
        shown.is_fetching,
        "What has come is kept if the connection drops. This goes on if you close the page.",
        "Each one is decoded and measured. This goes on if you close the page.",
    )
    progress = card(
        rx.cond(
            shown.percent >= 0,
            progress_bar(shown.percent, label="Progress", active=True),
            rx.el.div(
                rx.el.div(class_name="progress-active relative overflow-hidden h-full w-1/3 bg-primary"),
                class_name="h-1.5 w-full rounded-full bg-subtle overflow-hidden",
                aria_hidden="true",
            ),
        ),
        rx.el.div(
            rx.el.span(shown.progress, role="status"),
            rx.el.span(shown.pace, class_name="text-muted-foreground"),
            class_name="flex flex-wrap justify-between gap-x-4 gap-y-1 mt-3 text-[13px] tabular",
        ),
        title=title,
        description=about,
        actions=button("Stop", icon="square", size="sm", loading=state.is_sending, on_click=state.stop),
        class_name="running-border",
    )
    return _once_loaded(progress)


def failed() -> rx.Component:
    """Why it went wrong, and what can be done: start again, read the columns otherwise, replace files."""
    state, mapping = DatasetIntakeState, DatasetMappingState
    shown = state.intake
    again = button(
        "Start again", icon="rotate-cw", size="sm", loading=state.is_sending, on_click=state.start_again
    )
    columns = button(
        "Look at the columns",
        icon="table-properties",
        size="sm",
        loading=mapping.is_looking,
        on_click=mapping.look(False),
    )
    is_upload = shown.kind == "upload"
    more = card(
        uploader(shown.id, replaces=True, on_review=mapping.look(False)),
        title="Add or replace files",
        class_name="mt-4",
    )
    page = rx.fragment(
        notice(shown.error, tone="danger", icon="circle-x"),
        rx.el.div(
            rx.cond(is_upload, rx.fragment(), again),
            rx.cond(shown.has_files, columns, rx.fragment()),
            class_name="flex flex-wrap gap-2 mt-3",
        ),
        rx.cond(
            mapping.trouble != "",
            rx.el.div(notice(mapping.trouble, tone="warning", icon="info"), class_name="mt-3"),
            rx.fragment(),
        ),
        rx.cond(
            mapping.shown.is_shown,
            rx.el.div(mapping_panel(), class_name="mt-4"),
            rx.cond(is_upload, more, rx.fragment()),
        ),
    )
    return _once_loaded(page)


def mapping_panel() -> rx.Component:
    """What each column is taken for, the first clips read that way, and the button that takes them in."""
    state = DatasetMappingState
    shown = state.shown
    return card(
        rx.cond(
            shown.refusal != "",
            notice(shown.refusal, tone="warning", icon="triangle-alert"),
            _summary(),
        ),
        rx.cond(shown.has_columns | shown.has_label_from, _selects(), rx.fragment()),
        rx.cond(state.rows.length() > 0, _rows(), rx.fragment()),
        rx.el.div(
            rx.cond(
                DatasetIntakeState.intake.kind == "upload",
                button("Back to the files", on_click=state.go_back),
                rx.fragment(),
            ),
            button(
                "Use this",
                icon="check",
                variant="primary",
                loading=state.is_sending,
                disabled=state.is_looking | (shown.refusal != ""),
                on_click=state.use,
            ),
            class_name="flex flex-wrap justify-end gap-2 mt-5",
        ),
        title="How the files are read",
        description="Nothing is taken in yet. Check that words and labels are where they belong.",
        key="mapping",
    )


def _summary() -> rx.Component:
    state = DatasetMappingState
    shown = state.shown
    problem = rx.el.span(
        badge(rx.fragment(shown.unmatched, " can't be used"), icon="triangle-alert", tone="warning"),
        title=state.reasons.join("\n"),
    )
    reasons = rx.el.p(state.reasons.join(", "), class_name="text-xs text-muted-foreground mt-2")
    return rx.el.div(
        rx.el.div(
            badge(shown.matched, icon="circle-check", tone="success"),
            rx.cond(shown.n_unmatched > 0, problem, rx.fragment()),
            rx.cond(
                shown.labels_from != "",
                rx.el.span(
                    "Labels come from ", rx.el.strong(shown.labels_from, class_name="font-medium break-words")
                ),
                rx.fragment(),
            ),
            class_name="flex flex-wrap items-center gap-x-3 gap-y-1.5 text-[13px]",
        ),
        rx.cond(shown.n_unmatched > 0, reasons, rx.fragment()),
        rx.cond(
            shown.classes != "",
            rx.el.p("Classes: ", shown.classes, class_name="text-xs text-muted-foreground mt-1 break-words"),
            rx.fragment(),
        ),
        role="status",
        aria_busy=state.is_looking.to_string(),
    )


def _selects() -> rx.Component:
    state = DatasetMappingState

    def column(name: str, label: str, about: str) -> rx.Component:
        return select_field(
            label,
            name=f"map-{name}",
            options=state.options,
            value=state.mapping.get(name, ""),
            on_change=lambda value: state.choose(name, value),
            help=about,
        )

    columns = rx.el.div(
        *(column(*field) for field in _FIELDS),
        class_name="grid grid-cols-1 sm:grid-cols-2 lg:grid-cols-5 gap-x-4 gap-y-3",
    )
    label_from = rx.el.div(
        select_field(
            "Where no column gives a label, take it from",
            name="map-label-from",
            options=_LABELS_FROM,
            value=state.mapping.get(LABEL_FROM, "none"),
            on_change=lambda value: state.choose(LABEL_FROM, value),
        ),
        class_name="sm:max-w-[340px]",
    )
    return rx.el.div(
        rx.cond(state.shown.has_columns, columns, rx.fragment()),
        rx.cond(state.shown.has_label_from, label_from, rx.fragment()),
        class_name="flex flex-col gap-4 mt-5",
    )


def _rows() -> rx.Component:
    state = DatasetMappingState
    heads = ["File", "Words", "Label", "Speaker", "Split"]
    head_class = (
        "px-3 h-9 text-left font-medium text-muted-foreground border-b border-border whitespace-nowrap"
    )
    table = rx.el.table(
        rx.el.thead(rx.el.tr(*(rx.el.th(text, scope="col", class_name=head_class) for text in heads))),
        rx.el.tbody(rx.foreach(state.rows, _row), class_name="divide-y divide-border"),
        aria_label="First clips",
        class_name="data-table w-full border-collapse text-[13px]",
    )
    return rx.el.div(
        rx.el.div(
            table,
            class_name=rx.cond(
                state.is_looking,
                "mt-5 border border-border rounded-lg overflow-x-auto opacity-60",
                "mt-5 border border-border rounded-lg overflow-x-auto",
            ),
            tab_index=0,
            role="region",
            aria_label="The first clips as they would be read",
        ),
        rx.cond(
            state.shown.more != "",
            rx.el.p(state.shown.more, class_name="text-xs text-muted-foreground mt-2"),
            rx.fragment(),
        ),
    )


def _row(row: MappedRow) -> rx.Component:
    def cell(label: str, text: rx.Var, class_name: str = "") -> rx.Component:
        there = f"px-3 py-2 align-top {class_name}"
        return rx.el.td(
            rx.cond(text != "", text, rx.el.span("–", class_name="text-muted-foreground")),
            data_label=label,
            class_name=rx.cond(text != "", there, f"{there} max-sm:!hidden"),
        )

    name = rx.el.td(
        rx.el.div(row.file, class_name="break-all"),
        rx.cond(
            row.problem != "",
            rx.el.div(row.problem, class_name="text-xs text-danger mt-0.5 whitespace-normal"),
            rx.fragment(),
        ),
        data_label="File",
        class_name="px-3 py-2 align-top min-w-[160px]",
    )
    return rx.el.tr(
        name,
        cell("Words", row.text, "min-w-[180px] max-w-[420px] whitespace-normal break-words"),
        cell("Label", row.label, "break-words"),
        cell("Speaker", row.speaker, "break-words"),
        cell("Split", row.split),
    )


def _outline() -> rx.Component:
    return card(
        skeleton("h-5 w-48 mb-4"),
        skeleton_rows(4),
        title="Looking at the files",
        description="Names and columns are read; nothing is taken in yet.",
    )
