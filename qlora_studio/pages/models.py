"""The list of base models, and the form that registers one."""

import reflex as rx

from qlora_studio.components.buttons import button, link_button
from qlora_studio.components.details import time_text
from qlora_studio.components.dialogs import delete_row_dialog
from qlora_studio.components.forms import choice_card, form_section, select_field, text_field, textarea_field
from qlora_studio.components.resources import no_models, resource_menu
from qlora_studio.components.sharing import for_trainers, nothing_shared, shelf_tabs, whose
from qlora_studio.components.shell import studio_page
from qlora_studio.components.status import badge, progress_bar, status_badge
from qlora_studio.components.surfaces import card, notice, page_header
from qlora_studio.components.tables import Column, data_table, name_cell
from qlora_studio.components.uploader import uploader
from qlora_studio.contracts.metrics import DECIDING
from qlora_studio.state.datasets import TASK_LABELS
from qlora_studio.state.model_form import ModelFormState
from qlora_studio.state.model_rows import ModelRow
from qlora_studio.state.models import ModelsState

DELETED_WITH_IT = "The studio's copy is removed; a folder it was registered from stays. This can't be undone."
_STATUSES = [
    ("ready", "Ready"),
    ("awaiting_files", "Awaiting files"),
    ("downloading", "Downloading"),
    ("checking", "Checking"),
    ("error", "Error"),
]
_TRAINED_TASKS = [(task.value, TASK_LABELS[task]) for task in DECIDING]
_TASKS = [(task.value, label) for task, label in TASK_LABELS.items()]


@studio_page("/models", title="Models", section="models", on_load=ModelsState.load)
def models() -> rx.Component:
    """Every base model of the person, or the way to the first one."""
    add = for_trainers(link_button("Add model", href="/models/new", icon="plus", variant="primary"))
    return rx.fragment(
        page_header("Models", "Base models to fine-tune. Each is checked before anything trains on it.", add),
        shelf_tabs(ModelsState, what="models", path="/models"),
        data_table(
            ModelsState,
            rows=ModelsState.rows,
            label="Models",
            columns=[
                Column(
                    "Name",
                    lambda r: name_cell(
                        r.name, href="/models/" + r.id, detail=rx.fragment(r.detail, " ", whose(r))
                    ),
                    sort="name",
                ),
                Column("Status", _status, sort="status"),
                Column("Type", lambda r: r.task, sort="task"),
                Column("Architecture", lambda r: r.architecture, sort="architecture"),
                Column("Parameters", lambda r: r.parameters, align="right", sort="n_parameters"),
                Column("Size", lambda r: r.size, align="right", sort="size_bytes"),
                Column(
                    "Added", lambda r: time_text(r.added, r.added_exact), align="right", sort="created_at"
                ),
            ],
            filters=[("status", "Statuses", _STATUSES), ("task", "Types", _TASKS)],
            row_menu=lambda r: resource_menu(ModelsState, r, "model", train="Train this model"),
            empty=rx.cond(
                ModelsState.shelf == "shared",
                nothing_shared("models"),
                no_models("No models yet", ModelsState),
            ),
            on_retry=ModelsState.load,
        ),
        delete_row_dialog(
            ModelsState,
            "model",
            body=DELETED_WITH_IT,
            users=ModelsState.deleting_users,
            sending=ModelsState.is_sending,
        ),
    )


def _status(row: ModelRow) -> rx.Component:
    downloading = rx.el.div(
        progress_bar(row.percent, label="Download", active=True),
        rx.el.span(row.progress, class_name="text-xs text-muted-foreground tabular"),
        class_name="flex flex-col gap-1 w-36",
    )
    used = rx.cond(row.in_use != "", badge(row.in_use, icon="activity", tone="primary"), rx.fragment())
    settled = rx.el.div(status_badge(row.status), used, class_name="flex items-center gap-1.5")
    return rx.cond(row.status == "downloading", downloading, settled)


@studio_page(
    "/models/new",
    title="New model",
    section="models",
    crumbs=[("Models", "/models")],
    on_load=ModelFormState.load,
)
def new_model() -> rx.Component:
    """Where it comes from, and what to call it."""
    state = ModelFormState
    return rx.fragment(
        page_header(
            "New model",
            "Weights must be safetensors. Files that can run code are refused, whatever their name.",
        ),
        rx.form.root(
            card(_source(), title="Source"),
            rx.cond(state.is_starter, rx.fragment(), card(_about(), class_name="mt-4")),
            rx.cond(
                state.refusal != "",
                rx.el.div(
                    notice(state.refusal, tone="danger", icon="shield-x"),
                    id="refusal",
                    tab_index=-1,
                    class_name="mt-4 outline-none",
                ),
                rx.fragment(),
            ),
            rx.el.div(
                link_button("Cancel", href="/models"),
                button(
                    rx.match(
                        state.source,
                        ("hub", "Download and check"),
                        ("path", "Check and add"),
                        ("upload", "Upload and check"),
                        "Add the starter model",
                    ),
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
    state = ModelFormState

    def choice(kind: str, title: str, text: str, icon: str) -> rx.Component:
        return choice_card(
            title,
            text,
            icon=icon,
            selected=state.source == kind,
            on_select=rx.redirect(f"/models/new?source={kind}", replace=True),
        )

    return rx.fragment(
        rx.el.div(
            choice("hub", "Hugging Face", "A public model, by its id.", "cloud-download"),
            choice("path", "Server folder", "A folder that the server can read.", "folder-open"),
            choice("upload", "Upload", "Files from this computer.", "upload"),
            choice("starter", "Starter for speech", "Small, comes with the studio.", "sparkles"),
            choice("starter-sound", "Starter for sounds", "Small, comes with the studio.", "audio-lines"),
            class_name="grid grid-cols-1 sm:grid-cols-2 xl:grid-cols-5 gap-3 mb-4",
        ),
        # Hidden rather than taken away: what was gathered in it outlives a look at the others.
        rx.el.div(uploader(kind="models"), class_name=rx.cond(state.source == "upload", "", "hidden")),
        rx.match(
            state.source,
            ("hub", _hub()),
            ("path", _path()),
            ("upload", rx.fragment()),
            ("starter", _starter()),
            _starter_sound(),
        ),
        rx.cond(state.is_starter, rx.fragment(), rx.el.div(_type(), class_name="mt-4 sm:w-1/2 sm:pr-2.5")),
    )


def _type() -> rx.Component:
    return select_field(
        "Type",
        name="task",
        options=[("", "As its files say"), *_TRAINED_TASKS],
        help="A speech model's encoder can learn to tell sounds apart, or speakers: choose that here.",
        error=ModelFormState.field_errors.get("task", ""),
    )


def _hub() -> rx.Component:
    errors = ModelFormState.field_errors
    return rx.el.div(
        text_field(
            "Model id",
            name="repo_id",
            placeholder="openai/whisper-tiny",
            auto_complete="off",
            spell_check=False,
            help="As in the model's address on huggingface.co.",
            error=errors.get("repo_id", ""),
        ),
        text_field(
            "Revision",
            name="revision",
            placeholder="main",
            optional=True,
            auto_complete="off",
            help="A branch, tag or commit.",
            error=errors.get("revision", ""),
        ),
        class_name="grid grid-cols-1 sm:grid-cols-2 gap-x-5 gap-y-4",
    )


def _path() -> rx.Component:
    state = ModelFormState
    allowed = rx.fragment("Allowed: anything under ", rx.el.code(state.roots.join(", ")), ".")
    field = text_field(
        "Folder",
        name="path",
        placeholder="/srv/models/whisper-tiny",
        auto_complete="off",
        spell_check=False,
        help=allowed,
        error=state.field_errors.get("path", ""),
    )
    closed = notice(
        "No folder of this server may be read yet. Whoever runs it can list folders in "
        "QLORA_STUDIO_MODEL_ROOTS, separated by colons.",
        tone="warning",
        icon="folder-lock",
    )
    return rx.cond(state.roots.length() > 0, field, closed)


def _starter() -> rx.Component:
    return notice(
        "A small English speech recogniser, trained on synthetic voices. Together with the example dataset "
        "it shows a fine-tuning from start to end in a few minutes, with no network.",
        icon="sparkles",
    )


def _starter_sound() -> rx.Component:
    return notice(
        "A small model that makes drums, plucked and struck tones, held tones and noise of a few words. "
        "Rate what it makes, and train it on what was rated well, with no network.",
        icon="audio-lines",
    )


def _about() -> rx.Component:
    errors = ModelFormState.field_errors
    return form_section(
        "About",
        "The architecture is read from the files.",
        text_field(
            "Name",
            name="name",
            optional=True,
            max_length=120,
            auto_complete="off",
            help="Left empty, it is called like its source.",
            error=errors.get("name", ""),
        ),
        textarea_field(
            "Description",
            name="description",
            optional=True,
            rows=2,
            max_length=2000,
            error=errors.get("description", ""),
        ),
    )
