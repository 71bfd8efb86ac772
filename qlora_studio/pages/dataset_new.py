"""The form that makes a dataset: what it is, and where its recordings come from."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button, link_button
from qlora_studio.components.credentials import key_dialogs, key_picker
from qlora_studio.components.forms import (
    choice_card,
    error_text,
    form_section,
    select_field,
    text_field,
    textarea_field,
)
from qlora_studio.components.shell import studio_page
from qlora_studio.components.surfaces import card, notice, page_header
from qlora_studio.components.uploader import uploader
from qlora_studio.state.credentials import CredentialsState
from qlora_studio.state.dataset_form import DatasetFormState
from qlora_studio.state.datasets import TASK_LABELS

_TASKS = [(task.value, label) for task, label in TASK_LABELS.items()]
_BLUR_MS = 250  # the mark of an error moves what is below: not between press and release of the button there
_SOURCES = [
    ("upload", "Upload", "Files, folders or a zip from this computer.", "upload"),
    ("url", "Web address", "A zip or recording that anybody may fetch.", "globe"),
    ("cloud", "Cloud storage", "A bucket or folder of S3 or Google Cloud.", "cloud"),
    ("hub", "Hugging Face", "A dataset of the Hub, by its id.", "cloud-download"),
    ("folder", "Server folder", "A folder that the server can read.", "folder-open"),
]


@studio_page(
    "/datasets/new",
    title="New dataset",
    section="datasets",
    crumbs=[("Datasets", "/datasets")],
    on_load=[DatasetFormState.load, CredentialsState.load],
)
def new_dataset() -> rx.Component:
    """Name, task and source; files begin to travel once the dataset is made."""
    state = DatasetFormState
    submit = rx.match(
        state.source,
        ("upload", "Create and upload"),
        ("folder", "Create and look at the folder"),
        "Create and fetch",
    )
    return rx.fragment(
        page_header("New dataset", "Name it, say what it is for, and bring the recordings."),
        rx.form(
            card(_about()),
            card(_source(), title="Recordings", class_name="mt-4"),
            rx.el.div(
                link_button("Cancel", href="/datasets"),
                button(
                    submit,
                    variant="primary",
                    type="submit",
                    loading=state.is_sending,
                    disabled=~state.is_loaded,
                ),
                class_name="flex justify-end gap-2 mt-5",
            ),
            on_submit=state.create,
            reset_on_submit=False,
            no_validate=True,
        ),
        key_dialogs(CredentialsState),
    )


def _checked(name: str) -> dict[str, Any]:
    """What every field has: its name, its error, and that it is looked at when it is left."""
    state = DatasetFormState
    return {
        "name": name,
        "error": state.field_errors.get(name, ""),
        "on_blur": lambda value: state.check(name, value).debounce(_BLUR_MS),
    }


def _about() -> rx.Component:
    return form_section(
        "About",
        "The task decides which labels are looked for.",
        text_field(
            "Name",
            placeholder="Call centre, March",
            max_length=120,
            auto_complete="off",
            **_checked("name"),
        ),
        select_field(
            "Task", name="task", options=_TASKS, error=DatasetFormState.field_errors.get("task", "")
        ),
        rx.el.div(
            textarea_field("Description", optional=True, rows=2, max_length=2000, **_checked("description")),
            class_name="sm:col-span-2",
        ),
    )


def _source() -> rx.Component:
    state = DatasetFormState
    choices = [
        choice_card(
            title,
            text,
            icon=icon,
            selected=state.source == kind,
            on_select=rx.redirect(f"/datasets/new?source={kind}", replace=True),
        )
        for kind, title, text, icon in _SOURCES
    ]
    # The uploader is hidden rather than taken away: what was gathered in it must outlive a look at the others.
    return rx.fragment(
        rx.el.div(*choices, class_name="grid grid-cols-1 sm:grid-cols-2 lg:grid-cols-3 gap-3 mb-5"),
        rx.el.div(uploader(), class_name=rx.cond(state.source == "upload", "", "hidden")),
        rx.match(
            state.source,
            ("url", _url()),
            ("cloud", _cloud()),
            ("hub", _hub()),
            ("folder", _folder()),
            rx.fragment(),
        ),
    )


def _url() -> rx.Component:
    return text_field(
        "Address",
        type="url",
        placeholder="https://example.org/recordings.zip",
        auto_complete="off",
        spell_check=False,
        help="Of a zip, or of one recording. It is fetched by the server, so it must be open to everybody.",
        **_checked("url"),
    )


def _cloud() -> rx.Component:
    state = DatasetFormState
    endpoint = select_field(
        "Server",
        name="endpoint_url",
        options=rx.Var.create([["", "Amazon S3 or Google Cloud"]]).to(list[list[str]]) + state.endpoints,
        help="Other servers that speak S3 are listed by whoever runs the studio.",
        error=state.field_errors.get("endpoint_url", ""),
    )
    return rx.el.div(
        rx.el.div(
            text_field(
                "Link",
                placeholder="s3://bucket/folder",
                auto_complete="off",
                spell_check=False,
                help="s3://bucket/folder or gs://bucket/folder: everything under it is fetched.",
                **_checked("url"),
            ),
            class_name="sm:col-span-2",
        ),
        key_picker(CredentialsState, error=state.field_errors.get("credential_id", "")),
        rx.cond(state.endpoints.length() > 0, endpoint, rx.fragment()),
        class_name="grid grid-cols-1 sm:grid-cols-2 gap-x-5 gap-y-4",
    )


def _hub() -> rx.Component:
    return rx.el.div(
        text_field(
            "Dataset id",
            placeholder="mozilla-foundation/common_voice",
            auto_complete="off",
            spell_check=False,
            help="As in its address on huggingface.co.",
            **_checked("repo_id"),
        ),
        text_field(
            "Revision",
            placeholder="main",
            optional=True,
            auto_complete="off",
            spell_check=False,
            help="A branch, tag or commit.",
            **_checked("revision"),
        ),
        key_picker(CredentialsState, error=DatasetFormState.field_errors.get("credential_id", "")),
        class_name="grid grid-cols-1 sm:grid-cols-2 gap-x-5 gap-y-4",
    )


def _folder() -> rx.Component:
    state = DatasetFormState
    roots = rx.fragment("Allowed: anything under ", rx.el.code(state.folder_roots.join(", ")), ".")
    field = text_field(
        "Folder",
        placeholder="/srv/recordings/march",
        auto_complete="off",
        spell_check=False,
        help=roots,
        **_checked("path"),
    )
    closed = notice(
        "No folder of this server may be read yet. Whoever runs it can list folders in "
        "QLORA_STUDIO_DATASET_ROOTS, separated by colons.",
        tone="warning",
        icon="folder-lock",
    )
    missing = error_text("path", state.field_errors.get("path", ""))
    return rx.cond(state.folder_roots.length() > 0, field, rx.fragment(closed, missing))
