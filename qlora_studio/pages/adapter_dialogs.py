"""An adapter's page: whether it is its base model's default, and the dialogs that change it."""

import reflex as rx

from qlora_studio.components.buttons import button
from qlora_studio.components.dialogs import confirm_dialog, delete_dialog, dialog, dialog_form, quoted
from qlora_studio.components.forms import slider_field, text_field, textarea_field
from qlora_studio.components.surfaces import notice
from qlora_studio.services.adapter_schemas import MAX_NOTES
from qlora_studio.state.adapters import AdapterState

DELETED_WITH_IT = "The adapter's files are removed from the disk. The job that made it stays."


def activation_card() -> rx.Component:
    """Whether the adapter is used where its base model is, with the button that changes it."""
    shown = AdapterState.adapter
    active = notice(
        rx.el.span(
            rx.el.strong(shown.active),
            ". It is the first choice wherever “",
            shown.model,
            "” is used.",
        ),
        icon="zap",
        tone="success",
        action=_if_changeable(button("Deactivate", size="sm", on_click=AdapterState.deactivate)),
    )
    offer = notice(
        "Not active. The active adapter is the first choice wherever its base model is used.",
        icon="zap-off",
        action=_if_changeable(button("Activate", size="sm", on_click=AdapterState.show_dialog("activate"))),
    )
    archived = notice("Archived: no longer listed, offered or active.", icon="archive")
    return rx.el.div(
        rx.cond(shown.is_archived, archived, rx.cond(shown.active != "", active, offer)),
        class_name="mb-4",
        id="activation",
    )


def _if_changeable(action: rx.Component) -> rx.Component:
    return rx.cond(AdapterState.adapter.may_change, action, rx.fragment())


def adapter_dialogs() -> rx.Component:
    """The dialogs, of which one at most is open."""
    state, shown = AdapterState, AdapterState.adapter
    return rx.fragment(
        _edit_dialog(),
        _activate_dialog(),
        confirm_dialog(
            is_open=state.dialog == "production",
            title="Put this adapter into production?",
            body=rx.el.span(
                "One adapter of each base model is in production. “",
                state.replaces,
                "” becomes a candidate again.",
            ),
            confirm_label="Put into production",
            on_confirm=state.set_stage("production"),
            on_cancel=state.close_dialog,
            variant="primary",
        ),
        delete_dialog(
            "adapter",
            name=quoted(shown.name),
            body=DELETED_WITH_IT,
            is_open=state.dialog == "delete",
            on_confirm=state.delete,
            on_cancel=state.close_dialog,
        ),
    )


def _edit_dialog() -> rx.Component:
    state, shown = AdapterState, AdapterState.adapter
    fields = [
        text_field(
            "Name",
            name="adapter-name",
            default_value=shown.name,
            error=state.field_errors.get("name", ""),
            auto_complete="off",
            max_length=120,
        ),
        text_field(
            "Tags",
            name="adapter-tags",
            default_value=shown.tags.join(", "),
            error=state.field_errors.get("tags", ""),
            help="Words to find it by, with commas between them.",
            auto_complete="off",
        ),
        textarea_field("Notes", name="adapter-notes", default_value=shown.notes, max_length=MAX_NOTES),
    ]
    return dialog(
        dialog_form(*fields, label="Save", on_submit=state.edit, on_cancel=state.close_dialog),
        is_open=state.dialog == "edit",
        title="Edit the adapter",
        on_close=state.close_dialog,
    )


def _activate_dialog() -> rx.Component:
    state = AdapterState
    strength = slider_field(
        "Strength",
        name="active-strength",
        unit="×",
        min="0",
        max="2",
        step="0.05",
        value=state.strength,
        on_change=state.set_strength,
        error="",
    )
    against = rx.cond(state.refusal != "", state.refusal, state.doubt)
    return dialog(
        rx.el.div(
            strength,
            rx.cond(against != "", notice(against, tone="danger", icon="circle-alert"), rx.fragment()),
            rx.el.div(
                button("Cancel", on_click=state.close_dialog),
                button(
                    rx.cond(state.doubt != "", "Activate all the same", "Activate"),
                    variant="primary",
                    on_click=state.activate,
                ),
                class_name="flex justify-end gap-2",
            ),
            class_name="flex flex-col gap-4",
        ),
        is_open=state.dialog == "activate",
        title="Make it the default",
        description="It takes the place of the adapter that is active for this base model now.",
        on_close=state.close_dialog,
    )
