"""Administration: accounts, their roles and limits, and the audit log. Only admins find it in the menu."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button, download_button
from qlora_studio.components.details import copy_button, tabs, time_text
from qlora_studio.components.dialogs import confirm_dialog, dialog, dialog_form
from qlora_studio.components.feedback import empty_state
from qlora_studio.components.forms import select_field, select_input, text_field, text_input
from qlora_studio.components.shell import studio_page
from qlora_studio.components.status import badge, progress_bar
from qlora_studio.components.surfaces import page_header
from qlora_studio.components.tables import Column, data_table, menu_item, menu_separator, row_menu
from qlora_studio.state.admin import AuditRow, AuditState, PeopleState, PersonRow

_P, _A = PeopleState, AuditState
_TABS = (("people", "Accounts", "/admin"), ("audit", "Audit log", "/admin/audit"))
_ROLES = [("admin", "Admin"), ("trainer", "Trainer"), ("rater", "Rater"), ("viewer", "Viewer")]


@studio_page("/admin", title="Administration", section="admin", on_load=_P.load)
def admin() -> rx.Component:
    """Every account, with what it keeps."""
    return rx.fragment(
        page_header("Administration", "Who may do what here, and how much each may keep."),
        tabs(_TABS, current="people"),
        data_table(
            _P,
            rows=_P.rows,
            label="Accounts",
            columns=[
                Column("Account", _account, sort="username"),
                Column("Role", _role, sort="role"),
                Column("Keeps", _keeps),
                Column("Jobs in the queue", lambda r: r.jobs, align="right"),
                Column("Last seen", lambda r: time_text(r.seen, r.seen_exact), align="right"),
            ],
            filters=[
                ("role", "Roles", _ROLES),
                ("state", "States", [("active", "Enabled"), ("disabled", "Disabled")]),
            ],
            search_placeholder="Name or e-mail",
            row_menu=_menu,
            empty=empty_state("No accounts", "People make their own accounts at sign-up.", icon="users"),
            on_retry=_P.load,
        ),
        rx.el.p(_P.default_limits, class_name="text-xs text-muted-foreground mt-3"),
        _limits_dialog(),
        _link_dialog(),
        _delete_dialog(),
        confirm_dialog(
            is_open=_P.dialog == "disable",
            title=rx.Var.create("Disable ") + _P.chosen_name + "?",
            body="The account is signed out everywhere at once, and its tokens are refused. What it owns stays; "
            "jobs that run go on. It can be enabled again.",
            confirm_label="Disable account",
            on_confirm=_P.disable,
            on_cancel=_P.close,
        ),
    )


def _account(row: PersonRow) -> rx.Component:
    marks: Any = rx.fragment(
        rx.cond(row.is_self, badge("You"), rx.fragment()),
        rx.cond(row.is_disabled, badge("Disabled", icon="ban", tone="warning"), rx.fragment()),
    )
    return rx.el.div(
        rx.el.div(
            rx.el.span(row.username, class_name="font-medium truncate"),
            marks,
            class_name="flex flex-wrap items-center gap-1.5",
        ),
        rx.el.div(row.detail, class_name="text-xs text-muted-foreground break-words"),
        class_name="min-w-0 py-1.5",
    )


def _role(row: PersonRow) -> rx.Component:
    return select_input(
        name="role-" + row.id,
        options=_ROLES,
        value=row.role,
        on_change=lambda value: _P.set_role(row.id, value),
        aria_label=rx.Var.create("Role of ") + row.username,
        class_name="!h-8 text-[13px] min-w-28",
    )


def _keeps(row: PersonRow) -> rx.Component:
    return rx.el.div(
        rx.el.span(row.keeps, " ", rx.el.span(row.of_limit, class_name="text-muted-foreground")),
        progress_bar(row.percent, label=rx.Var.create("Kept by ") + row.username),
        rx.el.span(row.things, class_name="text-xs text-muted-foreground"),
        class_name="flex flex-col gap-1 min-w-40 tabular py-2",
    )


def _menu(row: PersonRow) -> rx.Component:
    return row_menu(
        row.username,
        menu_item("Limits", icon="gauge", on_click=_P.ask("limits", row.id)),
        rx.cond(
            row.is_disabled,
            rx.fragment(),
            menu_item("Password link", icon="key-round", on_click=_P.ask("link", row.id)),
        ),
        menu_item(
            "What they did",
            icon="scroll-text",
            on_click=rx.redirect("/admin/audit?who=" + row.username),
        ),
        rx.cond(
            row.is_self,
            rx.fragment(),
            rx.fragment(
                menu_separator(),
                rx.cond(
                    row.is_disabled,
                    menu_item("Enable", icon="circle-check", on_click=_P.enable(row.id)),
                    menu_item("Disable", icon="ban", on_click=_P.ask("disable", row.id)),
                ),
                menu_item("Delete", icon="trash-2", danger=True, on_click=_P.ask("delete", row.id)),
            ),
        ),
    )


def _limits_dialog() -> rx.Component:
    return dialog(
        dialog_form(
            text_field(
                "Gigabytes it may keep",
                name="gigabytes",
                input_mode="decimal",
                default_value=_P.own_gigabytes,
                optional=True,
                help="Recordings, and models and adapters that it sends or merges.",
                error=_P.field_errors.get("gigabytes", ""),
            ),
            text_field(
                "Jobs it may have in the queue",
                name="jobs",
                input_mode="numeric",
                default_value=_P.own_jobs,
                optional=True,
                error=_P.field_errors.get("jobs", ""),
            ),
            label="Set limits",
            on_submit=_P.save_limits,
            on_cancel=_P.close,
        ),
        is_open=_P.dialog == "limits",
        title=rx.Var.create("Limits of ") + _P.chosen_name,
        description=_P.default_limits,
        on_close=_P.close,
    )


def _link_dialog() -> rx.Component:
    done: Any = rx.el.div(
        button("Done", variant="primary", on_click=_P.close), class_name="flex justify-end mt-4"
    )
    return dialog(
        rx.el.div(
            rx.el.code(_P.link, class_name="text-[12.5px] break-all min-w-0"),
            copy_button(text=_P.link, label="Copy the link"),
            class_name="flex items-center justify-between gap-3 rounded-lg border border-border bg-muted p-3",
        ),
        done,
        is_open=_P.dialog == "link",
        title=rx.Var.create("A password link for ") + _P.chosen_name,
        description="Hand it to them yourself: it sets a new password, once, within a day, and is shown this once. "
        "The present password works until then.",
        on_close=_P.close,
    )


def _delete_dialog() -> rx.Component:
    owns = rx.el.div(
        rx.el.ul(rx.foreach(_P.chosen_things, rx.el.li), class_name="list-disc pl-5 mb-3 text-[13px]"),
        select_field(
            "Who gets them",
            name="heir",
            options=_P.heirs,
            value=_P.heir_id,
            on_change=_P.choose_heir,
        ),
    )
    return dialog(
        rx.cond(_P.chosen_things.length() > 0, owns, rx.fragment()),
        rx.el.div(
            button("Cancel", on_click=_P.close),
            button("Delete account", variant="danger", loading=_P.is_sending, on_click=_P.delete),
            class_name="flex justify-end gap-2 mt-6",
        ),
        is_open=_P.dialog == "delete",
        title=rx.Var.create("Delete ") + _P.chosen_name + "?",
        description=rx.cond(
            _P.chosen_things.length() > 0,
            "It owns the following. Takes and ratings stay under no name; keys, tokens and sessions go. "
            "This can't be undone.",
            "It owns nothing that others need. Keys, tokens and sessions go. This can't be undone.",
        ),
        on_close=_P.close,
    )


@studio_page(
    "/admin/audit",
    title="Audit log",
    section="admin",
    crumbs=[("Administration", "/admin")],
    on_load=_A.load,
)
def audit_log() -> rx.Component:
    """Who did what, when, to what."""
    return rx.fragment(
        page_header(
            "Administration",
            "Who did what, when, to what. Secrets are never in it.",
            download_button("CSV of these", href=_A.csv_href),
        ),
        tabs(_TABS, current="audit"),
        _moments(),
        data_table(
            _A,
            rows=_A.rows,
            label="Audit log",
            columns=[
                Column("When", lambda r: time_text(r.at, r.at_exact)),
                Column("Who", lambda r: r.who),
                Column("What", lambda r: rx.el.code(r.action, class_name="text-xs")),
                Column("To", _thing),
                Column("Details", _details, extra_below="lg"),
            ],
            filters=[("action", "Actions", _A.actions), ("object", "Kinds", _A.objects)],
            search_placeholder="Name or id",
            empty=empty_state("Nothing yet", "What people do is written down here.", icon="scroll-text"),
            on_retry=_A.load,
        ),
    )


def _moments() -> rx.Component:
    def asked(label: str, name: str, **props: Any) -> rx.Component:
        return rx.el.label(
            rx.el.span(label, class_name="text-xs text-muted-foreground"),
            text_input(
                name=name,
                value=_A.filters.get(name, ""),
                on_change=lambda value: _A.filter_by(name, value),
                **props,
            ),
            class_name="flex flex-col gap-1 min-w-0 grow basis-36 sm:grow-0 sm:basis-44",
        )

    return rx.el.div(
        asked("From day (UTC)", "since", type="date"),
        asked("To day (UTC)", "until", type="date"),
        rx.el.label(
            rx.el.span("Who", class_name="text-xs text-muted-foreground"),
            rx.debounce_input(
                text_input(
                    name="who",
                    value=_A.filters.get("who", ""),
                    on_change=lambda value: _A.filter_by("who", value),
                    placeholder="A whole username",
                    auto_complete="off",
                ),
                debounce_timeout=350,
            ),
            class_name="flex flex-col gap-1 min-w-0 grow basis-36 sm:grow-0 sm:basis-52",
        ),
        class_name="flex flex-wrap gap-3 mb-4",
    )


def _thing(row: AuditRow) -> rx.Component:
    return rx.el.div(
        rx.el.div(row.thing, class_name="break-words"),
        rx.el.div(row.kind, class_name="text-xs text-muted-foreground"),
        class_name="min-w-0",
    )


def _details(row: AuditRow) -> rx.Component:
    return rx.el.span(row.details, class_name="text-xs text-muted-foreground break-words")
