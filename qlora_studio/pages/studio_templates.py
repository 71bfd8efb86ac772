"""Texts of one's own beside the Studio's prompt: used, kept, renamed, deleted."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button, icon_button
from qlora_studio.components.dialogs import delete_dialog, dialog, dialog_form
from qlora_studio.components.forms import error_text, text_field, text_input
from qlora_studio.state.studio import StudioState

CHIP = (
    "max-w-full truncate rounded-full border border-border px-2.5 h-7 text-xs cursor-pointer "
    "hover:border-border-strong hover:bg-muted transition-colors duration-150"
)
_LINK = "text-xs text-muted-foreground hover:text-foreground cursor-pointer rounded flex items-center gap-1"


def own_templates() -> rx.Component:
    """The kept texts as chips, and the ways to keep one and to see all."""
    state = StudioState
    return rx.el.div(
        rx.cond(
            state.own_templates.length() > 0,
            rx.el.div(
                rx.foreach(state.own_templates[:12], _chip),
                role="group",
                aria_label="Your templates",
                class_name="flex flex-wrap gap-1.5",
            ),
            rx.fragment(),
        ),
        rx.el.div(
            rx.el.button(
                rx.icon("bookmark-plus", size=14, aria_hidden="true"),
                "Keep as a template",
                type="button",
                on_click=state.ask_keep,
                class_name=_LINK,
            ),
            rx.cond(
                state.own_templates.length() > 0,
                rx.el.button(
                    "All templates", type="button", on_click=state.manage_templates, class_name=_LINK
                ),
                rx.fragment(),
            ),
            class_name="flex flex-wrap gap-4",
        ),
        _keep_dialog(),
        _all_dialog(),
        delete_dialog(
            "template",
            name=state.dropping_name,
            body="What was made with it stays.",
            is_open=state.dropping_id != "",
            on_confirm=state.drop_template,
            on_cancel=state.keep_after_all,
        ),
        class_name="flex flex-col gap-2",
    )


def _chip(row: Any) -> rx.Component:
    return rx.el.button(
        row.name,
        type="button",
        title=row.prompt,
        on_click=StudioState.use_template(row.id),
        class_name=CHIP + " bg-primary-soft",
    )


def _keep_dialog() -> rx.Component:
    state = StudioState
    return dialog(
        dialog_form(
            text_field(
                "Name", name="template-name", error=state.template_error, max_length=60, auto_focus=True
            ),
            label="Keep template",
            on_submit=state.keep,
            on_cancel=state.close_templates,
        ),
        is_open=state.naming == "new",
        title="Keep as a template",
        description="The text, with model, adapter, length, takes, guidance and temperature; the seed if it is kept.",
        on_close=state.close_templates,
    )


def _all_dialog() -> rx.Component:
    state = StudioState
    return dialog(
        error_text("templates", state.template_error),
        rx.el.ul(
            rx.foreach(state.own_templates, _row),
            class_name="list-none m-0 p-0 flex flex-col divide-y divide-border max-h-[60vh] overflow-y-auto",
        ),
        is_open=state.naming == "all",
        title="Your templates",
        description="A name is changed where it stands.",
        on_close=state.close_templates,
        width="640px",
    )


def _row(row: Any) -> rx.Component:
    state = StudioState
    return rx.el.li(
        rx.el.div(
            text_input(
                name=rx.Var.create("name-") + row.id,
                default_value=row.name,
                max_length=60,
                aria_label=rx.Var.create("Name of ") + row.name,
                on_blur=lambda text: state.rename_template(row.id, text),
            ),
            rx.el.p(row.prompt, class_name="text-xs text-muted-foreground mt-1 line-clamp-2 break-words"),
            class_name="min-w-0 flex-1",
        ),
        button("Use", size="sm", on_click=state.use_template(row.id)),
        icon_button("trash-2", rx.Var.create("Delete ") + row.name, on_click=state.ask_drop(row.id)),
        key=row.id,
        class_name="flex items-start gap-2 py-3",
    )
