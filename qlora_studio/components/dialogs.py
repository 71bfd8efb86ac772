"""Dialogs: one to confirm what cannot be undone, one for a form. Focus is trapped and given back by Radix."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import Variant, button, icon_button
from qlora_studio.components.details import copy_button
from qlora_studio.components.forms import text_field


def confirm_dialog(
    *,
    is_open: Any,
    title: Any,
    body: Any,
    confirm_label: Any,
    on_confirm: Any,
    on_cancel: Any,
    users: Any = None,
    sending: Any = False,
    typed_name: Any = None,
    expected_name: Any = None,
    on_type: Any = None,
    variant: Variant = "danger",
) -> rx.Component:
    """Ask before something that cannot be undone.

    Args:
        is_open: a bool Var; the state opens and closes it.
        users: a Var of strings: what depends on the thing. Shown when not empty.
        typed_name, expected_name, on_type: with these, confirming needs the name typed (`typed_name` is the
            state's Var that `on_type` sets).
        variant: of the button that does it; red unless said otherwise.
    """
    extra: list[Any] = []
    if users is not None:
        listed = rx.el.ul(rx.foreach(users, rx.el.li), class_name="list-disc pl-5 mt-2 text-[13px]")
        extra.append(rx.cond(users.length() > 0, listed, rx.fragment()))
    disabled: Any = False
    if typed_name is not None:
        disabled = typed_name != expected_name
        extra.append(
            rx.el.div(
                text_field(
                    rx.fragment("Type ", rx.el.strong(expected_name), " to confirm"),
                    name="confirm-name",
                    value=typed_name,
                    on_change=on_type,
                    auto_complete="off",
                ),
                class_name="mt-4",
            )
        )
    return rx.alert_dialog.root(
        rx.alert_dialog.content(
            rx.alert_dialog.title(title, size="3", class_name="!mb-1"),
            rx.alert_dialog.description(body, size="2", class_name="text-muted-foreground"),
            *extra,
            rx.el.div(
                button("Cancel", on_click=on_cancel),
                button(
                    confirm_label,
                    variant=variant,
                    on_click=on_confirm,
                    loading=sending,
                    **({"disabled": disabled} if typed_name is not None else {}),
                ),
                class_name="flex justify-end gap-2 mt-6",
            ),
            max_width="460px",
        ),
        open=is_open,
        on_open_change=on_cancel,
    )


def delete_dialog(what: str, *, name: Any, body: Any, users: Any = None, **asked: Any) -> rx.Component:
    """Ask before a thing is deleted; `asked` is what `confirm_dialog` takes besides.

    Args:
        what: the kind of thing, for the button.
        body: what goes with it.
        users: a Var of strings: what was made with it. While there are some it can't be deleted.
    """
    if users is not None:
        body = rx.cond(users.length() > 0, "It can't be deleted while these were made with it:", body)
    return confirm_dialog(
        title=rx.Var.create("Delete ") + name + "?",
        body=body,
        users=users,
        confirm_label=f"Delete {what}",
        **asked,
    )


def delete_row_dialog(state: Any, what: str, *, body: Any, name: Any = None, **asked: Any) -> rx.Component:
    """The dialog over a list's `DeletingState`; `asked` is what `delete_dialog` takes besides."""
    return delete_dialog(
        what,
        name=state.deleting_name if name is None else name,
        body=body,
        is_open=state.deleting_id != "",
        on_confirm=state.delete,
        on_cancel=state.cancel_delete,
        **asked,
    )


def quoted(name: Any) -> Any:
    """A name in quotation marks, within a sentence."""
    return rx.Var.create("“") + name + "”"


def dialog_form(*fields: Any, label: str, on_submit: Any, on_cancel: Any) -> rx.Component:
    """The form in a dialog: its fields, Cancel, and a button that sends it."""
    buttons = rx.el.div(
        button("Cancel", on_click=on_cancel),
        button(label, variant="primary", type="submit"),
        class_name="flex justify-end gap-2 mt-2",
    )
    return rx.form(
        rx.el.div(*fields, buttons, class_name="flex flex-col gap-4"),
        on_submit=on_submit,
        reset_on_submit=False,
    )


def shown_once_dialog(state: Any, title: str, *, description: str, copy: str) -> rx.Component:
    """Show what the server has just made and keeps no copy of; see `state.dialogs.SecretState`.

    Args:
        state: A `SecretState`.
        title: What it is.
        description: What to do with it.
        copy: Label of the button that copies it.
    """
    return dialog(
        rx.el.div(
            rx.el.code(state.secret, class_name="text-[12.5px] break-all min-w-0"),
            copy_button(text=state.secret, label=copy),
            class_name="flex items-center justify-between gap-3 rounded-lg border border-border bg-muted p-3",
        ),
        rx.el.div(
            button("Done", variant="primary", on_click=state.close), class_name="flex justify-end mt-4"
        ),
        is_open=state.dialog == "secret",
        title=title,
        description=description,
        on_close=state.close,
    )


def dialog(
    *children: Any, is_open: Any, title: Any, on_close: Any, description: Any = None, width: str = "520px"
) -> rx.Component:
    """A dialog that the state opens and closes; Escape and the cross call `on_close`."""
    return rx.dialog.root(
        rx.dialog.content(
            rx.el.div(
                rx.dialog.title(title, size="3", class_name="!mb-0"),
                icon_button("x", "Close", on_click=on_close),
                class_name="flex items-start justify-between gap-4",
            ),
            rx.dialog.description(
                description if description is not None else "",
                size="2",
                class_name="text-muted-foreground !mb-4",
            ),
            *children,
            max_width=width,
        ),
        open=is_open,
        on_open_change=on_close,
    )
