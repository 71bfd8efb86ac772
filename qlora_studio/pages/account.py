"""Settings: one's own account."""

from typing import Any

import reflex as rx
from reflex.style import set_color_mode

from qlora_studio.components.auth_form import auth_field, auth_form, strength_meter
from qlora_studio.components.buttons import button
from qlora_studio.components.details import tabs, time_text
from qlora_studio.components.dialogs import confirm_dialog, dialog, dialog_form, shown_once_dialog
from qlora_studio.components.feedback import empty_state, skeleton
from qlora_studio.components.forms import select_field, text_field
from qlora_studio.components.shell import studio_page
from qlora_studio.components.status import badge
from qlora_studio.components.surfaces import card, page_header
from qlora_studio.state.account import SCOPES, AccountState, PlaceRow, TokenRow
from qlora_studio.state.shell import ShellState

_S = AccountState
TABS = (("account", "Account", "/settings"), ("notifications", "Notifications", "/settings/notifications"))
_DAYS = [("30", "30 days"), ("90", "90 days"), ("365", "A year"), ("", "Never")]
_ROLES = {
    "admin": "Admin: everything, and other people's accounts",
    "trainer": "Trainer: brings data and models, trains, makes takes",
    "rater": "Rater: listens, rates and compares",
    "viewer": "Viewer: looks and listens",
}


@studio_page("/settings", title="Settings", section="settings", on_load=_S.load)
def account() -> rx.Component:
    """Profile, password, sessions and tokens."""
    return rx.fragment(
        page_header("Settings", "Your account on this studio."),
        tabs(TABS, current="account"),
        rx.cond(
            _S.is_loading,
            rx.el.div(
                *(skeleton("h-48 !rounded-[10px]") for _ in range(3)),
                role="status",
                aria_label="Loading",
                class_name="flex flex-col gap-4 max-w-[760px]",
            ),
            rx.el.div(
                _profile(),
                _theme(),
                _password(),
                _sessions(),
                _tokens(),
                class_name="flex flex-col gap-4 max-w-[760px]",
            ),
        ),
        _add_dialog(),
        shown_once_dialog(
            _S,
            "Your new token",
            description="It is shown this once. Send it as a header: Authorization: Bearer, and the token.",
            copy="Copy the token",
        ),
        confirm_dialog(
            is_open=_S.deleting_id != "",
            title=rx.Var.create("Revoke ") + _S.deleting_name + "?",
            body="Programs that use it are refused from now on.",
            confirm_label="Revoke token",
            on_confirm=_S.delete,
            on_cancel=_S.cancel_delete,
        ),
    )


def _profile() -> rx.Component:
    form = auth_form(
        "profile",
        auth_field(
            "Name",
            name="name",
            auto_complete="name",
            max_length=120,
            default_value=_S.name,
            help="What others read beside what you share. Left empty, it is your username.",
        ),
        auth_field(
            "E-mail",
            name="email",
            type="email",
            auto_complete="email",
            max_length=254,
            default_value=_S.email,
        ),
        auth_field(
            "Present password",
            name="password",
            type="password",
            auto_complete="current-password",
            help="Only needed for another e-mail address, which you may sign in with.",
        ),
        submit="Save",
        on_done=[_S.refresh, ShellState.load],
    )
    who = rx.el.p(
        rx.el.strong(_S.username, class_name="text-foreground"),
        " · ",
        rx.match(_S.role, *_ROLES.items(), ""),
        class_name="text-[13px] text-muted-foreground mb-4",
    )
    return card(who, form, title="Profile")


def _theme() -> rx.Component:
    return card(
        select_field(
            "Theme",
            name="theme",
            options=[("system", "As the system says"), ("light", "Light"), ("dark", "Dark")],
            value=ShellState.theme,
            on_change=lambda value: [set_color_mode(value), ShellState.keep_theme(value)],
            help="Kept with your account, and taken over where you sign in next.",
        )
    )


def _password() -> rx.Component:
    form = auth_form(
        "password",
        auth_field("Present password", name="current", type="password", auto_complete="current-password"),
        auth_field("New password", name="new", type="password", auto_complete="new-password", max_length=256),
        strength_meter(),
        auth_field(
            "Confirm password", name="confirm", type="password", auto_complete="new-password", max_length=256
        ),
        submit="Change password",
        on_done=_S.refresh,
    )
    return card(
        form,
        title="Password",
        description="Changing it ends your sessions everywhere else. Tokens stay until you revoke them.",
    )


def _sessions() -> rx.Component:
    return card(
        rx.el.ul(
            rx.foreach(_S.places, _place),
            aria_label="Sessions",
            class_name="list-none m-0 p-0 divide-y divide-border -mt-2",
        ),
        title="Where you are signed in",
        description="A session ends by itself after a week without use.",
        actions=rx.cond(
            _S.n_others > 0, button("End all others", variant="danger", on_click=_S.end_others), rx.fragment()
        ),
    )


def _place(place: PlaceRow) -> rx.Component:
    act: Any = rx.cond(
        place.is_this,
        badge("This one", tone="success"),
        button(
            "End",
            size="sm",
            aria_label=rx.Var.create("End the session of ") + place.browser + ", " + place.peer,
            on_click=_S.end(place.id),
        ),
    )
    return _line(
        place.browser,
        rx.el.span(
            "From ", place.peer, ", used ", time_text(place.seen, place.seen_exact), ", since ", place.since
        ),
        act,
        key=place.id,
    )


def _tokens() -> rx.Component:
    found = rx.el.ul(
        rx.foreach(_S.rows, _token),
        aria_label="Tokens",
        class_name="list-none m-0 p-0 divide-y divide-border -mt-2",
    )
    none = empty_state(
        "No tokens yet",
        "A token lets a script use the REST API as you, without your password.",
        icon="key-round",
    )
    return card(
        rx.cond(_S.rows.length() > 0, found, none),
        title="Tokens for scripts",
        description="They never change your password, sessions or tokens.",
        actions=button("New token", icon="plus", on_click=_S.ask_add),
    )


def _token(token: TokenRow) -> rx.Component:
    return _line(
        rx.el.span(
            token.name,
            rx.el.code(token.hint + "…", class_name="ml-2 text-xs text-muted-foreground font-normal"),
        ),
        rx.el.span(
            token.scope,
            " · ",
            rx.el.span(token.used, title=token.used_exact),
            " · ",
            rx.el.span(token.ends, class_name=rx.cond(token.has_ended, "text-danger", "")),
        ),
        button(
            "Revoke",
            size="sm",
            variant="danger",
            aria_label=rx.Var.create("Revoke ") + token.name,
            on_click=_S.ask_delete(token.id),
        ),
        key=token.id,
    )


def _line(title: Any, detail: Any, act: Any, *, key: Any) -> rx.Component:
    return rx.el.li(
        rx.el.div(
            rx.el.p(title, class_name="font-medium text-[13px] break-words"),
            rx.el.p(detail, class_name="text-xs text-muted-foreground mt-0.5"),
            class_name="min-w-0",
        ),
        rx.el.div(act, class_name="shrink-0"),
        key=key,
        class_name="py-3 flex items-center justify-between gap-4",
    )


def _add_dialog() -> rx.Component:
    return dialog(
        dialog_form(
            text_field(
                "Name",
                name="token_name",
                placeholder="Nightly export",
                max_length=120,
                auto_complete="off",
                error=_S.field_errors.get("token_name", ""),
            ),
            select_field("It may", name="scope", options=list(SCOPES.items())),
            select_field("Expires after", name="days", options=_DAYS, default_value="90"),
            label="Make token",
            on_submit=_S.add,
            on_cancel=_S.close,
        ),
        is_open=_S.dialog == "add",
        title="New token",
        description="It is shown once, when it is made.",
        on_close=_S.close,
    )
