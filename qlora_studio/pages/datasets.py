"""The list of datasets."""

import reflex as rx

from qlora_studio.components.buttons import link_button
from qlora_studio.components.details import time_text
from qlora_studio.components.dialogs import delete_row_dialog
from qlora_studio.components.resources import no_datasets, resource_menu
from qlora_studio.components.sharing import for_trainers, nothing_shared, shelf_tabs, whose
from qlora_studio.components.shell import studio_page
from qlora_studio.components.status import status_badge
from qlora_studio.components.surfaces import page_header
from qlora_studio.components.tables import Column, data_table, name_cell
from qlora_studio.state.datasets import TASK_LABELS, DatasetRow, DatasetsState

DELETED_WITH_IT = "Its clips are removed from the disk. This can't be undone."
_STATUSES = [
    ("ready", "Ready"),
    ("processing", "Processing"),
    ("awaiting_files", "Awaiting files"),
    ("error", "Error"),
]
_TASKS = [(task.value, label) for task, label in TASK_LABELS.items()]


@studio_page("/datasets", title="Datasets", section="datasets", on_load=DatasetsState.load)
def datasets() -> rx.Component:
    """Every dataset of the person, or the way to the first one."""
    add = for_trainers(link_button("Add dataset", href="/datasets/new", icon="plus", variant="primary"))
    return rx.fragment(
        page_header("Datasets", "Recordings with their words or labels, ready to train on.", add),
        shelf_tabs(DatasetsState, what="datasets", path="/datasets"),
        data_table(
            DatasetsState,
            rows=DatasetsState.rows,
            label="Datasets",
            columns=[
                Column(
                    "Name",
                    lambda r: name_cell(
                        r.name, href="/datasets/" + r.id, detail=rx.fragment(r.task, " ", whose(r))
                    ),
                    sort="name",
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
            row_menu=lambda r: resource_menu(DatasetsState, r, "dataset", train="Train on this"),
            empty=rx.cond(
                DatasetsState.shelf == "shared",
                nothing_shared("datasets"),
                no_datasets("No datasets yet", DatasetsState),
            ),
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
