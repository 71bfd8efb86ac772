"""The dialog that takes in an adapter made elsewhere."""

import reflex as rx

from qlora_studio.components.adapter_import import adapter_import
from qlora_studio.components.buttons import button, link_button
from qlora_studio.components.dialogs import dialog
from qlora_studio.components.feedback import empty_state
from qlora_studio.components.forms import select_field, text_field
from qlora_studio.state.adapter_import import AdapterImportState


def import_button() -> rx.Component:
    """Opens the dialog."""
    return button("Import adapter", icon="upload", on_click=AdapterImportState.open_dialog)


def import_dialog() -> rx.Component:
    """Base model, name, and the zip."""
    state = AdapterImportState
    return dialog(
        rx.cond(
            state.models.length() > 0,
            rx.el.div(
                select_field(
                    "Base model",
                    name="import-model",
                    options=state.models,
                    value=state.model_id,
                    on_change=state.choose_model,
                    help="The model that the adapter was trained on: every layer has to fit.",
                ),
                text_field(
                    "Name",
                    name="import-name",
                    optional=True,
                    auto_complete="off",
                    max_length=120,
                ),
                adapter_import(model_id=state.model_id, name_from="import-name", on_taken=state.open_taken),
                class_name="flex flex-col gap-4",
            ),
            empty_state(
                "No base model yet",
                "Add the model that the adapter was trained on first.",
                link_button("Add a model", href="/models", icon="plus", variant="primary"),
                icon="box",
            ),
        ),
        is_open=state.is_open,
        title="Import an adapter",
        description="A LoRA that PEFT saved elsewhere. Only plain LoRA in safetensors; nothing in it is run.",
        on_close=state.close,
    )
