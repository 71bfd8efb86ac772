"""The card “Hugging Face Hub” on an adapter's page, and the dialog that asks where to push to."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button, icon_button, plain_link
from qlora_studio.components.dialogs import dialog
from qlora_studio.components.forms import checkbox_field, select_field, text_field
from qlora_studio.components.status import progress_bar, status_badge
from qlora_studio.components.surfaces import card
from qlora_studio.state.pushing import NEW_TOKEN, PushingState

_WEIGHTS = [("adapter", "The adapter"), ("merged", "The merged model")]


def push_card() -> rx.Component:
    """Pushes that are under way or have ended, and a button for a new one."""
    return card(
        rx.cond(
            PushingState.pushes.length() > 0,
            rx.el.ul(
                rx.foreach(PushingState.pushes, _row),
                aria_label="Pushes",
                class_name="list-none p-0 m-0 divide-y divide-border",
            ),
            rx.el.p("Not pushed yet.", class_name="text-[13px] text-muted-foreground"),
        ),
        rx.el.div(
            button("Push to the Hub", icon="upload", on_click=PushingState.open_dialog), class_name="mt-3"
        ),
        title="Hugging Face Hub",
        description=(
            "A repository of yours with the adapter and its model card. It is private unless you say otherwise, "
            "and pushed with your own token."
        ),
        class_name="mt-4",
        id="push",
    )


def _row(row: Any) -> rx.Component:
    return rx.el.li(
        rx.el.div(
            rx.el.div(
                status_badge(row.status),
                rx.cond(
                    row.url != "",
                    plain_link(
                        row.repo_id,
                        href=row.url,
                        target="_blank",
                        rel="noreferrer",
                        class_name="text-primary-text font-medium hover:underline break-all",
                    ),
                    rx.el.span(row.repo_id, class_name="font-medium break-all"),
                ),
                rx.el.span(row.when, class_name="text-muted-foreground whitespace-nowrap"),
                class_name="flex flex-wrap items-center gap-2 text-[13px] min-w-0",
            ),
            rx.cond(
                row.is_active,
                button("Cancel", icon="x", size="sm", on_click=PushingState.remove(row.id)),
                icon_button("x", "Take off the list", on_click=PushingState.remove(row.id)),
            ),
            class_name="flex items-start justify-between gap-3",
        ),
        rx.cond(
            row.is_active,
            rx.el.div(
                progress_bar(row.percent, label="Pushed", active=True),
                rx.el.p(row.progress, class_name="text-xs text-muted-foreground tabular mt-1", role="status"),
                class_name="mt-2",
            ),
            rx.fragment(),
        ),
        rx.cond(
            row.error != "",
            rx.el.p(row.error, class_name="text-[13px] text-danger mt-1.5", role="status"),
            rx.fragment(),
        ),
        class_name="py-3 first:pt-0 last:pb-0",
    )


def push_dialog() -> rx.Component:
    """Where to, with which token, and who may see it."""
    state = PushingState
    return dialog(
        rx.form(
            rx.el.div(
                text_field(
                    "Repository",
                    name="repo_id",
                    default_value=state.suggested,
                    placeholder="anna/prompts-lora",
                    help="A name alone is taken under the account that the token belongs to.",
                    error=state.field_errors.get("repo_id", ""),
                    auto_complete="off",
                    spell_check=False,
                    max_length=200,
                ),
                select_field(
                    "Token",
                    name="credential_id",
                    options=state.keys,
                    value=state.chosen,
                    on_change=state.choose,
                    error=state.field_errors.get("credential_id", ""),
                ),
                rx.cond(state.chosen == NEW_TOKEN, _new_token(), rx.fragment()),
                rx.cond(
                    state.has_merged,
                    select_field("What to push", name="weights", options=_WEIGHTS, default_value="adapter"),
                    rx.fragment(),
                ),
                checkbox_field("Public: anybody may see and download it", name="is_public"),
                rx.el.div(
                    button("Cancel", on_click=state.close_dialog),
                    button("Push", variant="primary", type="submit", loading=state.is_sending),
                    class_name="flex justify-end gap-2 mt-2",
                ),
                class_name="flex flex-col gap-4",
            ),
            on_submit=state.push,
            reset_on_submit=False,
        ),
        is_open=state.dialog == "push",
        title="Push to the Hugging Face Hub",
        description="It goes on in the background; you can leave this page.",
        on_close=state.close_dialog,
    )


def _new_token() -> rx.Component:
    return text_field(
        "New token",
        name="token",
        type="password",
        placeholder="hf_…",
        help="With write access, made on huggingface.co under Settings. It is kept encrypted and never shown again.",
        error=PushingState.field_errors.get("token", ""),
        auto_complete="new-password",
        spell_check=False,
    )
