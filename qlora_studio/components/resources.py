"""What the pages of datasets and of models share, over the states of `state.resources`.

`what` is "dataset" or "model": its plural is the address of the list, and its name fills the sentences.
"""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button, link_button
from qlora_studio.components.dialogs import delete_dialog, dialog, dialog_form
from qlora_studio.components.feedback import empty_state, skeleton
from qlora_studio.components.forms import text_field, textarea_field
from qlora_studio.components.sharing import for_trainers, sharing_choice
from qlora_studio.components.surfaces import card, grid
from qlora_studio.components.tables import menu_item, menu_separator, row_menu


def no_datasets(title: str, state: Any) -> rx.Component:
    """The way to the first dataset. The state has `add_example` and `is_sending`."""
    return empty_state(
        title,
        "Add the example, 21 minutes of real speech with its words, or bring your own recordings.",
        for_trainers(_add_ours("Add example dataset", state.add_example, state)),
        for_trainers(link_button("Add your own", href="/datasets/new", icon="plus")),
        icon="database",
    )


def no_models(title: str, state: Any) -> rx.Component:
    """The way to the first model. The state has `add_starter` and `is_sending`."""
    return empty_state(
        title,
        "Add the small starter model that comes with the studio, or bring one from the Hugging Face Hub.",
        for_trainers(_add_ours("Add the starter model", state.add_starter, state)),
        for_trainers(link_button("Add your own", href="/models/new", icon="plus")),
        icon="box",
    )


def _add_ours(label: str, on_click: Any, state: Any) -> rx.Component:
    return button(label, icon="sparkles", variant="primary", loading=state.is_sending, on_click=on_click)


def resource_menu(state: Any, row: Any, what: str, *, train: str) -> rx.Component:
    """The menu of a row: open, train (says `train`) once it is ready, delete."""
    start = menu_item(train, icon="play", on_click=rx.redirect(f"/training/new?{what}=" + row.id))
    return row_menu(
        row.name,
        menu_item("Open", icon="arrow-right", on_click=rx.redirect(f"/{what}s/" + row.id)),
        rx.cond((row.status == "ready") & row.may_train, start, rx.fragment()),
        rx.cond(
            row.may_change,
            rx.fragment(
                menu_separator(),
                menu_item("Delete", icon="trash-2", danger=True, on_click=state.ask_delete(row.id)),
            ),
            rx.fragment(),
        ),
    )


def page_of_one(state: Any, shown: Any, what: str, page: rx.Component) -> rx.Component:
    """The page, or its outline while it is loaded, or that there is no such thing."""
    missing = empty_state(
        f"No such {what}",
        "It was deleted, or the link is wrong.",
        link_button(f"All {what}s", href=f"/{what}s", variant="primary"),
        icon="search-x",
    )
    outline = rx.el.div(
        skeleton("h-8 w-64"),
        skeleton("h-4 w-96 max-w-full mt-3"),
        grid(*(skeleton("h-24 w-full") for _ in range(4)), class_name="mt-6"),
        role="status",
        aria_label="Loading",
    )
    return rx.cond(state.is_missing, card(missing), rx.cond(shown.id == "", outline, page))


def header_actions(state: Any, shown: Any, what: str, *, train: str) -> list[rx.Component]:
    """Edit, delete, and train (says `train`) once it is ready."""
    start = link_button(train, href=f"/training/new?{what}=" + shown.id, icon="play", variant="primary")
    changes = (
        button("Edit", icon="pencil", on_click=state.open_dialog("edit")),
        button("Delete", icon="trash-2", variant="danger", on_click=state.open_dialog("delete")),
    )
    return [
        sharing_choice(state, shown),
        rx.cond(shown.may_change, rx.fragment(*changes), rx.fragment()),
        rx.cond((shown.status == "ready") & shown.may_train, start, rx.fragment()),
    ]


def edit_dialogs(state: Any, shown: Any, what: str, *, consequence: str) -> rx.Component:
    """The dialogs of an `EditState`: one changes name and description of what is shown, one deletes it."""
    form = dialog_form(
        text_field(
            "Name",
            name="name",
            default_value=shown.name,
            max_length=120,
            error=state.field_errors.get("name", ""),
        ),
        textarea_field("Description", name="description", default_value=shown.description, optional=True),
        label="Save",
        on_submit=state.save,
        on_cancel=state.close_dialog,
    )
    return rx.fragment(
        delete_dialog(
            what,
            name=shown.name,
            body=consequence,
            users=state.users,
            is_open=state.dialog == "delete",
            on_confirm=state.delete,
            on_cancel=state.close_dialog,
            sending=state.is_sending,
            typed_name=state.typed_name,
            expected_name=shown.name,
            on_type=state.type_name,
        ),
        dialog(form, is_open=state.dialog == "edit", title=f"Edit {what}", on_close=state.close_dialog),
    )
