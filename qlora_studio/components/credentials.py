"""Choosing a key for a source that isn't open to everybody, adding one, deleting one."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button, icon_button
from qlora_studio.components.dialogs import delete_dialog, dialog, dialog_form
from qlora_studio.components.forms import select_field, text_field

DELETED_WITH_IT = "Datasets that were fetched with it stay. To fetch with it again, it must be added anew."
NEVER_SHOWN = "It is kept encrypted, used for your datasets only, and never shown again."


def key_picker(state: Any, *, error: Any) -> rx.Component:
    """A select over `state.options` with what adds and deletes a key beside it."""
    return rx.el.div(
        rx.el.div(
            select_field(
                "Key",
                name="credential_id",
                options=state.options,
                value=state.chosen,
                on_change=state.choose,
                help="Without one it is asked for as a stranger would.",
                error=error,
            ),
            class_name="flex-1 min-w-0",
        ),
        rx.el.div(
            button("Add a key", icon="key-round", on_click=state.ask_add),
            rx.cond(
                state.chosen != "",
                icon_button("trash-2", "Delete this key", on_click=state.ask_delete),
                rx.fragment(),
            ),
            class_name="flex items-center gap-1 sm:mt-[26px]",
        ),
        class_name="flex flex-col sm:flex-row sm:items-start gap-2 sm:col-span-2",
    )


def key_dialogs(state: Any) -> rx.Component:
    """The dialogs behind `key_picker`. They hold forms, so they stand outside of any other form."""
    return rx.fragment(
        dialog(
            _new_key(state),
            is_open=state.dialog == "add",
            title="Add a key",
            description=NEVER_SHOWN,
            on_close=state.close_dialog,
        ),
        delete_dialog(
            "key",
            name=state.chosen_name,
            body=DELETED_WITH_IT,
            is_open=state.dialog == "delete",
            on_confirm=state.delete,
            on_cancel=state.close_dialog,
        ),
    )


def _new_key(state: Any) -> rx.Component:
    error = state.field_errors
    kind = select_field(
        "For",
        name="key_kind",
        options=[("s3", "Amazon S3, or a server like it"), ("gs", "Google Cloud Storage")],
        value=state.kind,
        on_change=state.set_kind,
    )
    return dialog_form(
        rx.cond(state.kind == "hub", rx.fragment(), kind),
        text_field(
            "Name",
            name="key_name",
            placeholder="Team bucket, read only",
            max_length=120,
            auto_complete="off",
            error=error.get("key_name", ""),
        ),
        rx.match(
            state.kind,
            ("s3", _s3(error)),
            (
                "gs",
                _secret(
                    "Key file",
                    "service_account",
                    error,
                    help="Paste the JSON file that Google gives for a service account.",
                ),
            ),
            _secret(
                "Token",
                "token",
                error,
                placeholder="hf_…",
                help="One that may only read is enough. It is made on huggingface.co under Settings.",
            ),
        ),
        label="Add key",
        on_submit=state.add,
        on_cancel=state.close_dialog,
    )


def _s3(error: Any) -> rx.Component:
    return rx.el.div(
        _secret("Access key id", "access_key", error),
        _secret("Secret access key", "secret_key", error),
        _secret("Session token", "session_token", error, optional=True, help="Only temporary keys have one."),
        text_field(
            "Region",
            name="region",
            placeholder="eu-central-1",
            optional=True,
            max_length=40,
            auto_complete="off",
            error=error.get("region", ""),
        ),
        class_name="flex flex-col gap-4",
    )


def _secret(label: str, name: str, error: Any, **props: Any) -> rx.Component:
    return text_field(
        label,
        name=name,
        type="password",
        auto_complete="new-password",
        spell_check=False,
        error=error.get(name, ""),
        **props,
    )
