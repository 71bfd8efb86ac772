"""The list of datasets, and the form that makes one."""

import reflex as rx

from qlora_studio.components.buttons import button, link_button
from qlora_studio.components.details import time_text
from qlora_studio.components.dialogs import delete_row_dialog
from qlora_studio.components.forms import (
    choice_card,
    error_text,
    form_section,
    select_field,
    text_field,
    textarea_field,
)
from qlora_studio.components.library import library_menu, no_datasets
from qlora_studio.components.shell import studio_page
from qlora_studio.components.status import status_badge
from qlora_studio.components.surfaces import card, notice, page_header
from qlora_studio.components.tables import Column, data_table, name_cell
from qlora_studio.components.uploader import uploader
from qlora_studio.state.dataset_form import DatasetFormState
from qlora_studio.state.datasets import TASK_LABELS, DatasetRow, DatasetsState

DELETED_WITH_IT = "Its clips are removed from the disk. This can't be undone."
_STATUSES = [
    ("ready", "Ready"),
    ("processing", "Processing"),
    ("awaiting_files", "Awaiting files"),
    ("error", "Error"),
]
_TASKS = [(task.value, label) for task, label in TASK_LABELS.items()]


@studio_page(
    "/datasets", title="Datasets", section="datasets", on_load=[DatasetsState.load, DatasetsState.watch]
)
def datasets() -> rx.Component:
    """Every dataset of the person, or the way to the first one."""
    add = link_button("Add dataset", href="/datasets/new", icon="plus", variant="primary")
    return rx.fragment(
        page_header("Datasets", "Recordings with their words or labels, ready to train on.", add),
        data_table(
            DatasetsState,
            rows=DatasetsState.rows,
            label="Datasets",
            columns=[
                Column(
                    "Name", lambda r: name_cell(r.name, href="/datasets/" + r.id, detail=r.task), sort="name"
                ),
                Column("Status", _status, sort="status"),
                Column("Clips", lambda r: r.clips, align="right", sort="n_clips"),
                Column("Audio", lambda r: r.hours, align="right", sort="duration_s"),
                Column("Size", lambda r: r.size, align="right", sort="size_bytes"),
                Column(
                    "Added", lambda r: time_text(r.added, r.added_exact), align="right", sort="created_at"
                ),
            ],
            filters=[("status", "Statuses", _STATUSES), ("task", "Tasks", _TASKS)],
            row_menu=lambda r: library_menu(DatasetsState, r, "dataset", train="Train on this"),
            empty=no_datasets("No datasets yet", DatasetsState),
            on_retry=DatasetsState.load,
        ),
        delete_row_dialog(
            DatasetsState,
            "dataset",
            body=DELETED_WITH_IT,
            users=DatasetsState.deleting_users,
            sending=DatasetsState.is_sending,
        ),
    )


def _status(row: DatasetRow) -> rx.Component:
    return rx.el.div(
        status_badge(row.status),
        rx.el.span(row.progress, class_name="text-xs text-muted-foreground tabular"),
        class_name="flex items-center gap-2",
    )


@studio_page(
    "/datasets/new",
    title="New dataset",
    section="datasets",
    crumbs=[("Datasets", "/datasets")],
    on_load=DatasetFormState.load,
)
def new_dataset() -> rx.Component:
    """Name, task and files; files begin to travel once the dataset is made."""
    state = DatasetFormState
    return rx.fragment(
        page_header("New dataset", "Name it, say what it is for, and bring the recordings."),
        rx.form(
            card(
                form_section(
                    "About",
                    "The task decides which labels are looked for.",
                    text_field(
                        "Name",
                        name="name",
                        placeholder="Call centre, March",
                        max_length=120,
                        auto_complete="off",
                        error=state.field_errors.get("name", ""),
                    ),
                    select_field(
                        "Task", name="task", options=_TASKS, error=state.field_errors.get("task", "")
                    ),
                    rx.el.div(
                        textarea_field(
                            "Description",
                            name="description",
                            optional=True,
                            rows=2,
                            max_length=2000,
                            error=state.field_errors.get("description", ""),
                        ),
                        class_name="sm:col-span-2",
                    ),
                ),
            ),
            card(_source(), title="Recordings", class_name="mt-4"),
            rx.el.div(
                link_button("Cancel", href="/datasets"),
                button(
                    rx.cond(state.source == "upload", "Create and upload", "Create and read the folder"),
                    variant="primary",
                    type="submit",
                    loading=state.is_sending,
                ),
                class_name="flex justify-end gap-2 mt-5",
            ),
            on_submit=state.create,
            reset_on_submit=False,
            no_validate=True,
        ),
    )


def _source() -> rx.Component:
    state = DatasetFormState
    choices = rx.el.div(
        choice_card(
            "Upload",
            "Files, folders or a zip from this computer.",
            icon="upload",
            selected=state.source == "upload",
            on_select=rx.redirect("/datasets/new", replace=True),
        ),
        choice_card(
            "Server folder",
            "A folder that the server can read.",
            icon="folder-open",
            selected=state.source == "folder",
            on_select=rx.redirect("/datasets/new?source=folder", replace=True),
        ),
        class_name="grid grid-cols-1 sm:grid-cols-2 gap-3 mb-4",
    )
    return rx.fragment(choices, rx.cond(state.source == "folder", _folder(), uploader()))


def _folder() -> rx.Component:
    state = DatasetFormState
    roots = rx.fragment("Allowed: anything under ", rx.el.code(state.folder_roots.join(", ")), ".")
    field = text_field(
        "Folder",
        name="path",
        placeholder="/srv/recordings/march",
        auto_complete="off",
        help=roots,
        error=state.field_errors.get("source.path", ""),
    )
    closed = notice(
        "No folder of this server may be read yet. Whoever runs it can list folders in "
        "QLORA_STUDIO_DATASET_ROOTS, separated by colons.",
        tone="warning",
        icon="folder-lock",
    )
    missing = error_text("path", state.field_errors.get("source.path", ""))
    return rx.cond(state.folder_roots.length() > 0, field, rx.fragment(closed, missing))
